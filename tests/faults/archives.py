"""Zip archives to hurt a reader with: every structure written by hand, so that each of its numbers can lie."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate
from typing import TypeVar

from tests.faults.damage import samples

T = TypeVar("T")

MIB = 1024 * 1024
MAX_MEMBER_BYTES = 20 * MIB
ENCRYPTED, DESCRIPTOR, STRONG, UTF8, MASKED = 0x1, 0x8, 0x40, 0x800, 0x2000
STORED, DEFLATED, DEFLATE64, BZIP2, LZMA, AES = 0, 8, 9, 12, 14, 99
REGULAR, SYMLINK, FOLDER = 0o100644 << 16, 0o120777 << 16, 0o040755 << 16
DEVICES = {"character": 0o020600 << 16, "block": 0o060600 << 16, "socket": 0o140600 << 16}
WIDE = 0xFFFF_FFFF


def picture() -> bytes:
    return samples()["png"]


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@dataclass(frozen=True)
class Part:
    """One member. `packed` is how its data stands in the file; what begins with `says` is the directory's word for it,
    what begins with `local` that of the local header."""

    name: bytes = b"a.png"
    data: bytes = field(default_factory=picture)
    method: int = STORED
    flags: int = 0
    attributes: int = REGULAR
    extra: bytes = b""
    packed: bytes | None = None
    disk: int = 0
    says_packed: int | None = None
    says_size: int | None = None
    says_crc: int | None = None
    says_offset: int | None = None
    local_mark: bytes = b"PK\3\4"
    local_name: bytes | None = None
    local_method: int | None = None
    local_flags: int | None = None
    local_extra: bytes = b""

    @property
    def body(self) -> bytes:
        packed = deflated(self.data) if self.method == DEFLATED and self.packed is None else self.data
        return either(self.packed, packed)

    def local(self) -> bytes:
        """Local header, data, and the data descriptor if there is one."""
        name, body = either(self.local_name, self.name), self.body
        flags, method = either(self.local_flags, self.flags), either(self.local_method, self.method)
        numbers = (zlib.crc32(self.data), len(body), len(self.data))
        shown = (0, 0, 0) if flags & DESCRIPTOR else numbers
        lengths = (len(name), len(self.local_extra))
        head = struct.pack("<4s5H3L2H", self.local_mark, 20, flags, method, 0, 33, *shown, *lengths)
        descriptor = struct.pack("<4s3L", b"PK\7\x08", *numbers) if flags & DESCRIPTOR else b""
        return head + name + self.local_extra + body + descriptor

    def record(self, offset: int) -> bytes:
        """Its record in the central directory."""
        crc = either(self.says_crc, zlib.crc32(self.data))
        packed, size = either(self.says_packed, len(self.body)), either(self.says_size, len(self.data))
        place = (self.disk, 0, self.attributes, either(self.says_offset, offset))
        head = struct.pack("<4s6H3L", b"PK\1\2", 0x314, 20, self.flags, self.method, 0, 33, crc, packed, size)
        return head + struct.pack("<5H2L", len(self.name), len(self.extra), 0, *place) + self.name + self.extra


def either(value: T | None, otherwise: T) -> T:
    return otherwise if value is None else value


def pack(*parts: Part, **lies: int) -> bytes:
    """An archive of the parts. `lies` of the end record: disk, its_disk, here, entries, size, offset, comment."""
    return archive([part.local() for part in parts], parts, **lies)


def archive(bodies: list[bytes], parts: Sequence[Part], **lies: int) -> bytes:
    """The bodies one after the other, the n-th part told to begin at the n-th, and the directory of the parts."""
    offsets = accumulate(map(len, bodies), initial=0)
    directory = b"".join(part.record(offset) for part, offset in zip(parts, offsets, strict=False))
    count, offset = len(parts), sum(map(len, bodies))
    return b"".join(bodies) + directory + end(count, len(directory), offset, **lies)


def end(count: int, size: int, offset: int, /, **lies: int) -> bytes:
    numbers = {"disk": 0, "its_disk": 0, "here": count, "entries": count, "size": size, "offset": offset, "comment": 0}
    return struct.pack("<4s4H2LH", b"PK\5\6", *(numbers | lies).values())


def pack64(*parts: Part, narrow: dict[str, int] | None = None, disks: int = 1, **lies: int) -> bytes:
    """As `pack`, with a zip64 end record, in which the `lies` are; `narrow` lies in the ordinary one."""
    plain, count = pack(*parts, here=0, entries=0), len(parts)
    size, offset = struct.unpack("<2L", plain[-10:-2])
    numbers = {"disk": 0, "its_disk": 0, "here": count, "entries": count, "size": size, "offset": offset}
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, *(numbers | lies).values())
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(plain) - 22, disks)
    return plain[:-22] + wide + locator + end(0xFFFF, WIDE, WIDE, **(narrow or {}))


def zip64_field(*values: int) -> bytes:
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)


def unicode_path(raw: bytes, name: bytes) -> bytes:
    """The extra field 0x7075 that says how the name `raw` is written in UTF-8."""
    return struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(raw)) + name


@cache
def zeros(size: int = 15 * MIB) -> Part:
    """A thousandfold member: zeros under a picture's name."""
    data = bytes(size)
    return Part(method=DEFLATED, data=b"", packed=deflated(data), says_size=size, says_crc=zlib.crc32(data))


def full_overlap(count: int = 1_000) -> bytes:
    """One body, and many records that point to it."""
    bomb = zeros()
    return archive(
        [bomb.local(), *[b""] * (count - 1)], [replace(bomb, name=b"%05d" % n, says_offset=0) for n in range(count)]
    )


def quoted_overlap(count: int = 50) -> bytes:
    """Each member's data quotes the next one's header and goes on into its data: a Fifield bomb, whose sums are right.

    David Fifield, A better zip bomb, USENIX WOOT 2019.
    """
    parts = [replace(zeros(MIB), name=b"%05d" % count, data=bytes(MIB), says_size=None, says_crc=None)]
    for n in reversed(range(count)):
        following = parts[-1]
        header = following.local()[: -len(following.body)]
        block = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF) + header
        parts.append(Part(b"%05d" % n, header + following.data, DEFLATED, packed=block + following.body))
    parts.reverse()
    heads = [part.local()[: -len(part.body)] + part.body[:5] for part in parts[:-1]]
    return archive([*heads, parts[-1].local()], parts)


def nested(levels: int) -> bytes:
    """42.zip in small: sixteen archives, each of sixteen archives, and at the ground zeros."""
    inner = pack(zeros()) if levels == 1 else nested(levels - 1)
    return pack(*(Part(b"lib %x.zip" % n, inner, DEFLATED) for n in range(16)))


def droste() -> bytes:
    """An archive that seems to hold itself, and itself again: what recursion would never come to the end of."""
    inner = pack(Part(b"r/r.zip", b"PK\3\4 and so on"))
    return pack(Part(b"r/r.zip", inner))


@cache
def refused() -> dict[str, tuple[str, bytes]]:
    """Archives of which not one member may be read, with the code of the error and the cause its words name."""
    good, bomb = Part(), zeros()
    last = Part(b"b.png")
    plain, longer = pack(good, last), last.record(len(good.local()))
    claims = replace(bomb, says_size=MAX_MEMBER_BYTES)
    return {
        "ratio": ("unpacks to", pack(*(replace(bomb, name=b"%d" % n) for n in range(20)))),
        "ratio in what is skipped": ("unpacks to", pack(good, *[replace(bomb, name=b"a.txt")] * 20)),
        "declared total": ("unpacks to", pack(*[replace(claims, packed=b"")] * 600)),
        "zip64 total": ("unpacks to", pack(good, Part(says_size=WIDE, extra=zip64_field(2**64 - 1)))),
        "full overlap": ("reaches into the next", full_overlap()),
        "quoted overlap": ("reaches into the next", quoted_overlap()),
        "overlap by one byte": ("reaches into the next", pack(Part(says_packed=len(good.data) + 1), good)),
        "packed size beyond the file": ("past the end", pack(good, Part(says_packed=WIDE - 1))),
        "packed size beyond the file, zip64": (
            "past the end",
            pack(good, Part(says_packed=WIDE, extra=zip64_field(2**63))),
        ),
        "packed size without its zip64 field": ("past the end", pack(good, Part(says_packed=WIDE))),
        "header beyond the file": ("past the end", pack(good, Part(says_offset=WIDE - 1))),
        "header beyond the file, zip64": ("past the end", pack(Part(says_offset=WIDE, extra=zip64_field(2**64 - 1)))),
        "header in the directory": ("past the end", pack(good, Part(says_offset=len(plain) - 100))),
        "more entries than listed": ("says that it has 3 entries", pack(good, good, entries=3, here=3)),
        "fewer entries than listed": ("says that it has 1 entries", pack(good, good, entries=1, here=1)),
        "entries run over in zip64": ("says that it has 65,537", pack64(good, entries=65_537, here=65_537)),
        "too many entries": ("lists 65,535 entries in 20,", pack(good, entries=0xFFFF, here=0xFFFF, size=20 * MIB)),
        "too many entries, zip64": ("lists 100,001 entries", pack64(good, entries=100_001, here=100_001)),
        "endless entries, zip64": ("lists 18,446,744,", pack64(good, entries=2**64 - 1, here=2**64 - 1)),
        "endless directory, zip64": ("lists 1 entries in 18,446,744,", pack64(good, size=2**64 - 1)),
        "directory far away, zip64": ("does not lie where", pack64(good, offset=2**64 - 1)),
        "directory before the file": ("does not lie where", pack(good, size=len(pack(good)))),
        "directory behind itself": ("does not lie where", pack(good, offset=len(pack(good)))),
        "directory too short": ("damaged", pack(good, good, size=60)),
        "directory ends within a name": ("damaged", plain.replace(longer, longer[:28] + b"\x09\0" + longer[30:])),
        "directory of other records": ("damaged", pack(good).replace(b"PK\1\2", b"PK\1\3")),
        "directory empty": ("lists 0", pack(good, size=0)),
        "end records contradict": ("contradict", pack64(good, narrow={"entries": 7})),
        "zip64 end record missing": ("zip64 end record is missing", plain[:-22] + bytes(56) + pack64(good)[-42:]),
        "zip64 end record cut off": ("zip64 end record is missing", pack64(good)[-42:]),
        "one of several disks": ("split archive", pack(good, disk=1, its_disk=1)),
        "entries on other disks": ("split archive", pack(good, here=0)),
        "several disks, zip64": ("split archive", pack64(good, disks=2)),
        "on another disk, zip64": ("split archive", pack64(good, narrow={"disk": 0xFFFF}, disk=1)),
        "zip64 marks without room": ("it is empty", bytes(18) + b"PK\6\7PK\6\6".ljust(20) + end(0, 0, 38)),
        "member on another disk": ("damaged", pack(good, Part(disk=1))),
        "comment beyond the end": ("end record is missing", pack(good, comment=1)),
        "something on both sides": ("does not lie where", b"before" + plain + b"after"),
        "rest of an outer archive": ("does not lie where", pack(Part(b"in.zip", plain))[: len(plain) + 40]),
        "no zip": ("it is no zip", picture()),
        "no bytes": ("it is no zip", b""),
        "no entries": ("it is empty", pack()),
        "no picture": ("skipped: 2 not_a_picture", pack(Part(b"a.txt"), Part(b"b.csv"))),
        "42.zip": ("skipped: 16 nested_archive", nested(2)),
        "droste": ("skipped: 1 nested_archive", droste()),
    }


@cache
def skipped() -> dict[str, tuple[str, Part]]:
    """Members that are not read, with the reason."""
    devices = {kind: ("device", Part(attributes=mode)) for kind, mode in DEVICES.items()}
    return devices | {
        "symlink": ("symlink", Part(data=b"/etc/passwd", attributes=SYMLINK)),
        "password": ("encrypted", Part(flags=ENCRYPTED)),
        "strong encryption": ("encrypted", Part(flags=STRONG)),
        "masked headers": ("encrypted", Part(flags=MASKED)),
        "AES": ("encrypted", Part(flags=ENCRYPTED, method=AES)),
        "bzip2": ("method", Part(method=BZIP2)),
        "lzma": ("method", Part(method=LZMA)),
        "deflate64": ("method", Part(method=DEFLATE64)),
        "no such method": ("method", Part(method=0xFFFF)),
        "directory": ("directory", Part(b"cats/", b"")),
        "directory by mode": ("directory", Part(b"cats", b"", attributes=FOLDER)),
        "directory of DOS": ("directory", Part(b"cats", b"", attributes=0x10)),
        "zip": ("nested_archive", Part(b"more/inner.ZIP")),
        "tar": ("nested_archive", Part(b"inner.tar.gz")),
        "resource fork": ("system_file", Part(b"__MACOSX/cats/a.png")),
        "AppleDouble": ("system_file", Part(b"cats/._a.png")),
        "Finder": ("system_file", Part(b"cats/.DS_Store")),
        "thumbnails": ("system_file", Part(b"cats/Thumbs.db")),
        "Explorer": ("system_file", Part(b"Desktop.ini")),
        "text": ("not_a_picture", Part(b"README.md")),
        "too many bytes": ("too_large", Part(says_size=MAX_MEMBER_BYTES + 1)),
        "too many packed bytes": ("too_large", Part(method=DEFLATED, packed=bytes(MAX_MEMBER_BYTES + 1))),
    }


@cache
def corrupt() -> dict[str, tuple[str, Part]]:
    """Members that claim to be readable and are not, with the cause that the error names."""
    packed, lie = Part(method=DEFLATED), Part(says_size=10)
    return {
        "more than it says": ("more or fewer bytes", replace(zeros(), says_size=10)),
        "nothing, it says": ("more or fewer bytes", replace(zeros(), says_size=0)),
        "less than it says": ("more or fewer bytes", replace(packed, says_size=MAX_MEMBER_BYTES)),
        "stored, shorter than it stands": ("more or fewer bytes", lie),
        "stored, longer than it stands": ("more or fewer bytes", Part(says_size=len(picture()) + 1)),
        "deflate stream cut": ("more or fewer bytes", replace(packed, says_packed=100)),
        "deflate stream damaged": ("compressed data", replace(packed, packed=b"\xff" * 100)),
        "wrong sum": ("checksum", Part(says_crc=1)),
        "no header": ("header is missing", Part(local_mark=b"PK\1\2")),
        "other name": ("different files", Part(local_name=b"b.png")),
        "longer name": ("different files", Part(local_name=b"a.png.exe")),
        "other method": ("different methods", Part(local_method=DEFLATED)),
        "secretly encrypted": ("different methods", Part(local_flags=ENCRYPTED)),
        "header reaches out": ("reaches into the next", Part(local_extra=bytes(9), says_packed=len(picture()) + 8)),
    }


UNSAFE_NAMES: dict[bytes, str] = {
    b"../../../../tmp/slip.png": "tmp/slip.png",
    b"cats/../../slip.png": "cats/slip.png",
    b"/etc/cron.d/slip.png": "etc/cron.d/slip.png",
    b"C:\\Windows\\slip.png": "Windows/slip.png",
    b"c:slip.png": "slip.png",
    b"..\\..\\slip.png": "slip.png",
    b"\\\\server\\share\\slip.png": "server/share/slip.png",
    b"slip.txt\0.png": "slip.txt\ufffd.png",
    b"a\r\nSet-Cookie: b.png": "a\ufffd\ufffdSet-Cookie: b.png",
    b"\x1b[2Ja.png": "\ufffd[2Ja.png",
    "\u202egnp.a".encode(): "\ufffdgnp.a",
    b"./a.png": "a.png",
    b"a//b.png": "a/b.png",
    b"..": "unnamed",
    b"": "unnamed",
    b"x" * 65_535: "…" + "x" * 1_023,
}
