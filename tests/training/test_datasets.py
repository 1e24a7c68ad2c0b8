"""Uploaded datasets on disk."""

from pathlib import Path

import pytest

from service.errors import ArchiveInvalid, BadRequest, Conflict, NotFound
from service.training.datasets import Datasets
from tests.faults.archives import Part, pack
from tests.training.pictures import png


@pytest.fixture
def datasets(tmp_path: Path) -> Datasets:
    return Datasets(tmp_path, max_picture_bytes=1024 * 1024)


def arrived(datasets: Datasets, content: bytes) -> Path:
    place = datasets.place()
    place.parent.mkdir()
    place.write_bytes(content)
    return place


def zipped(*names: str) -> bytes:
    return pack(*(Part(name.encode(), png(number)) for number, name in enumerate(names)))


def test_its_classes_are_counted(datasets: Datasets) -> None:
    """By their folders; what lies in none is counted apart."""
    about = datasets.add(arrived(datasets, zipped("cat/1.png", "cat/2.png", "dog/1.png", "stray.png")), "pets.zip")
    assert (about.name, about.classes, about.unlabelled) == ("pets.zip", {"cat": 2, "dog": 1}, 1)
    assert datasets.get(about.id) == about
    assert Path(datasets.source(about.id)).stat().st_size == about.bytes


def test_the_newest_is_listed_first(datasets: Datasets, tmp_path: Path) -> None:
    """What is no dataset is passed over."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "notes").mkdir()
    found = [datasets.add(arrived(datasets, zipped("a/1.png", "b/1.png")), name) for name in ("one", "two")]
    assert [it.id for it in datasets.all()] == sorted((it.id for it in found), reverse=True)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (zipped("cat/1.png", "cat/2.png"), BadRequest),
        (b"no zip at all", ArchiveInvalid),
        (zipped("cat/1.png", "dog/1.png")[:-30], ArchiveInvalid),
    ],
)
def test_one_that_cannot_be_used_leaves_nothing(datasets: Datasets, content: bytes, error: type[Exception]) -> None:
    """Its folder goes with it."""
    place = arrived(datasets, content)
    with pytest.raises(error):
        datasets.add(place, "pets.zip")
    assert list(datasets.folder.iterdir()) == []


def test_a_removed_one_is_gone(datasets: Datasets) -> None:
    """Its zip too."""
    about = datasets.add(arrived(datasets, zipped("a/1.png", "b/1.png")), "")
    datasets.remove(about.id)
    assert list(datasets.folder.iterdir()) == []
    with pytest.raises(NotFound):
        datasets.remove(about.id)


@pytest.mark.parametrize("name", ["..", "../models", "20260101-000000-000000", ""])
def test_what_is_none_is_not_found(datasets: Datasets, name: str) -> None:
    """A path least of all."""
    for look in (datasets.get, datasets.source, datasets.remove):
        with pytest.raises(NotFound):
            look(name)


def test_there_are_only_so_many(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is refused before it comes."""
    monkeypatch.setattr("service.training.datasets.MAX_DATASETS", 1)
    datasets.add(arrived(datasets, zipped("a/1.png", "b/1.png")), "")
    with pytest.raises(Conflict, match="the limit"):
        datasets.place()


def test_what_a_crash_left_is_swept_away(datasets: Datasets) -> None:
    """A zip that nobody looked through; a dataset stays."""
    about = datasets.add(arrived(datasets, zipped("a/1.png", "b/1.png")), "")
    arrived(datasets, b"half a z")
    datasets.sweep()
    assert [path.name for path in datasets.folder.iterdir()] == [about.id]
