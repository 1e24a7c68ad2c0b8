"""T24 to T29: bombs and traps are refused or skipped with a reason, in little memory, and nothing is written."""

import json
import subprocess
import sys
import tracemalloc
import unicodedata
import zlib
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.bulk.archive import open_archive
from service.bulk.directory import ArchiveLimits
from service.errors import ArchiveInvalid, ArchiveTooLarge, ImageCorrupt
from tests.faults.archives import (
    DEFLATED,
    DESCRIPTOR,
    MAX_MEMBER_BYTES,
    MIB,
    UNSAFE_NAMES,
    UTF8,
    Part,
    corrupt,
    pack,
    pack64,
    picture,
    quoted_overlap,
    refused,
    skipped,
    unicode_path,
)

LIMITS = ArchiveLimits(max_member_bytes=MAX_MEMBER_BYTES)
GOOD = Part(b"good.png")
SMALL = pack(
    Part(b"a/1.png", b"stored"), Part(b"b/2.png", b"deflated" * 9, DEFLATED, DESCRIPTOR), Part(b"b/x.txt", b"")
)

WATCHED = """
import json, os, sys
from pathlib import Path
from service.bulk.archive import open_archive
from service.bulk.directory import ArchiveLimits
from service.errors import GlimtError
wrote = []
def watch(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        wrote.append(str(arguments[0]))
    if event.startswith("os.") and event not in ("os.listdir", "os.scandir", "os.putenv"):
        wrote.append(event)
sys.addaudithook(watch)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with open_archive(path, ArchiveLimits(int(sys.argv[2]))) as archive:
            for entry in archive.entries:
                if not entry.skip:
                    archive.read(entry)
    except GlimtError:
        pass
print(json.dumps(wrote))
"""


def outcome(data: bytes, limits: ArchiveLimits = LIMITS) -> list[bytes | str]:
    """For each entry its bytes, the reason it is skipped, or the words of its error. What is wrong with the archive
    is raised; any error that is not ours fails the test."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "job.zip")
        path.write_bytes(data)
        found: list[bytes | str] = []
        with open_archive(path, limits) as archive:
            for entry in archive.entries:
                try:
                    found.append(entry.skip or archive.read(entry))
                except ImageCorrupt as error:
                    found.append(error.detail)
        return found


@pytest.mark.parametrize("name", refused())
def test_refused(name: str) -> None:
    """Not one member is read, the error names the cause and the way out, and little memory is taken for it."""
    cause, data = refused()[name]
    outcome(pack(GOOD))  # nothing is counted that the first run loads
    tracemalloc.start()
    try:
        with pytest.raises((ArchiveInvalid, ArchiveTooLarge), match=cause) as refusal:
            outcome(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB
    assert any(word in refusal.value.detail for word in ("Pack ", "Split ", "Join "))


def test_what_is_too_much_and_what_is_wrong() -> None:
    """Bombs by amount are 413, all else is 422."""
    codes = {}
    for name, (_, data) in refused().items():
        with pytest.raises((ArchiveInvalid, ArchiveTooLarge)) as refusal:
            outcome(data)
        codes[name] = refusal.value.status
    amounts = ("ratio", "total", "too many", "endless")
    assert codes == {name: 413 if any(word in name for word in amounts) else 422 for name in codes}


@pytest.mark.parametrize("name", skipped())
def test_skipped(name: str) -> None:
    """The member is skipped for its reason, and its neighbours are read."""
    reason, part = skipped()[name]
    assert outcome(pack(GOOD, part, GOOD)) == [picture(), reason, picture()]


@pytest.mark.parametrize("name", corrupt())
def test_corrupt(name: str) -> None:
    """Reading the member says what is wrong with it, in little memory whatever it claims; its neighbours are read."""
    cause, part = corrupt()[name]
    data = pack(GOOD, part, GOOD)
    tracemalloc.start()
    try:
        before, said, after = outcome(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (before, after) == (picture(), picture())
    assert isinstance(said, str)
    assert cause in said
    assert peak < 2 * MIB


@pytest.mark.parametrize("raw", UNSAFE_NAMES, ids=lambda raw: ascii(raw[:24]))
def test_unsafe_name(raw: bytes, tmp_path: Path) -> None:
    """A name that leads elsewhere is shown without what leads there, and flagged; the picture itself is read."""
    path = tmp_path / "job.zip"
    path.write_bytes(pack(GOOD, Part(raw)))
    with open_archive(path, LIMITS) as archive:
        good, odd = archive.entries
        assert (odd.name, odd.unsafe_name, odd.skip) == (UNSAFE_NAMES[raw], True, None)
        assert archive.read(odd) == picture()
        assert not good.unsafe_name


ODD_LETTERS = "\0\x1b\x7f\x85\u061c\u200f\u2028\u202e\u2066\ufeff\ufffe\ud800\udfff/\\.:"
NAMES = st.binary(max_size=40) | st.text(st.sampled_from(ODD_LETTERS) | st.characters(), max_size=12).map(
    lambda name: name.encode("utf-8", "surrogatepass")
)
TURNS_WRITING = {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@settings(deadline=None)  # each example is a file, and the disk has its own pace
@given(NAMES, st.booleans(), st.none() | NAMES)
@example(raw="\u202egnp.exe\u2066/\u2028\u200fa".encode(), flagged=True, path=None)
def test_any_name(raw: bytes, flagged: bool, path: bytes | None) -> None:
    """Whatever bytes a name has, what is shown is valid UTF-8 without control characters, or ones that turn the
    direction of writing, and so is the label."""
    extra = b"" if path is None else unicode_path(raw, path)
    with TemporaryDirectory() as folder:
        file = Path(folder, "job.zip")
        file.write_bytes(pack(GOOD, Part(raw, flags=UTF8 * flagged, extra=extra)))
        with open_archive(file, LIMITS) as archive:
            entry = archive.entries[1]
    for text in (entry.name, entry.folder or "x"):
        assert text
        assert text.encode().decode() == text
        assert not {"Cc", "Cs", "Zl", "Zp"} & set(map(unicodedata.category, text))
        assert not TURNS_WRITING & set(map(unicodedata.bidirectional, text))
        assert not text.startswith("/")


def test_nothing_is_written(tmp_path: Path) -> None:
    """Going through every bomb, trap and name, the process opens no file for writing and makes, moves or links none."""
    job = tmp_path / "job"
    job.mkdir()
    parts = [part for table in (skipped(), corrupt()) for _, part in table.values()]
    traps = [data for _, data in refused().values()] + [pack(GOOD, part) for part in parts]
    for number, data in enumerate([*traps, *(pack(Part(raw)) for raw in UNSAFE_NAMES)]):
        (job / f"{number}.zip").write_bytes(data)
    run = [sys.executable, "-B", "-c", WATCHED, str(job), str(MAX_MEMBER_BYTES)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("whole", [SMALL, pack64(Part(b"1.png", b"stored"))], ids=["zip", "zip64"])
def test_truncation(whole: bytes) -> None:
    """Cut at any byte, an archive is refused as cut off or empty of sense, never half read."""
    assert all(isinstance(found, bytes | str) for found in outcome(whole))
    for length in range(len(whole)):
        with pytest.raises(ArchiveInvalid):
            outcome(whole[:length])


@pytest.mark.parametrize("length", range(1, len(SMALL), 7))
def test_beginning_lost(length: int) -> None:
    """With bytes missing at the front nothing lies where the archive says: refused."""
    with pytest.raises(ArchiveInvalid):
        outcome(SMALL[length:])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage(changes: list[tuple[int, int]]) -> None:
    """Whatever bytes are changed, only our errors come out, and of each member the declared bytes at most."""
    check_damage(SMALL, changes)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 120), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_to_the_end(changes: list[tuple[int, int]]) -> None:
    """The same where the numbers are: the last record, and both end records."""
    whole = pack64(Part(b"1.png", b"stored"))
    check_damage(whole, [(len(whole) - back, value) for back, value in changes])


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Whatever stands before an end record that asks for it, only our errors come out."""
    check_damage(data + pack(size=min(len(data), 200), entries=1, here=1), [])


def check_damage(whole: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(whole)
    for place, value in changes:
        data[place] = value
    limits = ArchiveLimits(max_member_bytes=100, max_total_bytes=250)
    try:
        found = outcome(bytes(data), limits)
    except (ArchiveInvalid, ArchiveTooLarge):
        return
    read = [len(item) for item in found if isinstance(item, bytes)]
    assert max(read, default=0) <= 100
    assert sum(read) <= 250


def test_the_bombs_are_bombs() -> None:
    """The quoted overlap is what it says: every member of it, read alone, unpacks with the right sum."""
    bomb = quoted_overlap(3)
    with ZipFile(BytesIO(bomb)) as archive:
        for info in archive.infolist():
            start = info.header_offset + 30 + len(info.filename)
            data = zlib.decompress(bomb[start : start + info.compress_size], -zlib.MAX_WBITS)
            assert (len(data), zlib.crc32(data)) == (info.file_size, info.CRC)
        assert sum(info.file_size for info in archive.infolist()) > 4 * MIB > 900 * len(bomb)
