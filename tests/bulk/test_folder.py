"""A folder of the machine's disk: what of it is listed, that the listing stays, and that nobody gets out of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.bulk.directory import ArchiveLimits
from service.bulk.folder import MAX_DEPTH, Folder, allowed_folder, open_folder
from service.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    ArchiveUnreadable,
    Forbidden,
    ImageError,
    InvalidField,
)

LIMITS = ArchiveLimits(max_member_bytes=1000)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder that may be read."""
    (tmp_path / "jobs").mkdir()
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def fill(folder: Path, **files: bytes) -> None:
    """Names with _ for / and without the suffix."""
    for name, content in files.items():
        path = folder / (name.replace("_", "/") + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextmanager
def opened(folder: Path, limits: ArchiveLimits = LIMITS, job: str = "1") -> Iterator[Folder]:
    top = next(parent for parent in folder.parents if (parent / "jobs").is_dir())
    with open_folder(folder, top / "jobs" / job / "listing.json", limits, [top / "photos"]) as found:
        yield found


def listed(folder: Path, limits: ArchiveLimits = LIMITS) -> list[tuple[str, str | None]]:
    with opened(folder, limits) as found:
        return [(entry.name, entry.skip) for entry in found.entries]


# Which one


def test_an_allowed_folder(photos: Path) -> None:
    """It and all below it, by whatever way it is named."""
    (photos / "cats").mkdir()
    (photos.parent / "link").symlink_to(photos)
    assert allowed_folder(str(photos), [photos]) == photos
    assert allowed_folder(f"{photos}/../photos/cats/", [photos]) == photos / "cats"
    assert allowed_folder(str(photos.parent / "link/cats"), [photos]) == photos / "cats"
    assert allowed_folder(str(photos / "cats"), [Path("/nowhere"), photos.parent / "link"]) == photos / "cats"


@pytest.mark.parametrize("asked", ["..", "../photos2", "cats/../..", "out", "out/below", "/", "/etc"])
def test_a_folder_elsewhere(photos: Path, asked: str) -> None:
    """403, be it there or not, with those that are allowed."""
    (photos.parent / "photos2").mkdir()
    (photos / "out").symlink_to(photos.parent)
    with pytest.raises(Forbidden, match=rf"only below {photos}\. .*GLIMT_JOB_FOLDERS"):
        allowed_folder(str(photos / asked), [photos])


def test_no_folder_is_allowed(photos: Path) -> None:
    """The setting is named."""
    with pytest.raises(Forbidden, match="GLIMT_JOB_FOLDERS"):
        allowed_folder(str(photos), [])


@pytest.mark.parametrize("asked", ["", "photos", "./photos", "\0", "{}/none", "{}/a.png", "{}/\ud800"])
def test_no_folder(photos: Path, asked: str) -> None:
    """A relative path, a file, nothing."""
    fill(photos, a=b"1")
    with pytest.raises(InvalidField, match=r"^folder: "):
        allowed_folder(asked.format(photos), [photos])


# What is in it


def test_what_is_listed(photos: Path) -> None:
    """By name, folder by folder; what is no picture, too large or no file is skipped with its reason."""
    fill(photos, b=b"1", a_x=b"2", large=bytes(1001))
    (photos / "notes.txt").write_text("-")
    (photos / "link.png").symlink_to(photos / "b.png")
    (photos / "links").symlink_to(photos.parent)
    os.mkfifo(photos / "pipe.png")
    assert listed(photos) == [
        ("b.png", None),
        ("large.png", "too_large"),
        ("link.png", "symlink"),
        ("links", "symlink"),
        ("notes.txt", "not_a_picture"),
        ("pipe.png", "device"),
        ("a/x.png", None),
    ]


def test_folders_are_labels(photos: Path) -> None:
    """As in an archive: the folder a picture lies in, unless there is but one round everything."""
    fill(photos, cats_1=b"1", dogs_old_2=b"2", three=b"3")
    with opened(photos) as found:
        assert {entry.name: entry.folder for entry in found.entries} == {
            "three.png": None,
            "cats/1.png": "cats",
            "dogs/old/2.png": "old",
        }
    with opened(photos / "dogs", job="2") as found:
        assert [entry.folder for entry in found.entries] == [None]


def test_names_that_are_no_text(photos: Path) -> None:
    """A name is bytes; it is shown as well as it can be, and read by what it is."""
    Path(os.fsdecode(os.fsencode(photos) + b"/\xff\n.png")).write_bytes(b"odd")
    with opened(photos) as found:
        (entry,) = found.entries
        assert (entry.name, entry.unsafe_name) == ("\ufffd\ufffd.png", True)
        assert found.read(entry) == b"odd"


def test_nothing_to_read(photos: Path) -> None:
    """Said as the job's error."""
    for name in ("a.txt", "b.txt"):
        with pytest.raises(ArchiveInvalid, match="no picture"):
            listed(photos)
        (photos / name).write_text("-")


def test_too_many_files(photos: Path) -> None:
    """Folders count, and so do the letters of the names."""
    fill(photos, **{f"a_{n}": b"1" for n in range(9)})
    assert len(listed(photos, replace(LIMITS, max_entries=9))) == 9
    for limits in (replace(LIMITS, max_entries=8), replace(LIMITS, max_directory_bytes=50)):
        with (
            pytest.raises(ArchiveTooLarge, match=f"more than {limits.max_entries:,} files"),
            opened(photos, limits, "2"),
        ):
            pass


def test_folders_deep_within_folders(photos: Path) -> None:
    """One that is too deep is not looked into."""
    deep = "_".join("d" * MAX_DEPTH)
    fill(photos, **{f"{deep}_a": b"1", f"{deep}_d_b": b"2"})
    assert listed(photos) == [
        ("/".join("d" * MAX_DEPTH) + "/a.png", None),
        ("/".join("d" * (MAX_DEPTH + 1)), "unreadable"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into(photos: Path) -> None:
    """Skipped, the others are read."""
    fill(photos, a=b"1", shut_b=b"2")
    (photos / "shut").chmod(0)
    assert listed(photos) == [("a.png", None), ("shut", "unreadable")]


def test_the_listing_stays(photos: Path) -> None:
    """After a restart each file has its place, whatever has come or gone since."""
    fill(photos, b=b"1", c=b"2", d=b"3")
    first = listed(photos)
    fill(photos, a=b"new", c=b"another")
    (photos / "b.png").unlink()
    assert listed(photos) == first
    with opened(photos) as found:
        for entry, why in zip(found.entries, ("No such file", "another than when the job began"), strict=False):
            with pytest.raises(ImageError, match=why):
                found.read(entry)
        assert found.read(found.entries[2]) == b"3"


# Nobody gets out


def test_a_link_put_in_the_place_of_a_file(photos: Path) -> None:
    """Also of a folder on the way to it: it was no link when it was listed, and is not followed now."""
    fill(photos, a=b"1", cats_b=b"2", pipe=b"3")
    fill(photos.parent / "secret", a=b"!", b=b"!")
    with opened(photos) as found:
        a, pipe, b = found.entries
        (photos / "a.png").unlink()
        (photos / "a.png").symlink_to(photos.parent / "secret/a.png")
        (photos / "cats").rename(photos.parent / "gone")
        (photos / "cats").symlink_to(photos.parent / "secret")
        (photos / "pipe.png").unlink()
        os.mkfifo(photos / "pipe.png")
        for entry in (a, b, pipe):
            with pytest.raises(ImageError):
                found.read(entry)


def test_a_link_put_in_the_place_of_the_folder(photos: Path) -> None:
    """The job was allowed to read it, not what stands there now."""
    fill(photos, cats_a=b"1", dogs_b=b"2")
    fill(photos.parent / "secret", a=b"!")
    (photos / "cats").rename(photos / "old")
    (photos / "cats").symlink_to(photos.parent / "secret")
    with pytest.raises(ArchiveUnreadable, match=r"cannot be read .*\(Not a directory\)"), opened(photos / "cats"):
        pass


def test_a_folder_that_is_allowed_no_longer(photos: Path) -> None:
    """The operator took the setting back while the job was waiting."""
    fill(photos, a=b"1")
    listing = photos.parent / "jobs/1/listing.json"
    with pytest.raises(ArchiveUnreadable, match="GLIMT_JOB_FOLDERS"), open_folder(photos, listing, LIMITS, []):
        pass
    assert not listing.exists()


def test_what_is_skipped_is_not_read(photos: Path) -> None:
    """Whoever asks."""
    fill(photos, a=b"1")
    (photos / "b.txt").write_text("-")
    with opened(photos) as found, pytest.raises(ValueError, match="not_a_picture"):
        found.read(found.entries[1])


def test_no_file_stays_open(photos: Path) -> None:
    """A job of 100,000 pictures would run out of them."""
    fill(photos, cats_a=b"1", dogs_b=b"2")
    before = os.listdir("/dev/fd")
    with opened(photos) as found:
        assert [found.read(entry) for entry in found.entries] == [b"1", b"2"]
    assert len(os.listdir("/dev/fd")) == len(before)
