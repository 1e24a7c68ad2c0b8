"""Sources become the two files of a run."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from service.errors import BadRequest, NotFound, StoreFull
from service.inference.images import read
from service.inference.predictions import InputSpec
from service.training import dataset as module
from service.training.dataset import Dataset, gather, learned_from, open_pixels, read_dataset
from service.training.pixels import PixelFile
from service.training.runs import Runs
from tests.training.pictures import LIMITS, a_run, gathered, png, two_classes, write


def names(dataset: Dataset, split: str) -> set[str]:
    return {sample.name for sample in dataset.samples if sample.split == split}


def test_both_files_tell_the_same_as_was_returned(tmp_path: Path) -> None:
    """Classes sorted, samples in the order of the pixels, pixels as serving reads them."""
    source = two_classes(tmp_path / "pets")
    run = a_run(tmp_path, source)
    dataset = gather(run.order, run, LIMITS, say=lambda done, total: None)
    assert read_dataset(run.folder) == dataset
    assert dataset.classes == ("cat", "dog")
    assert [sample.index for sample in dataset.samples] == list(range(40))
    pixels = open_pixels(run.folder)
    for sample in dataset.samples:
        content = (source / sample.name).read_bytes()
        expected, info = read(content, LIMITS, "imagenet", InputSpec(32, "raw"))
        np.testing.assert_array_equal(pixels[sample.index], expected)
        assert (sample.sha256, sample.name.split("/")[0]) == (info.sha256, dataset.classes[sample.label])


def test_what_is_asked_of_a_dataset(tmp_path: Path) -> None:
    """Labels, rows of a set, and how many of each class are in each."""
    dataset = gathered(tmp_path, two_classes(tmp_path / "pets"))
    assert dataset.labels.tolist() == [0] * 20 + [1] * 20
    assert [dataset.samples[row].split for row in dataset.of("test")] == ["test"] * 8
    assert dataset.distribution() == {pet: {"train": 12, "validation": 4, "test": 4} for pet in ("cat", "dog")}


def test_progress_is_told(tmp_path: Path) -> None:
    """Picture by picture, of all."""
    run, told = a_run(tmp_path, two_classes(tmp_path / "pets", each=5)), list[tuple[int, int]]()
    gather(run.order, run, LIMITS, say=lambda done, total: told.append((done, total)))
    assert told == [(done, 10) for done in range(1, 11)]


def test_it_can_be_stopped(tmp_path: Path) -> None:
    """By what `say` raises; then there is no dataset, not even that of an earlier try."""
    run = a_run(tmp_path, two_classes(tmp_path / "pets"))
    gather(run.order, run, LIMITS, say=lambda done, total: None)

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gather(run.order, run, LIMITS, say=stop)
    with pytest.raises(NotFound):
        read_dataset(run.folder)


def test_a_copy_is_taken_once(tmp_path: Path) -> None:
    """The same bytes, and the same pixels in another format: also between sets."""
    source = tmp_path / "pets"
    two_classes(source / "train")
    write(source / "test" / "cat", [*range(15, 20), *range(300, 305)], prefix="q")
    write(source / "test" / "dog", range(1300, 1305))
    Image.open(source / "train" / "dog" / "p1003.png").save(source / "test" / "dog" / "again.bmp")
    dataset = gathered(tmp_path, source)
    assert dataset.notes.duplicates.count == 6
    assert len({sample.sha256 for sample in dataset.samples}) == len(dataset.samples) == 50
    assert names(dataset, "test") & names(dataset, "train") == set()


def test_a_picture_of_two_classes_is_left_out(tmp_path: Path) -> None:
    """Wherever it stands; its place in the pixels is closed, and it is named."""
    source = two_classes(tmp_path / "pets")
    write(source / "dog", [3, 7], prefix="x")
    run = a_run(tmp_path, source)
    dataset = gather(run.order, run, LIMITS, say=lambda done, total: None)
    assert dataset.notes.conflicting.count == 2
    assert dataset.notes.conflicting.names[0] == "cat/p003.png is cat, and dog/x003.png is dog"
    assert {"cat/p003.png", "dog/x003.png"}.isdisjoint(sample.name for sample in dataset.samples)
    pixels = open_pixels(run.folder)
    assert len(pixels) == len(dataset.samples) == 38
    for sample in dataset.samples:
        number = int(sample.name[-8:-4].strip("p"))
        assert pixels[sample.index, 0, 0].tolist() == [number % 256, number // 256, 90]


def test_what_cannot_be_read_is_named_with_its_reason(tmp_path: Path) -> None:
    """A damaged picture, a text, one too large, one that has gone, and one in no class; the rest is taken."""
    source = two_classes(tmp_path / "pets")
    (source / "cat" / "half.png").write_bytes(png(77)[:60])
    (source / "cat" / "text.jpg").write_text("no picture")
    (source / "dog" / "large.png").write_bytes(bytes(LIMITS.max_bytes + 5))
    (source / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    (source / "cover.png").write_bytes(png(500))
    notes = gathered(tmp_path, source).notes
    assert notes.unreadable.count == 4
    assert any(name.startswith("dog/large.png: The picture has") for name in notes.unreadable.names)
    assert "dog/gone.png: No such file" in notes.unreadable.names
    assert notes.unlabelled.names == ("cover.png",)
    assert notes.words() == "Pictures left out: 4 cannot be read, 1 lies in no class's folder."


def test_too_little_is_refused_with_what_was_left_out(tmp_path: Path) -> None:
    """Copies do not make a class larger."""
    source = two_classes(tmp_path / "pets")
    shutil.rmtree(source / "dog")
    write(source / "dog", range(1000, 1003))
    write(source / "dog", range(1000, 1003), prefix="copy")
    with pytest.raises(BadRequest, match=r"dog \(3\).* Pictures left out: 3 are copies\."):
        gathered(tmp_path, source)


def test_sets_of_the_source_hold(tmp_path: Path) -> None:
    """Folders train and test; validation is taken from train, for nobody gave one."""
    two_classes(tmp_path / "pets" / "train")
    write(tmp_path / "pets" / "test" / "cat", range(300, 303))
    write(tmp_path / "pets" / "test" / "dog", range(1300, 1303))
    dataset = gathered(tmp_path, tmp_path / "pets")
    assert Counter(sample.split for sample in dataset.samples) == {"train": 30, "validation": 10, "test": 6}
    assert all(name.startswith("test/") for name in names(dataset, "test"))


def test_an_earlier_run_is_extended(tmp_path: Path) -> None:
    """Its pictures stay in their sets though the seed is another; new ones, from feedback, are shared out."""
    first = a_run(tmp_path, two_classes(tmp_path / "pets"))
    old = gather(first.order, first, LIMITS, say=lambda done, total: None)
    shutil.rmtree(tmp_path / "pets")
    write(tmp_path / "kept", range(400, 410))
    second = a_run(tmp_path, "feedback.csv", extends=first.id, seed=5)
    lines = [f"{tmp_path}/kept/p{n}.png,cat,,feedback" for n in range(400, 410)]
    (second.folder / "feedback.csv").write_text("\n".join(["path,label,split,origin", *lines]))
    new = gather(second.order, second, LIMITS, say=lambda done, total: None)
    assert new.samples[:40] == old.samples
    learned = learned_from(second.id, tmp_path)
    assert learned == frozenset(sample.sha256 for sample in new.samples if sample.split != "test")
    assert learned_from("20260101-000000-abcdef", tmp_path) is None
    assert Counter((sample.split, sample.origin) for sample in new.samples[40:]) == {
        ("train", "feedback"): 6, ("validation", "feedback"): 2, ("test", "feedback"): 2,
    }  # fmt: skip
    np.testing.assert_array_equal(open_pixels(second.folder)[:40], open_pixels(first.folder))


def test_only_runs_that_fit_are_extended(tmp_path: Path) -> None:
    """One that has pictures, of the same size."""
    source = two_classes(tmp_path / "pets")
    with pytest.raises(NotFound):
        gathered(tmp_path, source, extends="20260101-000000-abcdef")
    with pytest.raises(NotFound, match="has not gathered"):
        gathered(tmp_path, source, extends=a_run(tmp_path, source).id)
    first = a_run(tmp_path, source)
    gather(first.order, first, LIMITS, say=lambda done, total: None)
    with pytest.raises(BadRequest, match="32 pixels a side, and this run wants 64"):
        gathered(tmp_path, source, extends=first.id, size=64)


def test_room_on_the_disk_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both figures, and a way out, before anything is written."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5000))
    run = a_run(tmp_path, two_classes(tmp_path / "pets"))
    with pytest.raises(StoreFull, match=r"need 122,880 bytes .* 5,000 are free .*--size"):
        gather(run.order, run, LIMITS, say=lambda done, total: None)
    assert not list(run.folder.glob("pixels*"))


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody else takes the room meanwhile."""

    def full(file: PixelFile, rows: Sequence[int]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PixelFile, "finish", full)
    with pytest.raises(StoreFull, match="No space left"):
        gathered(tmp_path, two_classes(tmp_path / "pets"))


def test_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes, and pictures together with those of the run that is extended."""
    source = two_classes(tmp_path / "pets")
    gathered(tmp_path, source)
    monkeypatch.setattr(module, "MAX_PICTURES", 79)
    with pytest.raises(BadRequest, match="more than 79 pictures"):
        gathered(tmp_path, source, extends=Runs(tmp_path).all()[0].id)
    monkeypatch.setattr(module, "MAX_CLASSES", 1)
    with pytest.raises(BadRequest, match="There are 2 classes; at most 1"):
        gathered(tmp_path, source)
