"""Pictures to hurt a decoder with: good samples of every kind, seeded damage to them, and hand-made bombs."""

import random
import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 36)


def scene(size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth RGB picture without symmetry, so that every turn of it is another picture."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    channels = np.stack([255 * x, 255 * y * (1 - x / 2), 255 * (1 - x) * (1 - y)], axis=-1)
    return Image.fromarray(np.rint(channels).astype(np.uint8))


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@cache
def samples() -> dict[str, bytes]:
    """One small good picture for each way of storing one."""
    rgb = scene()
    palette, grey, alpha = rgb.quantize(16), rgb.convert("L"), rgb.convert("RGBA")
    alpha.putalpha(grey)
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    more: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(180)]}
    return {
        "jpeg": encode(rgb, "JPEG", exif=exif, comment=b"hello"),
        "jpeg-progressive": encode(rgb, "JPEG", progressive=True, restart_marker_rows=1),
        "jpeg-grey": encode(grey, "JPEG"),
        "jpeg-cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "mpo": encode(rgb, "MPO", **more),
        "png": encode(rgb, "PNG", exif=exif, icc_profile=b"profile" * 20),
        "png-alpha": encode(alpha, "PNG"),
        "png-palette": encode(palette, "PNG", transparency=bytes([0, 128, 255])),
        "png-16": encode(wide, "PNG"),
        "png-1": encode(rgb.convert("1"), "PNG"),
        "apng": encode(rgb, "PNG", **more),
        "gif": encode(palette, "GIF", transparency=3, comment=b"hello"),
        "gif-animated": encode(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
        "webp": encode(rgb, "WEBP", exif=exif),
        "webp-lossless": encode(alpha, "WEBP", lossless=True),
        "webp-animated": encode(rgb, "WEBP", **more),
        "bmp": encode(rgb, "BMP"),
        "bmp-palette": encode(palette, "BMP"),
        "bmp-rle": rle_bmp(16, 4, b"\x10\x01\x00\x00" * 3 + b"\x00\x02\x01\x00\x0f\x00\x00\x01"),
        "tiff": encode(rgb, "TIFF"),
        "tiff-lzw": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-deflate-tiled": encode(rgb, "TIFF", compression="tiff_deflate", tiffinfo={322: 16, 323: 16}),
        "tiff-jpeg": encode(rgb, "TIFF", compression="jpeg"),
        "tiff-group4": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "tiff-16": encode(wide, "TIFF"),
        "tiff-float": encode(grey.convert("F"), "TIFF"),
        "tiff-cmyk": encode(rgb.convert("CMYK"), "TIFF"),
        "tiff-lab": encode(Image.merge("LAB", (grey, grey, grey)), "TIFF"),
        "tiff-big": encode(rgb, "TIFF", big_tiff=True),
    }


def damaged(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files, the same for the same seed: cut, flipped, overwritten, shuffled, lengthened."""
    chance = random.Random(seed)
    originals = list(samples().items())
    for number in range(count):
        name, good = originals[number % len(originals)]
        data = bytearray(good)
        # Half of the hits land in the header: that is where the lies are told.
        reach = len(data) if chance.random() < 0.5 else min(len(data), 128)
        at = chance.randrange(reach)
        kind = chance.choice(("cut", "flip", "bits", "huge", "zero", "drop", "repeat", "graft"))
        if kind == "cut":
            del data[at:]
        elif kind == "flip":
            for _ in range(chance.randint(1, 16)):
                data[chance.randrange(reach)] = chance.randrange(256)
        elif kind == "bits":
            data[at] ^= 1 << chance.randrange(8)
        elif kind in ("huge", "zero"):
            width = chance.choice((1, 2, 4, 8))
            data[at : at + width] = (b"\xff" if kind == "huge" else b"\0") * width
        elif kind == "drop":
            del data[at : at + chance.randint(1, 64)]
        elif kind == "repeat":
            data[at:at] = data[at : at + 64] * chance.randint(1, 20)
        else:
            other = chance.choice(originals)[1]
            data[at:] = other[chance.randrange(len(other)) :]
        yield f"{name}-{number}-{kind}@{at}", bytes(data)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, more: bytes = b"", rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(tags: Mapping[int, int | tuple[int, int]], tail: bytes = b"") -> bytes:
    """Little-endian, one directory; a value is a LONG, or (count, offset) of many; `tail` follows the directory."""
    pairs = [(tag, *(value if isinstance(value, tuple) else (1, value))) for tag, value in sorted(tags.items())]
    entries = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in pairs)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + tail


def tiled(width: int, across: int, down: int, type: int = 4) -> bytes:
    """A TIFF of one line, in tiles that are all the same few bytes; `type` is that of the numbers of their size."""
    tile, count = zlib.compress(bytes(across * down), 9), -(-width // across)
    places = 8 + 2 + 12 * 10 + 4
    tags: dict[int, int | tuple[int, int]] = {256: width, 257: 1, 258: 8, 259: 8, 262: 1, 277: 1}
    tags |= {322: across, 323: down, 324: places, 325: len(tile)}
    if count > 1:
        tags |= {324: (count, places), 325: (count, places + 4 * count)}
    tail = struct.pack(f"<{2 * count}I", *[places + 8 * count] * count, *[len(tile)] * count) if count > 1 else b""
    data = tiff(tags, tail + tile)
    for tag in (322, 323):
        data = data.replace(struct.pack("<HHI", tag, 4, 1), struct.pack("<HHI", tag, type, 1))
    return data


def rle_bmp(width: int, height: int, runs: bytes) -> bytes:
    info = struct.pack("<IIiHHIIIIII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + info + bytes(range(256)) * 4 + runs


def segments(jpeg: bytes) -> tuple[bytes, bytes]:
    """A JPEG cut in two before its first frame header."""
    at = min(found for marker in (b"\xff\xc0", b"\xff\xc2") if (found := jpeg.find(marker)) > 0)
    return jpeg[:at], jpeg[at:]


def jpeg_of_size(jpeg: bytes, width: int, height: int) -> bytes:
    """The same JPEG, which says that it has this size."""
    head, tail = segments(jpeg)
    return head + tail[:5] + struct.pack(">HH", height, width) + tail[9:]


def jpeg_scans(jpeg: bytes, more: int, between: bytes = b"") -> bytes:
    """A JPEG with `more` scans of its first component in front of its own: a dozen bytes each, data there is none."""
    at = jpeg.index(b"\xff\xda")
    last = 0 if b"\xff\xc2" in jpeg else 63
    scan = b"\xff\xda\0\x08\x01\x01\0\0" + bytes([last]) + b"\0\0\0"
    return jpeg[:at] + scan + between + scan * (more - 1) + jpeg[at:]


def tiff_of_jpeg(jpeg: bytes) -> bytes:
    """A TIFF of one strip, which is this grey JPEG."""
    width, height = SIZE
    tags = {256: width, 257: height, 258: 8, 259: 7, 262: 1, 273: 122, 277: 1, 278: height, 279: len(jpeg)}
    return tiff(tags, jpeg)


@cache
def pixel_bombs() -> dict[str, bytes]:
    """Small files that claim more pixels than anybody has memory for, in all or in one line."""
    rows = b"\0" * 100_000
    gif = samples()["gif"]
    frame = gif.index(b",\0\0\0\0")
    strips = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    vp8x = b"VP8X" + struct.pack("<II", 10, 0) + b"\xff\xff\xff" * 2
    return {
        "png": png(300_000, 300_000, rows=rows),
        "png header alone": png(300_000, 300_000)[:40],
        "apng": png(300_000, 300_000, more=chunk(b"acTL", struct.pack(">II", 2, 0))),
        "jpeg": jpeg_of_size(samples()["jpeg"], 65_535, 65_535),
        "gif screen": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "gif frame": gif[: frame + 5] + b"\xff\xff\xff\xff" + gif[frame + 9 :],
        "webp canvas": b"RIFF" + struct.pack("<I", len(vp8x) + 4) + b"WEBP" + vp8x,
        "webp lossless": b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f\xff\xff\xff\x0f" + b"\0" * 19,
        "webp lossy": b"RIFF\x20\0\0\0WEBPVP8 \x14\0\0\0\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + b"\0" * 10,
        "bmp": b"BM" + b"\0" * 12 + struct.pack("<IiiHHI", 40, 60_000, -60_000, 1, 24, 0) + b"\0" * 20,
        "tiff": tiff(strips | {256: 300_000, 257: 300_000}),
        "column": png(1, 65_536),
    }


@cache
def work_bombs() -> dict[str, bytes]:
    """Small or middling files with few pixels that cost a careless decoder seconds, or gigabytes."""
    deflated = zlib.compress(b"A" * 100_000_000, 9)
    head, tail = segments(samples()["jpeg"])
    strips: dict[int, int | tuple[int, int]] = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 278: 1, 279: 1}
    strips[273] = (2_000_000, 150)
    return {
        "png text": png(1, 1, more=chunk(b"zTXt", b"k\0\0" + deflated), rows=b"\0\0"),
        "png profile": png(1, 1, more=chunk(b"iCCP", b"k\0\0" + deflated), rows=b"\0\0"),
        "png international text": png(1, 1, more=chunk(b"iTXt", b"k\0\1\0en\0k\0" + deflated), rows=b"\0\0"),
        "png many texts": png(1, 1, more=chunk(b"zTXt", b"k\0\0" + zlib.compress(b"A" * 900_000)) * 999, rows=b"\0\0"),
        "png chunks": png(1, 1, more=chunk(b"tEXt", b"k\0") * 300_000, rows=b"\0\0"),
        "jpeg segments": head + b"\xff\xfe\0\2" * 1_000_000 + tail,
        "jpeg scans": jpeg_scans(samples()["jpeg-progressive"], 1_000),
        "jpeg scans, sequential": jpeg_scans(samples()["jpeg"], 1_000),
        "jpeg scans, few but large": jpeg_of_size(jpeg_scans(samples()["jpeg"], 20), 7_000, 7_000),
        "jpeg scans behind an end in a comment": jpeg_scans(samples()["jpeg"], 1_000, b"\xff\xfe\0\x04\xff\xd9"),
        "jpeg scans behind restarts and filling": jpeg_scans(samples()["jpeg"], 1_000, b"\xff\xd0\xff\0\xff\xff"),
        "tiff strips": tiff(strips, b"\0" * 8_000_000),
        "tiff tile": tiled(1, 1_040, 65_520),
        "tiff tiles": tiled(65_520, 16, 65_520),
        "gif comments": b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1A" * 5_000_000 + b"\0;",
    }
