"""What a picture says about itself, read from its bytes without decoding: type, size, orientation.

The type is judged by content, never by name. The readers also drop what makes no pixels (comments, text, colour
profiles, EXIF, later frames, appended archives), so that the decoder never meets it: it is where the bombs are.
Every loop is bounded, by MAX_PARTS or by the length of the data.
"""

import re
import struct
import zlib
from collections.abc import Callable
from math import ceil
from struct import unpack_from
from typing import NamedTuple

from service.errors import ImageCorrupt, ImageTooManyPixels, ImageTypeUnsupported

MAX_SIDE = 65_535
"""As of JPEG. Each row costs Pillow calls and a pointer: a column of 50 million took 3 s and 1 GB, a square a third."""
MAX_PARTS = 65_536
"""JPEG segments, PNG chunks, TIFF tags. Real files have a few dozen; a PNG cut in 8 kB chunks has 2,560 in 20 MiB."""
MAX_SCANS, MIN_SCANS, MAX_SCANNED_PIXELS = 100, 20, 1_000_000_000
"""Scans of a JPEG: 100 up to 10 megapixels, 20 from 50 on. Encoders write 1 to 4, or about ten when progressive.
A scan costs up to 0.7 ms per megapixel (refinement of a progressive one), though it may have a dozen bytes."""
MAX_INFLATED_BYTES = 4 * 1024 * 1024
"""Compressed text and colour profile of a PNG together; Pillow's own bound is 1 MiB for each."""
MAX_GIF_HEAD_BYTES = 4 * 1024 * 1024
"""Comments and the like before a GIF's first frame."""
MAX_TIFF_VALUES = 262_144
"""Numbers in one TIFF tag: 50 megapixels in tiles of 16 by 16 have 195,313 of them."""
MAX_EDGE_PIXELS = 16_000_000
"""By which the tiles of a TIFF may exceed the limit: they stick out. A line in tiles 65,520 high: 9 s, in 34 kB."""
MAX_RLE_BYTES = 1024 * 1024
"""Pillow unpacks run-length coded BMP in Python (0.5 s per MiB), and allocates up to 255 rows for four bytes."""

# Not the markers without a length (restarts among them), which lead nowhere within a scan or outside, nor fill bytes.
JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
JPEG_MARKER_OR_FILLING = re.compile(rb"\xff[\x02-\xcf\xd9-\xff]")
JPEG_FILLING = re.compile(rb"\xff{2,}")
JPEG_SCAN, JPEG_END = 0xDA, b"\xff\xd9"
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_CODINGS = {0xC0, 0xC1, 0xC2}
"""Huffman only: arithmetic coding makes hours of work from a few bytes."""
JPEG_KEPT = JPEG_FRAMES | {0xC4, 0xDB, 0xDD}
TIFF_JPEG_BOMB = re.compile(rb"\xff[\xc2\xc9\xca]\0[\x0b-\x26][\x08\x0c].{4}[\x01-\x0a]", re.DOTALL)
"""Head of a progressive or arithmetic frame, of which the TIFF decoder takes a hundred scans at any size. Sought in
the whole file, for tags may lie; 20 MiB of uncompressed noise would hold one by chance in a file of ten thousand."""
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}


class Header(NamedTuple):
    """Width and height as stored, before rotation. `data` is what the decoder needs and nothing else."""

    format: str
    width: int
    height: int
    data: bytes
    orientation: int = 1
    bits: int = 8
    white_is_zero: bool = False


def read_header(data: bytes, max_pixels: int) -> Header:
    """The header of a JPEG, PNG, GIF, WebP, BMP or TIFF picture.

    Raises ImageTypeUnsupported, ImageTooManyPixels, or ImageCorrupt when the header breaks off or contradicts itself.
    """
    format, reader = _reader(data)
    try:
        return reader(data, max_pixels)
    except (struct.error, LookupError, ValueError, OverflowError) as error:
        raise corrupt(format, "its header breaks off or contradicts itself") from error


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageTooManyPixels when width times height is over the limit, or a side over MAX_SIDE."""
    size = f"The picture has {width} × {height} pixels"  # noqa: RUF001
    if width * height > max_pixels:
        way_out = "Resize it, or raise GLIMT_MAX_IMAGE_PIXELS."
        raise ImageTooManyPixels(f"{size}; the limit is {max_pixels:,} in all. {way_out}")
    if max(width, height) > MAX_SIDE:
        raise ImageTooManyPixels(f"{size}; a side may have {MAX_SIDE:,} at most. Resize it, or cut it into parts.")


def corrupt(format: str, why: str) -> ImageCorrupt:
    return ImageCorrupt(f"The {format} picture cannot be decoded: {why}. Save it anew from its original.")


def orientation(exif: bytes) -> int:
    """EXIF orientation 1 to 8; 1 when absent or unreadable, for nobody's picture is refused for its metadata."""
    try:
        _, _, value = _tags(exif.removeprefix(b"Exif\0\0"))[0x0112]
    except (struct.error, LookupError, OverflowError):
        return 1
    return value if 1 <= value <= 8 else 1


def _reader(data: bytes) -> tuple[str, Callable[[bytes, int], Header]]:
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG", _jpeg
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG", _png
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF", _gif
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP", _webp
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF", _tiff
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in BMP_HEADERS:
        return "BMP", _bmp
    if data.startswith(b"PK\3\4"):
        raise ImageTypeUnsupported("This is a zip archive, not a picture. A zip of pictures is a job for bulk.")
    raise ImageTypeUnsupported(
        "This is not a JPEG, PNG, GIF, WebP, BMP or TIFF picture (judged by its content, not its name). "
        "Convert it to one of these."
    )


def _jpeg(data: bytes, max_pixels: int) -> Header:
    """Keeps tables, frame header, JFIF and Adobe markers, and the scans, up to the end of the first picture."""
    kept, exif, position, width, height, scans = [data[:2]], b"", 2, 0, 0, 0
    for _ in range(MAX_PARTS):
        found = JPEG_MARKER.search(data, position)
        if found is None or found[0] == JPEG_END:
            break
        start, marker, position = found.start(), data[found.end() - 1], found.end()
        (length,) = unpack_from(">H", data, position)
        body, position = data[position + 2 : position + length], position + length
        if marker in JPEG_KEPT or marker == JPEG_SCAN or body.startswith((b"JFIF\0", b"Adobe")):
            # Every scan begins so, wherever the decoder may look for it; within coded data it would end that.
            scans += data.count(b"\xff\xda", start, position + (marker == JPEG_SCAN))
            coded, position = _coded(data, position) if marker == JPEG_SCAN else (b"", position)
            kept += (data[start : start + 2 + length], coded)
        if marker in JPEG_FRAMES:
            height, width = unpack_from(">xHH", body)
            check_pixels(width, height, max_pixels)
            _check_coding("JPEG", marker in JPEG_CODINGS)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif = exif or body
    else:
        raise corrupt("JPEG", f"it has more than {MAX_PARTS:,} segments")
    _check_scans(scans, width * height)
    end = found[0] if found else b""  # without one the decoder says that the picture is truncated
    return Header("JPEG", width, height, b"".join([*kept, end]), orientation(exif))


def _coded(data: bytes, start: int) -> tuple[bytes, int]:
    """The coded pixels of the scan whose header ends at `start`, and where they end: one search in most files."""
    found = JPEG_MARKER_OR_FILLING.search(data, start)
    if found is None or found[0] != b"\xff\xff":
        end = found.start() if found else len(data)
        return data[start:end], end
    following = JPEG_MARKER.search(data, found.start())
    end = following.start() if following else len(data)
    # The decoder begins a run of fill bytes anew with each 64 kB: seconds for 20 MiB.
    return JPEG_FILLING.sub(b"\xff", data[start:end]), end


def _check_scans(scans: int, pixels: int) -> None:
    """Raise ImageCorrupt when there is no scan, or more than a picture of so many pixels may have."""
    most = max(MIN_SCANS, min(MAX_SCANS, MAX_SCANNED_PIXELS // max(pixels, 1)))
    if not scans:
        raise corrupt("JPEG", "it breaks off before its pixels")
    if scans > most:
        raise corrupt("JPEG", f"it has {scans:,} scans; the limit at its size is {most}")


def _check_coding(format: str, known: bool) -> None:
    if not known:
        raise ImageTypeUnsupported(
            f"This {format} is coded in a way that hardly any program writes (arithmetic or lossless JPEG, or "
            "progressive JPEG within TIFF). Save it as ordinary JPEG or as PNG."
        )


def _png(data: bytes, max_pixels: int) -> Header:
    """Keeps the chunks that make pixels: an animation becomes its default picture, which is its first frame."""
    kept, exif, position, width, height, bits, room = [data[:8]], b"", 8, 0, 0, 8, MAX_INFLATED_BYTES
    for _ in range(MAX_PARTS):
        length, kind = unpack_from(">I4s", data, position)
        start, position = position, position + 12 + length
        if kind == b"IHDR":
            width, height, bits = unpack_from(">IIB", data, start + 8)
            check_pixels(width, height, max_pixels)
        elif kind == b"eXIf":
            exif = data[start + 8 : position - 4]
        elif kind in (b"iCCP", b"zTXt", b"iTXt"):
            room -= _inflated_bytes(kind, data[start + 8 : position - 4], room)
        if kind in PNG_PIXELS:
            kept.append(data[start:position])
        if kind == b"IEND":
            return Header("PNG", width, height, b"".join(kept), orientation(exif), bits)
    raise corrupt("PNG", f"it has more than {MAX_PARTS:,} chunks")


def _inflated_bytes(kind: bytes, body: bytes, room: int) -> int:
    """Size of a compressed text or colour profile, unpacked at most to `room`; raises ImageCorrupt beyond it."""
    start = body.find(b"\0") + 2
    if kind == b"iTXt":
        if body[start - 1 : start] != b"\1":
            return 0
        start = body.find(b"\0", body.find(b"\0", start + 1) + 1) + 1
    try:
        size = len(zlib.decompressobj().decompress(body[start:], room + 1))
    except zlib.error:
        return 0
    if size > room:
        raise corrupt("PNG", f"its text unpacks to more than {MAX_INFLATED_BYTES:,} bytes")
    return size


def _gif(data: bytes, max_pixels: int) -> Header:
    """Keeps screen, palette, the transparency of the first frame, and everything from that frame on."""
    width, height, flags = unpack_from("<HHB", data, 6)
    check_pixels(width, height, max_pixels)
    position = 13 + ((2 << (flags & 7)) * 3 if flags & 128 else 0)
    screen, control, head = data[:position], b"", data[:MAX_GIF_HEAD_BYTES]
    while head[position] != 0x2C:
        if head[position] == 0x3B:
            raise corrupt("GIF", "it holds no picture")
        if head[position] != 0x21:
            position += 1
            continue
        if head[position + 1 : position + 3] == b"\xf9\x04":
            control = b"!\xf9\x04" + bytes([head[position + 3] & 1, 0, 0, head[position + 6], 0])
        position += 2
        while head[position]:
            position += head[position] + 1
        position += 1
    left, top, frame_width, frame_height = unpack_from("<4H", head, position + 1)
    width, height = max(width, left + frame_width), max(height, top + frame_height)
    check_pixels(width, height, max_pixels)
    return Header("GIF", width, height, screen + control + data[position:])


def _webp(data: bytes, max_pixels: int) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L" and data[20] == 0x2F:
        (packed,) = unpack_from("<I", data, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in unpack_from("<HH", data, 26))
    else:
        raise corrupt("WEBP", "its header is not one of WebP")
    check_pixels(width, height, max_pixels)
    return Header("WEBP", width, height, data)


def _bmp(data: bytes, max_pixels: int) -> Header:
    (size,) = unpack_from("<I", data, 14)
    width, height = unpack_from("<HH" if size == 12 else "<Ii", data, 18)
    check_pixels(width, abs(height), max_pixels)
    run_length_coded = size != 12 and unpack_from("<I", data, 30)[0] in (1, 2)
    if run_length_coded and len(data) > MAX_RLE_BYTES:
        raise ImageTypeUnsupported(f"Run-length coded BMP is taken up to {MAX_RLE_BYTES:,} bytes. Save it as PNG.")
    return Header("BMP", width, abs(height), data)


def _tiff(data: bytes, max_pixels: int) -> Header:
    """Orientation stays 1: Pillow turns TIFF itself."""
    tags = _tags(data)
    width, height = _side(tags, 256), _side(tags, 257)
    check_pixels(width, height, max_pixels)
    if 322 in tags and 323 in tags:
        across, down = _side(tags, 322), _side(tags, 323)
        tiled = ceil(width / across) * across * ceil(height / down) * down
        if tiled > max_pixels + MAX_EDGE_PIXELS:
            raise corrupt("TIFF", f"its tiles have {tiled:,} pixels in all, and it has {width * height:,}")
    if any(count > MAX_TIFF_VALUES for kind, count, _ in tags.values() if kind not in (1, 2, 6, 7)):
        raise corrupt("TIFF", f"a tag has more than {MAX_TIFF_VALUES:,} values")
    _check_coding("TIFF", TIFF_JPEG_BOMB.search(data) is None)
    bits = 12 if 258 in tags and tags[258][2] == 12 else 16
    return Header("TIFF", width, height, data, bits=bits, white_is_zero=262 in tags and tags[262][2] == 0)


def _side(tags: dict[int, tuple[int, int, int]], tag: int) -> int:
    """A width or height, which libtiff too reads so. Raises ValueError for what is not one positive SHORT or LONG."""
    kind, count, value = tags[tag]
    if kind in (3, 4) and count == 1 and value:
        return value
    raise ValueError(tag)


def _tags(tiff: bytes) -> dict[int, tuple[int, int, int]]:
    """First directory of a TIFF or BigTIFF: tag → type, count, and the value or the offset of the values."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    big = unpack_from(order + "H", tiff, 2)[0] == 43
    (offset,) = unpack_from(order + ("Q" if big else "I"), tiff, 8 if big else 4)
    (entries,) = unpack_from(order + ("Q" if big else "H"), tiff, offset)
    first, size = (offset + 8, 20) if big else (offset + 2, 12)
    tags: dict[int, tuple[int, int, int]] = {}
    for at in range(first, first + size * min(entries, MAX_PARTS), size):
        tag, kind, count = unpack_from(order + ("HHQ" if big else "HHI"), tiff, at)
        layout = {1: "B", 3: "H", 4: "I"}.get(kind, "I") if count == 1 else "I"
        (value,) = unpack_from(order + layout, tiff, at + (12 if big else 8))
        tags.setdefault(tag, (kind, count, value))
    return tags
