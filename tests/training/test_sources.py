"""Folders, zips and CSVs as sources of labelled pictures."""

import os
import zipfile
from pathlib import Path

import pytest

from service.errors import ArchiveInvalid, BadRequest, ImageCorrupt
from service.training import sources
from service.training.sources import class_name, lay_out, open_source
from tests.training.pictures import png, two_classes, write

MAX_BYTES = 1024 * 1024
Line = tuple[str, str | None, str | None, str]


def found(path: Path) -> list[Line]:
    with open_source(path, MAX_BYTES) as pictures:
        return [(one.name, one.label, one.split, one.origin) for one in pictures]


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def csv_of(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("places", "laid"),
    [
        (["cat", "dog"], [("cat", None), ("dog", None)]),
        (["all/cat", "all/dog"], [("cat", None), ("dog", None)]),
        (["a/b/cat", "a/b/dog"], [("cat", None), ("dog", None)]),
        (["cat/indoors", "dog"], [("cat", None), ("dog", None)]),
        (["cat", ""], [("cat", None), (None, None)]),
        (["train/cat", "val/cat"], [("cat", "train"), ("cat", "validation")]),
        (["pets/Train/cat", "pets/Test/dog/x"], [("cat", "train"), ("dog", "test")]),
        (["train/cat", "test"], [("cat", "train"), (None, "test")]),
        (["train/cat", "other/dog"], [("train", None), ("other", None)]),
        (["test/cat", "test/dog"], [("cat", None), ("dog", None)]),
        (["", ""], [(None, None), (None, None)]),
        (["cat", "cat"], [(None, None), (None, None)]),
    ],
)
def test_what_folders_mean(places: list[str], laid: list[tuple[str | None, str | None]]) -> None:
    """One round everything means nothing, then come sets, if all of them are, then the class."""
    assert lay_out([tuple(place.split("/")) if place else () for place in places]) == laid


def test_a_folder_and_a_zip_of_it_are_the_same(tmp_path: Path) -> None:
    """Names, classes, sets and bytes; what is no picture, hidden or a system's file is not looked at."""
    folder = two_classes(tmp_path / "pets", each=3)
    (folder / "cat" / "notes.txt").write_text("no picture")
    write(folder / ".git", range(2))
    (folder / "dog" / "._p1000.png").write_bytes(b"of a Mac")
    files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    archive = zipped(tmp_path / "pets.zip", files)
    with open_source(folder, MAX_BYTES) as one, open_source(archive, MAX_BYTES) as other:
        assert [(found.label, found.split, found.read()) for found in one] == [
            (found.label, found.split, found.read()) for found in other
        ]
        assert [found.name for found in one] == [f"{pet}/p{n:03}.png" for pet, n in
            [("cat", 0), ("cat", 1), ("cat", 2), ("dog", 1000), ("dog", 1001), ("dog", 1002)]]  # fmt: skip


def test_a_zip_that_lies_is_refused_or_its_picture_is(tmp_path: Path) -> None:
    """As of any upload: no archive, and a member whose bytes are not those that the directory promises."""
    no_zip = tmp_path / "no.zip"
    no_zip.write_bytes(b"PK but not really")
    with pytest.raises(ArchiveInvalid):
        found(no_zip)
    content = zipped(tmp_path / "flip.zip", {"cat/a.png": png(1)}).read_bytes()
    (tmp_path / "flip.zip").write_bytes(content.replace(b"\x89PNG", b"\x88PNG"))
    with open_source(tmp_path / "flip.zip", MAX_BYTES) as pictures, pytest.raises(ImageCorrupt):
        pictures[0].read()


def test_a_zips_names_lead_nowhere(tmp_path: Path) -> None:
    """`..` is dropped from a name: it is a label, never a path."""
    archive = zipped(tmp_path / "up.zip", {"../../cat/a.png": png(1), "/dog/b.png": png(2)})
    assert [line[:2] for line in found(archive)] == [("cat/a.png", "cat"), ("dog/b.png", "dog")]


def test_a_csv_says_all_of_it(tmp_path: Path) -> None:
    """Paths are relative to it; split and origin may be left empty, or out."""
    write(tmp_path / "in", range(2))
    path = csv_of(tmp_path, f"path,label,split,origin\nin/p000.png,cat,val,\n{tmp_path}/in/p001.png, dog ,,feedback\n")
    assert found(path) == [
        ("in/p000.png", "cat", "validation", "given"),
        (sources.shown_name(f"{tmp_path}/in/p001.png"), "dog", None, "feedback"),
    ]
    with open_source(path, MAX_BYTES) as pictures:
        assert [one.read() for one in pictures] == [png(0), png(1)]
    assert found(csv_of(tmp_path, "\ufeffLabel,Path\r\ncat,in/p000.png\r\n")) == [("in/p000.png", "cat", None, "given")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must begin with the line path,label"),
        ("path;label\na.png;cat\n", "must begin .* It begins with: path;label"),
        ("path,label,colour\na.png,cat,red\n", "must begin"),
        ("path,label,label\na.png,cat,dog\n", "must begin"),
        ("path,label\na.png,cat\n,dog\n", "line 3: it has no path"),
        ("path,label\na.png,cat,dog\n", "line 2: .*more columns"),
        ("path,label\na.png,\n", "line 2: '' cannot be a class's name"),
        ("path,label\na.png,c\x07t\n", "line 2: .*characters that cannot be shown"),
        ("path,label,split\na.png,cat,half\n", "line 2: the split is train, validation, test or empty, not 'half'"),
        ("path,label,origin\na.png,cat,me\n", "line 2: the origin is given, feedback or empty, not 'me'"),
        ('path,label\n"a.png,cat\n', "is no CSV in UTF-8"),
    ],
)
def test_a_csv_with_a_fault_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """With the line and what it should be."""
    with pytest.raises(BadRequest, match=words):
        found(csv_of(tmp_path, text))


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """Rather than with labels that nobody wrote."""
    path = tmp_path / "labels.csv"
    path.write_bytes("path,label\na.png,h\xe4st\n".encode("latin-1"))
    with pytest.raises(BadRequest, match="no CSV in UTF-8"):
        found(path)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    """With what would be a source; a pipe is none, and nobody waits for it."""
    os.mkfifo(tmp_path / "labels.csv")
    for name in ("missing", "labels.csv"):
        with pytest.raises(BadRequest, match=r"There is nothing at .* a zip of them, or a CSV"):
            found(tmp_path / name)


def test_a_pipe_among_pictures_is_not_waited_for(tmp_path: Path) -> None:
    """It cannot be read, at once."""
    write(tmp_path / "cat", [1])
    os.mkfifo(tmp_path / "cat" / "a.png")
    with open_source(tmp_path, MAX_BYTES) as pictures, pytest.raises(OSError, match="No such file"):
        pictures[0].read()


def test_no_more_of_a_file_is_read_than_needed(tmp_path: Path) -> None:
    """One byte more than a picture may have says that it is too large."""
    (tmp_path / "huge.png").write_bytes(bytes(5000))
    assert len(sources.read_file(tmp_path / "huge.png", 1000)) == 1001


def test_there_is_a_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pictures, and of files that are looked at in a folder."""
    folder = two_classes(tmp_path, each=3)
    monkeypatch.setattr(sources, "MAX_PICTURES", 5)
    with pytest.raises(BadRequest, match="more than 5 pictures"):
        found(folder)
    monkeypatch.setattr(sources, "MAX_LOOKED_AT", 4)
    with pytest.raises(BadRequest, match="more than 4 files"):
        found(folder)


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "\u202egnp", "x" * 201, os.fsdecode(b"\xff")])
def test_a_class_needs_a_name_that_can_be_shown(label: str) -> None:
    """Not empty, no control characters, nothing that turns the writing, not endless."""
    with pytest.raises(BadRequest, match="class's name"):
        class_name(label)


def test_a_mac_and_others_mean_the_same_class() -> None:
    """Its file system takes letters apart."""
    assert class_name(" ha\u0308st ") == class_name("h\xe4st") == "h\xe4st"


def test_the_users_own_errors_are_not_taken_for_the_sources(tmp_path: Path) -> None:
    """What fails while its pictures are in use, such as a full disk, stays what it is."""
    folder = two_classes(tmp_path, each=1)
    with pytest.raises(OSError, match="full"), open_source(folder, MAX_BYTES):
        raise OSError("full")
