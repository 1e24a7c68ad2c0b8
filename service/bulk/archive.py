"""A zip archive on disk: what in it may be read, and the reading, bounded whatever the archive says.

Blocking, and without knowledge of pictures, jobs or the event loop. `index` names a member, its name only labels it.
"""

import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from service.bulk.directory import LOCAL, LOCAL_MARK, ArchiveLimits, Member, invalid, read_at, read_directory
from service.bulk.names import Name, Skip, read_name, skip_by_name
from service.bulk.source import Entry, Found, make_entries
from service.errors import ArchiveInvalid, ImageCorrupt

STORED, DEFLATED = 0, 8
"""Methods that are read. bzip2 and lzma are slow bombs, and nobody packs photos with them."""
ENCRYPTED = 0x0001 | 0x0040 | 0x2000
"""Flags: by password, strongly, and with masked headers (APPNOTE.TXT 4.4.4)."""
DOS_DIRECTORY = 0x10


class Archive:
    """An open archive. Any number of threads may read from it at once: each read names its place in the file."""

    def __init__(self, file: FileIO, members: list[Member], entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self._file = file
        self._members = members

    def read(self, entry: Entry) -> bytes:
        """The bytes of one entry, `entry.size` of them, or ImageCorrupt when that is not what the archive holds.

        Nothing is inflated past the declared size, which `open_archive` has checked, alone and in sum.
        Raises ValueError for an entry that is to be skipped, OSError when the disk fails.
        """
        if entry.skip:
            raise ValueError(f"entry {entry.index} is to be skipped: {entry.skip}")
        member = self._members[entry.index]
        packed = read_at(self._file, member.packed, self._data_offset(member))
        data = packed if member.method == STORED else _inflated(packed, member.size)
        if len(data) != member.size:
            raise _corrupt("it has more or fewer bytes than the archive says")
        if zlib.crc32(data) != member.crc:
            raise _corrupt("its checksum does not match")
        return data

    def _data_offset(self, member: Member) -> int:
        """Where the data begins, by the local header, which has to agree with the directory on what is there."""
        header = read_at(self._file, LOCAL.size + len(member.name), member.offset)
        if len(header) < LOCAL.size or not header.startswith(LOCAL_MARK):
            raise _corrupt("its header is missing")
        _, _, flags, method, _, _, _, _, _, name_length, extra_length = LOCAL.unpack_from(header)
        if (method, flags & ENCRYPTED) != (member.method, 0):
            raise _corrupt("its header and the archive's directory name different methods")
        if name_length != len(member.name) or header[LOCAL.size :] != member.name:
            raise _corrupt("its header and the archive's directory name different files")
        start: int = member.offset + LOCAL.size + name_length + extra_length
        if start + member.packed > member.end:
            raise _corrupt("it reaches into the next entry")
        return start


@contextmanager
def open_archive(path: Path, limits: ArchiveLimits) -> Iterator[Archive]:
    """The archive, with its whole directory checked and no member read yet; closed at the end.

    Raises ArchiveInvalid (also when it holds nothing to read), ArchiveTooLarge; OSError when the disk fails.
    """
    with FileIO(path) as file:
        members = read_directory(file, limits)
        yield Archive(file, members, _entries(members, limits))


def _entries(members: list[Member], limits: ArchiveLimits) -> tuple[Entry, ...]:
    names = [read_name(member.name, member.flags, member.unicode_path) for member in members]
    skips = [_skip(member, name, limits) for member, name in zip(members, names, strict=True)]
    if all(skips):
        raise _nothing_to_read(skips)
    sizes = (member.size for member in members)
    return make_entries([Found(*it) for it in zip(names, sizes, skips, strict=True)])


def _skip(member: Member, name: Name, limits: ArchiveLimits) -> Skip | None:
    kind = stat.S_IFMT(member.attributes >> 16)
    if member.name.endswith(b"/") or kind == stat.S_IFDIR or (member.attributes & DOS_DIRECTORY and not member.size):
        return "directory"
    if kind == stat.S_IFLNK:
        return "symlink"
    if kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK):  # a FIFO is how `zip` marks what came by a pipe
        return "device"
    if by_name := skip_by_name(name.shown):
        return by_name
    if member.flags & ENCRYPTED:
        return "encrypted"
    if member.method not in (STORED, DEFLATED):
        return "method"
    return "too_large" if max(member.size, member.packed) > limits.max_member_bytes else None


def _nothing_to_read(skips: list[Skip | None]) -> ArchiveInvalid:
    if not skips:
        return invalid("it is empty")
    counts = ", ".join(f"{count:,} {skip}" for skip, count in Counter(skips).most_common())
    return ArchiveInvalid(
        f"The archive holds no picture that can be read; skipped: {counts}. "
        "Pack pictures, without a password and not as archives within the archive."
    )


def _inflated(packed: bytes, size: int) -> bytes:
    """At most one byte more than `size`."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    except zlib.error as error:
        raise _corrupt("its compressed data is damaged") from error


def _corrupt(why: str) -> ImageCorrupt:
    return ImageCorrupt(f"The picture cannot be read from the archive: {why}. Pack it anew from its original.")
