"""Archives as people make them: which members are read, under which names and labels."""

import os
import shutil
import subprocess
import unicodedata
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from service.bulk.archive import Archive, open_archive
from service.bulk.directory import ArchiveLimits
from service.errors import ArchiveInvalid, ArchiveTooLarge, ImageCorrupt
from tests.faults.archives import DEFLATED, DESCRIPTOR, Part, pack, pack64, unicode_path, zeros

LIMITS = ArchiveLimits(max_member_bytes=1024 * 1024)
needs_zip = pytest.mark.skipif(shutil.which("zip") is None, reason="the zip tool is not installed")


def written(folder: Path, data: bytes) -> Path:
    path = folder / "job.zip"
    path.write_bytes(data)
    return path


def zipped(folder: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """An archive by the standard library."""
    path = folder / "job.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def contents(archive: Archive) -> dict[str, bytes]:
    return {entry.name: archive.read(entry) for entry in archive.entries if not entry.skip}


def labels(path: Path) -> dict[str, str | None]:
    with open_archive(path, LIMITS) as archive:
        return {entry.name: entry.folder for entry in archive.entries if not entry.skip}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_member_is_read(tmp_path: Path, method: int) -> None:
    """Stored or deflated, an empty one too, each member comes out as it went in, at its place in the directory."""
    files = {"a.jpg": b"one" * 1000, "b/c.png": b"", "d": bytes(range(256))}
    with open_archive(zipped(tmp_path, files, method), LIMITS) as archive:
        assert contents(archive) == files
        assert [(entry.index, entry.size) for entry in archive.entries] == [(0, 3000), (1, 0), (2, 256)]


def test_zip64(tmp_path: Path) -> None:
    """zip64 is read where it is not needed, in a member and at the end."""
    path = tmp_path / "job.zip"
    with zipfile.ZipFile(path, "w") as made, made.open("a.png", "w", force_zip64=True) as member:
        member.write(b"picture")
    with open_archive(path, LIMITS) as archive:
        assert contents(archive) == {"a.png": b"picture"}
    with open_archive(written(tmp_path, pack64(Part(data=b"picture"))), LIMITS) as archive:
        assert contents(archive) == {"a.png": b"picture"}


@pytest.mark.parametrize("wide", [True, False], ids=["zip64", "count runs over"])
def test_more_than_65535_entries(tmp_path: Path, wide: bool) -> None:
    """They are read from zip64, and also where the writer let the 16 bits of the count run over, as macOS does."""
    count = 65_540
    parts = [Part(b"%d" % n, b"") for n in range(count)]
    over = {"here": count & 0xFFFF, "entries": count & 0xFFFF}
    data = pack64(*parts) if wide else pack(*parts, **over)
    with open_archive(written(tmp_path, data), LIMITS) as archive:
        assert len(archive.entries) == count
        assert archive.read(archive.entries[-1]) == b""
    fewer = replace(LIMITS, max_entries=count - 1)
    with pytest.raises(ArchiveTooLarge, match="lists 65,540 entries"), open_archive(tmp_path / "job.zip", fewer):
        pass


@needs_zip
def test_the_zip_tool(tmp_path: Path) -> None:
    """What `zip -r` makes of a folder is read, the links in it are skipped."""
    folder = tmp_path / "photos" / "cats"
    folder.mkdir(parents=True)
    (folder / "ä 1.jpg").write_bytes(b"one" * 1000)
    (folder / "2.jpg").write_bytes(b"two")
    (folder / "3.jpg").symlink_to("/etc/hostname")
    subprocess.run(["zip", "-qry", "job.zip", "photos"], cwd=tmp_path, check=True)
    with open_archive(tmp_path / "job.zip", LIMITS) as archive:
        assert contents(archive) == {"photos/cats/ä 1.jpg": b"one" * 1000, "photos/cats/2.jpg": b"two"}
        assert {entry.name: entry.skip for entry in archive.entries if entry.skip} == {
            "photos": "directory",
            "photos/cats": "directory",
            "photos/cats/3.jpg": "symlink",
        }


@needs_zip
def test_the_zip_tool_through_a_pipe(tmp_path: Path) -> None:
    """Streamed, with the sizes after the data, an archive is read; so is a member that itself came by a pipe."""
    (tmp_path / "1.jpg").write_bytes(b"one" * 1000)
    (tmp_path / "2.jpg").write_bytes(b"two")
    streamed = subprocess.run(
        "zip -qr - 1.jpg 2.jpg | cat; cat 2.jpg | zip -q - - | cat > piped.zip",
        shell=True, cwd=tmp_path, check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    with open_archive(written(tmp_path, streamed), LIMITS) as archive:
        assert contents(archive) == {"1.jpg": b"one" * 1000, "2.jpg": b"two"}
    with open_archive(tmp_path / "piped.zip", LIMITS) as archive:
        assert contents(archive) == {"-": b"two"}


def test_no_descriptor_where_one_is_announced(tmp_path: Path) -> None:
    """Some writers set the flag and write none: nobody reads it, so nobody misses it."""
    parts = [Part(name, b"data", flags=DESCRIPTOR, local_flags=0) for name in (b"1", b"2")]
    with open_archive(written(tmp_path, pack(*parts)), LIMITS) as archive:
        assert contents(archive) == {"1": b"data", "2": b"data"}


@pytest.mark.parametrize(("before", "after"), [(b"#!/bin/sh\n" * 99, b""), (b"", b"\0" * 512), (b"", b"PK\5\6")])
def test_bytes_before_or_after(tmp_path: Path, before: bytes, after: bytes) -> None:
    """A program before the archive or padding after it is passed over."""
    path = written(tmp_path, before + pack(Part(data=b"1"), Part(b"b.png", b"2")) + after)
    with open_archive(path, LIMITS) as archive:
        assert contents(archive) == {"a.png": b"1", "b.png": b"2"}


def test_padding_behind_an_archive_that_holds_one(tmp_path: Path) -> None:
    """The outer one is read, though both have their end records near the end of the file."""
    path = written(tmp_path, pack(Part(b"in.zip", pack(Part())), Part(b"out.png", b"1")) + bytes(9))
    with open_archive(path, LIMITS) as archive:
        assert contents(archive) == {"out.png": b"1"}


def test_a_comment(tmp_path: Path) -> None:
    """The longest comment is passed over, even one that holds an end record."""
    path = zipped(tmp_path, {"a.png": b"1"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = (b"see PK\5\6" + bytes(30)).ljust(65_535, b"!")
    with open_archive(path, LIMITS) as opened:
        assert contents(opened) == {"a.png": b"1"}


def test_a_name_with_a_mark_of_zip64(tmp_path: Path) -> None:
    """The last name may look like the beginning of a zip64 record: an archive was refused for it."""
    for name in (b"PK\6\7".ljust(20, b"x"), b"PK\6\6".ljust(76, b"x")):
        with open_archive(written(tmp_path, pack(Part(name, b"1"))), LIMITS) as archive:
            assert archive.read(archive.entries[0]) == b"1"


def test_a_picture_is_read_as_one_though_named_otherwise(tmp_path: Path) -> None:
    """Without a suffix or with an unknown one a member is read, for the content decides."""
    with open_archive(zipped(tmp_path, {"IMG_0001": b"1", "b.heic": b"2", "c.jpg.txt": b"3"}), LIMITS) as archive:
        assert [entry.skip for entry in archive.entries] == [None, None, "not_a_picture"]


def test_duplicate_names(tmp_path: Path) -> None:
    """Members of one name, or of names that differ in case or Unicode form only, stay apart by their index."""
    names = [b"a.png", b"a.png", b"A.png", "é.png".encode(), unicodedata.normalize("NFD", "é.png").encode()]
    parts = [Part(name, b"%d" % n) for n, name in enumerate(names)]
    with open_archive(written(tmp_path, pack(*parts)), LIMITS) as archive:
        assert [archive.read(entry) for entry in archive.entries] == [b"0", b"1", b"2", b"3", b"4"]
        assert [entry.name.encode() for entry in archive.entries] == names


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Part("Käfer.png".encode(), flags=0x800), "Käfer.png"),
        (Part("Käfer.png".encode()), "Käfer.png"),
        (Part("Käfer.png".encode("cp437")), "Käfer.png"),
        (Part("甲虫.png".encode("gbk"), extra=unicode_path("甲虫.png".encode("gbk"), "甲虫.png".encode())), "甲虫.png"),
        (Part(b"new.png", extra=unicode_path(b"old.png", b"stale.png")), "new.png"),
        (Part(b"a.png", extra=unicode_path(b"a.png", b"b.png").replace(b"\1", b"\2", 1)), "a.png"),
    ],
    ids=["flagged", "as macOS does", "code page 437", "Unicode path", "stale Unicode path", "unknown version"],
)
def test_names(tmp_path: Path, part: Part, name: str) -> None:
    """Names are read in the encoding they are written in, and are not flagged for it."""
    with open_archive(written(tmp_path, pack(part)), LIMITS) as archive:
        assert [(entry.name, entry.unsafe_name) for entry in archive.entries] == [(name, False)]


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    """What cannot be read in a name that claims UTF-8 is replaced, and the name flagged."""
    with open_archive(written(tmp_path, pack(Part(b"\xed\xa0\x80\xff.png", flags=0x800))), LIMITS) as archive:
        entry = archive.entries[0]
    assert (entry.name, entry.unsafe_name) == ("\ufffd" * 4 + ".png", True)


def test_folders_are_labels(tmp_path: Path) -> None:
    """The last folder labels a picture; at the top there is no label."""
    files = ["cats/1.jpg", "train/dogs/2.jpg", "3.jpg"]
    assert labels(zipped(tmp_path, dict.fromkeys(files, b""))) == dict(zip(files, ["cats", "dogs", None], strict=True))


def test_a_folder_round_everything_is_no_label(tmp_path: Path) -> None:
    """The one folder that people pack says nothing, whatever else lies beside it that is not read."""
    files = {
        name: b"" for name in ("pets/cats/1.jpg", "pets/dogs/2.jpg", "pets/3.jpg", "__MACOSX/pets/._3.jpg", "a.txt")
    }
    assert labels(zipped(tmp_path, files)) == {
        "pets/cats/1.jpg": "cats",
        "pets/dogs/2.jpg": "dogs",
        "pets/3.jpg": None,
    }


def test_a_label_has_an_end(tmp_path: Path) -> None:
    """A folder of a longer name than file systems take is cut, at its beginning."""
    assert labels(zipped(tmp_path, {"b.jpg": b"", "x" * 300 + "y/a.jpg": b""}))["x" * 300 + "y/a.jpg"] == (
        "…" + "x" * 253 + "y"
    )


def test_one_label_in_both_unicode_forms(tmp_path: Path) -> None:
    """A folder packed on a Mac, whose letters are decomposed, is the same label as one packed elsewhere."""
    mac = unicodedata.normalize("NFD", "Käfer")
    assert set(labels(zipped(tmp_path, {"Käfer/1.jpg": b"", f"{mac}/2.jpg": b""})).values()) == {"Käfer"}


def test_blank_pictures_are_no_bomb(tmp_path: Path) -> None:
    """A ratio of a thousand is refused only beyond the floor, and 1:1 at no size."""
    blank = zeros(1024 * 1024)
    floor = replace(LIMITS, ratio_floor_bytes=2 * 1024 * 1024)
    path = written(tmp_path, pack(blank, replace(blank, name=b"b.bmp")))
    with open_archive(path, floor) as archive:
        assert [archive.read(entry) for entry in archive.entries] == [bytes(1024 * 1024)] * 2
    with pytest.raises(ArchiveTooLarge, match="200 times"), open_archive(path, replace(floor, ratio_floor_bytes=1)):
        pass
    stored = written(tmp_path, pack(Part(data=bytes(1000)), Part(data=bytes(1000))))
    with open_archive(stored, replace(LIMITS, ratio_floor_bytes=1)) as archive:
        assert len(contents(archive)) == 1


@pytest.mark.parametrize("field", ["max_entries", "max_directory_bytes", "max_total_bytes"])
def test_limits_are_inclusive(tmp_path: Path, field: str) -> None:
    """At its limit an archive is taken, one beyond it refused."""
    path = written(tmp_path, pack(Part(data=b"12"), Part(data=b"34")))
    at_limit = {"max_entries": 2, "max_directory_bytes": 2 * 51, "max_total_bytes": 4}[field]
    with open_archive(path, replace(LIMITS, **{field: at_limit})) as archive:
        assert len(archive.entries) == 2
    with pytest.raises(ArchiveTooLarge), open_archive(path, replace(LIMITS, **{field: at_limit - 1})):
        pass


def test_a_member_at_the_limit(tmp_path: Path) -> None:
    """A picture of just the most bytes is read, and one byte more is skipped, not the whole archive."""
    path = written(tmp_path, pack(Part(data=bytes(100)), Part(data=bytes(101)), Part(data=bytes(101), method=DEFLATED)))
    with open_archive(path, ArchiveLimits(max_member_bytes=100)) as archive:
        assert [entry.skip for entry in archive.entries] == [None, "too_large", "too_large"]
        assert archive.read(archive.entries[0]) == bytes(100)


def test_a_file_that_says_it_is_a_folder(tmp_path: Path) -> None:
    """One that DOS would call a directory is read when it has bytes and no folder's name."""
    with open_archive(written(tmp_path, pack(Part(data=b"1", attributes=0x10))), LIMITS) as archive:
        assert contents(archive) == {"a.png": b"1"}


@pytest.mark.parametrize("length", [0, 10, 32, 40])
def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, length: int) -> None:
    """What is gone since the archive was opened is missed as a damaged picture."""
    path = written(tmp_path, pack(Part(data=b"picture")))
    with open_archive(path, LIMITS) as archive:
        os.truncate(path, length)
        with pytest.raises(ImageCorrupt):
            archive.read(archive.entries[0])


def test_a_skipped_entry_is_not_read(tmp_path: Path) -> None:
    """To ask for it is the caller's mistake."""
    path = zipped(tmp_path, {"a.png": b"", "b.txt": b""})
    with open_archive(path, LIMITS) as archive, pytest.raises(ValueError, match="not_a_picture"):
        archive.read(archive.entries[1])


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    """Readers share the file without a lock, and none gets another's bytes."""
    files = {f"{n}.png": bytes([n]) * (n * 997) for n in range(200)}
    with open_archive(zipped(tmp_path, files), LIMITS) as archive, ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(archive.read, archive.entries)) == list(files.values())


def test_the_file_is_closed(tmp_path: Path) -> None:
    """After the archive is closed nothing is read from whatever file has its number then; a deleted file reads on."""
    path = zipped(tmp_path, {"a.png": b"1"})
    with open_archive(path, LIMITS) as archive:
        path.unlink()
        assert archive.read(archive.entries[0]) == b"1"
    with pytest.raises(ValueError, match="closed"):
        archive.read(archive.entries[0])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """That is the disk's or the caller's fault, not the archive's."""
    with pytest.raises(FileNotFoundError), open_archive(tmp_path / "none.zip", LIMITS):
        pass
    with pytest.raises(ArchiveInvalid, match="it is no zip"), open_archive(written(tmp_path, b"text"), LIMITS):
        pass
