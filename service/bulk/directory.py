"""The central directory of a zip archive: what the archive says about itself, and whether that can be true.

Everything is checked before any member is read, and nothing but the end record and the directory is looked at, both
bounded. Layouts: PKWARE's APPNOTE.TXT 6.3, sections 4.3.12 to 4.3.16, 4.5.3 (zip64) and 4.6.9 (Unicode path).
It is not left to `zipfile`, which reads a directory of any size, makes no difference between its errors, and in Python
3.11.7 and 3.12.1 does not see that members overlap.
"""

import os
import struct
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from struct import unpack_from
from typing import NamedTuple

from service.errors import ArchiveInvalid, ArchiveTooLarge

MIB = 1024 * 1024

END, END_MARK = struct.Struct("<4s4H2LH"), b"PK\5\6"
END64, END64_MARK = struct.Struct("<4sQ2H2L4Q"), b"PK\6\6"
LOCATOR, LOCATOR_MARK = struct.Struct("<4sLQL"), b"PK\6\7"
HEADER, HEADER_MARK = struct.Struct("<4s6H3L5H2L"), b"PK\1\2"
LOCAL, LOCAL_MARK = struct.Struct("<4s5H3L2H"), b"PK\3\4"

WIDE_16, WIDE_32 = 0xFFFF, 0xFFFF_FFFF
"""The value stands in a zip64 record instead."""
ZIP64_FIELD, UNICODE_PATH_FIELD = 0x0001, 0x7075
TAIL_BYTES = END.size + WIDE_16 + LOCATOR.size + END64.size
"""The end record with the longest comment, and what zip64 puts before it."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may claim. Skipped members count too: who packs 10 GB of text packs no pictures."""

    max_member_bytes: int
    """Of one picture, packed and unpacked: what the service takes in a request."""
    max_entries: int = 100_000
    """25 times the pictures in 500 MB of photos; at some 500 bytes for each, 50 MB of memory."""
    max_directory_bytes: int = 16 * MIB
    """Held in memory while it is read. Room for 100,000 names of 100 letters."""
    max_total_bytes: int = 10 * 1024 * MIB
    """Unpacked: half a minute of inflating. A 500 MB zip of photos has 0.5 GB, one of BMP files some 5 GB."""
    max_ratio: int = 200
    """Unpacked bytes to packed ones, over all. Photos have 1, scanned pages in BMP up to 50; deflate ends at 1,032."""
    ratio_floor_bytes: int = 256 * MIB
    """Below so many bytes unpacked no ratio is refused: blank BMP pictures have 1,000, and inflate in a second."""


class Member(NamedTuple):
    """One record of the directory. Its local header begins at `offset` of the file, and no other before `end`."""

    name: bytes
    unicode_path: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    attributes: int
    offset: int
    end: int


class _End(NamedTuple):
    """What the end record says; `directory_end` is where the directory really ends."""

    entries: int
    size: int
    offset: int
    directory_end: int
    wide: bool
    followed: bool


def read_directory(file: FileIO, limits: ArchiveLimits) -> list[Member]:
    """Every record, in the directory's order, after all that can be known without reading a member was checked.

    What stands before the archive is passed over (a self-extractor), and so is what follows it (padding), but not both:
    then it is something else that holds an archive, or what is left of a larger one.
    Raises ArchiveInvalid, ArchiveTooLarge; OSError when the disk fails.
    """
    end = _read_end(file)
    _check_amount(end.entries, end.size, limits)
    start = end.directory_end - end.size
    shift = start - end.offset
    if shift < 0 or (shift and end.followed):
        raise invalid("its directory does not lie where its end record says")
    try:
        members = _parse(read_at(file, end.size, start), shift)
    except struct.error as error:
        raise invalid("its directory breaks off") from error
    _check_amount(len(members), end.size, limits)
    # Writers that know no zip64 (that of macOS among them) let the count run over.
    if end.entries != (len(members) if end.wide else len(members) & WIDE_16):
        raise invalid(f"it says that it has {end.entries:,} entries, but its directory lists {len(members):,}")
    members = _with_ends(members, start)
    _check_sizes(members, limits)
    return members


def read_at(file: FileIO, length: int, position: int) -> bytes:
    """Bytes of the file, fewer where it ends. Moves no file position: any number of threads may read at once."""
    return os.pread(file.fileno(), length, position)


def invalid(why: str) -> ArchiveInvalid:
    return ArchiveInvalid(f"The archive cannot be used: {why}. Pack the pictures into a new zip, or send it again.")


def _read_end(file: FileIO) -> _End:
    size = os.fstat(file.fileno()).st_size
    tail = read_at(file, TAIL_BYTES, max(0, size - TAIL_BYTES))
    at = _find_end(tail)
    if at is None:
        raise invalid("it is no zip, or was cut off, for its end record is missing")
    _, disk, directory_disk, here, count, length, offset, comment = END.unpack_from(tail, at)
    followed = at + END.size + comment < len(tail)
    at64 = at - LOCATOR.size - END64.size
    wide = at64 >= 0 and tail.startswith(END64_MARK, at64) and tail.startswith(LOCATOR_MARK, at - LOCATOR.size)
    if wide:
        narrow = (disk, directory_disk, here, count, length, offset)
        disk, directory_disk, here, count, length, offset = _read_end64(tail, at64, narrow)
    elif WIDE_32 in (length, offset):
        raise invalid("its zip64 end record is missing")
    if disk or directory_disk or here != count:
        raise ArchiveInvalid(
            "The archive is one part of a split archive. Join the parts (zip -s 0 parts.zip --out whole.zip)."
        )
    return _End(count, length, offset, size - len(tail) + (at64 if wide else at), wide, followed)


def _find_end(tail: bytes) -> int | None:
    """The last end record whose comment ends with the file, else the last one whose comment ends within it."""
    within, at = None, len(tail)
    while (at := tail.rfind(END_MARK, 0, at)) >= 0:
        if at + END.size > len(tail):
            continue
        (comment,) = unpack_from("<H", tail, at + END.size - 2)
        if at + END.size + comment == len(tail):
            return at
        if at + END.size + comment < len(tail) and within is None:
            within = at
    return within


def _read_end64(tail: bytes, at: int, narrow: tuple[int, ...]) -> tuple[int, ...]:
    """Disk, disk of the directory, entries here, entries, bytes and offset of the directory, from the zip64 records
    at `at`. `narrow` is what the ordinary one says, which may be less but nothing else."""
    *_, disks = LOCATOR.unpack_from(tail, at + END64.size)
    wide = END64.unpack_from(tail, at)[4:]
    mosts = (WIDE_16,) * 4 + (WIDE_32,) * 2
    if any(short not in (most, value) for short, value, most in zip(narrow, wide, mosts, strict=True)):
        raise invalid("its two end records contradict each other")
    return (disks > 1 or wide[0], *wide[1:])


def _parse(data: bytes, shift: int) -> list[Member]:
    """Raises struct.error where a record breaks off."""
    members: list[Member] = []
    position = 0
    while position < len(data):
        record = HEADER.unpack_from(data, position)
        mark, _, _, flags, method, _, _, crc, packed, size, *lengths, disk, _, attributes, offset = record
        name_at = position + HEADER.size
        extra_at = name_at + lengths[0]
        position = name_at + sum(lengths)
        if mark != HEADER_MARK or position > len(data) or disk not in (0, WIDE_16):
            raise invalid(f"record {len(members):,} of its directory is damaged")
        fields = _fields(data[extra_at : extra_at + lengths[1]])
        size, packed, offset = _widened(fields.get(ZIP64_FIELD, b""), size, packed, offset)
        path = fields.get(UNICODE_PATH_FIELD, b"")
        name = data[name_at:extra_at]
        members.append(Member(name, path, flags, method, crc, packed, size, attributes, offset + shift, 0))
    return members


def _fields(extra: bytes) -> dict[int, bytes]:
    """Extra fields by their kind, the last of each."""
    fields: dict[int, bytes] = {}
    position = 0
    while position + 4 <= len(extra):
        kind, length = unpack_from("<HH", extra, position)
        position += 4 + length
        fields[kind] = extra[position - length : position]
    return fields


def _widened(wide: bytes, *values: int) -> tuple[int, ...]:
    """The values, each that has no room in 32 bits replaced by the next of the zip64 field."""
    following = iter(unpack_from(f"<{len(wide) // 8}Q", wide))
    return tuple(next(following, value) if value == WIDE_32 else value for value in values)


def _check_amount(count: int, size: int, limits: ArchiveLimits) -> None:
    if count > limits.max_entries or size > limits.max_directory_bytes:
        raise ArchiveTooLarge(
            f"The archive lists {count:,} entries in {size:,} bytes; the limits are {limits.max_entries:,} entries and "
            f"{limits.max_directory_bytes:,} bytes for their names. Split it into several archives."
        )


def _check_sizes(members: list[Member], limits: ArchiveLimits) -> None:
    size, packed = sum(member.size for member in members), sum(member.packed for member in members)
    if size > limits.max_total_bytes:
        raise ArchiveTooLarge(
            f"The archive unpacks to {size:,} bytes; the limit is {limits.max_total_bytes:,}. "
            "Split it into several archives."
        )
    if size > limits.ratio_floor_bytes and size > limits.max_ratio * packed:
        raise ArchiveTooLarge(
            f"The archive unpacks to {size:,} bytes from {packed:,}; from {limits.ratio_floor_bytes:,} bytes on, the "
            f"limit is {limits.max_ratio} times. Pack the pictures as PNG or JPEG, and nothing else."
        )


def _with_ends(members: list[Member], directory_start: int) -> list[Member]:
    """Each member with its end, the next one's beginning. Raises ArchiveInvalid when any two overlap.

    The length of the local header is taken as the directory's own; a longer one is met in reading, within `end`. Data
    descriptors do not count: nobody reads them here, and there are writers that announce but do not write them.
    """
    offsets = sorted(member.offset for member in members)
    # Backwards, so that of several at one place the first counts, for which there is no room.
    ends = dict(reversed([*pairwise([*offsets, directory_start])]))
    for index, member in enumerate(members):
        end = ends[member.offset]
        if member.offset + LOCAL.size + len(member.name) + member.packed > end:
            raise invalid(f"entry {index:,} reaches into the next one or past the end, as in a zip bomb")
        members[index] = member._replace(end=end)
    return members
