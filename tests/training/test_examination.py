"""A model measured on labelled pictures, with an engine that answers by colour."""

from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from PIL import Image

from service.errors import BadRequest
from service.training.examination import AT_ONCE, Examined, examine
from tests.fakes import GatedEngine
from tests.training.pictures import LIMITS
from tests.world import served

TAKEN_FOR = {"red": "class_9", "lime": "class_7", "blue": "class_8"}


def write(folder: Path, colour: str, count: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        Image.new("RGB", (20, 20), colour).save(folder / f"{colour}{n}.png")


def examined(source: Path, engine: GatedEngine | None = None) -> Examined:
    return examine(source, served(), engine or GatedEngine(), LIMITS, say=lambda done, total: None)


def test_folders_are_matched_with_classes_by_name(tmp_path: Path) -> None:
    """Two of three right; one of a class that the model does not have is counted apart."""
    write(tmp_path / "Class 9", "red", 2)
    write(tmp_path / "class_8", "lime")
    write(tmp_path / "unicorn", "blue")
    found = examined(tmp_path).evaluation
    assert (found.pictures, found.accuracy.hits, found.unknown) == (3, 2, 1)
    assert [(one.name, one.truth, one.label) for one in found.worst] == [("class_8/lime0.png", "class_8", "class_7")]


def test_batches_are_bounded(tmp_path: Path) -> None:
    """However many pictures there are; each is seen once, and the engine is closed."""
    write(tmp_path / "class_9", "red", 2 * AT_ONCE + 3)
    write(tmp_path / "class_7", "lime")
    engine = GatedEngine()
    assert examined(tmp_path, engine).evaluation.accuracy.hits == 2 * AT_ONCE + 4
    assert [len(batch) for batch in engine.batches] == [AT_ONCE, AT_ONCE, 4]
    assert engine.closed


def test_only_the_test_set_counts_where_there_is_one(tmp_path: Path) -> None:
    """The model may have learned from the others."""
    write(tmp_path / "train" / "class_9", "red", 5)
    write(tmp_path / "test" / "class_9", "lime", 2)
    found = examined(tmp_path)
    assert (found.held_out, found.evaluation.pictures, found.evaluation.accuracy.hits) == (True, 2, 0)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The others keep their own truth."""
    for colour, label in TAKEN_FOR.items():
        write(tmp_path / label, colour)
    (tmp_path / "class_7" / "a.png").write_bytes(b"no picture")
    write(tmp_path, "red")
    found = examined(tmp_path)
    assert (found.evaluation.pictures, found.evaluation.accuracy.hits) == (3, 3)
    assert (found.notes.unreadable.count, found.notes.unlabelled.names) == (1, ("red0.png",))


def test_the_document_is_json(tmp_path: Path) -> None:
    """With the model, and what was left out."""
    write(tmp_path / "class_9", "red")
    write(tmp_path / "class_7", "lime")
    document = orjson.loads(orjson.dumps(examined(tmp_path).document()))
    assert (document["model"], document["version"], document["pictures"]) == ("fake", "1", "all")
    assert document["evaluation"]["accuracy"]["value"] == 1
    assert document["left_out"]["unreadable"] == {"count": 0, "names": []}


def test_pictures_of_its_training_are_counted(tmp_path: Path) -> None:
    """Measured with what it learned from, a model looked as good as it never is, and nothing said so."""
    write(tmp_path / "class_9", "red", 2)
    write(tmp_path / "class_7", "lime")
    (tmp_path / "class_9" / "bad.png").write_bytes(b"no picture")
    seen = {sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("class_9/red0.png", "class_9/bad.png")}
    found = examine(tmp_path, served(), GatedEngine(), LIMITS, say=lambda done, total: None, learned=seen)
    assert (found.seen, found.document()["seen_in_training"]) == (2, 2), "red1.png has the same bytes as red0.png"
    assert found.words()[0].startswith("Careful: it had 2 of these 3 pictures in its training")
    for unsuspicious in (frozenset("0"), None):
        found = examine(tmp_path, served(), GatedEngine(), LIMITS, say=lambda done, total: None, learned=unsuspicious)
        assert (found.seen, found.words()) == (None if unsuspicious is None else 0, [found.notes.words()])


def test_strange_classes_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    """With some of those found and some of its own."""
    write(tmp_path / "cat", "red")
    write(tmp_path / "dog", "red")
    engine = GatedEngine()
    with pytest.raises(BadRequest, match=r"classes: cat, dog\. Its own are class_0, .* and 5 more"):
        examined(tmp_path, engine)
    assert not engine.closed


def test_without_labels_there_is_nothing_to_measure(tmp_path: Path) -> None:
    """Nor with pictures alone that cannot be read."""
    write(tmp_path, "red")
    with pytest.raises(BadRequest, match="no labelled picture"):
        examined(tmp_path)
    for label in ("class_1", "class_2"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_bytes(b"no picture")
    with pytest.raises(BadRequest, match=r"none can be read .*: class_1/a\.png"):
        examined(tmp_path)
