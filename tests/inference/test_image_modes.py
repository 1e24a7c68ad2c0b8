"""The same picture in every format, mode, depth, transparency and orientation is the same picture."""

import itertools
import struct
from io import BytesIO
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.inference import images
from service.inference.headers import orientation
from service.inference.images import read
from service.settings import Profile
from tests.faults.damage import chunk, encode, png, tiff
from tests.inference.scene import BIG, GREY, LIMITS, RAW, RGB, array, difference, pixels

# What images.py sets for the process on import, pytest takes back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

# --- The same picture in every mode


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (encode(RGB, "PNG"), 0),
        (encode(RGB, "BMP"), 0),
        (encode(RGB, "WEBP", lossless=True), 0),
        (encode(RGB, "TIFF", compression="tiff_lzw"), 0),
        (encode(RGB, "TIFF", big_tiff=True), 0),
        (encode(RGB, "PNG", icc_profile=b"any profile is ignored"), 0),
        (encode(RGB, "JPEG", quality=95), 1),
        (encode(RGB, "JPEG", quality=95, progressive=True), 1),
        (encode(RGB, "JPEG", quality=95, keep_rgb=True), 1),
        (encode(RGB, "WEBP", quality=95), 2),
        (encode(RGB, "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", BIG)]), 1),
        (encode(RGB, "PNG", save_all=True, append_images=[Image.new("RGB", BIG)]), 0),
        (encode(RGB, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", BIG)]), 0),
        (encode(RGB, "TIFF", save_all=True, append_images=[Image.new("RGB", BIG)]), 0),
        (encode(RGB.quantize(256), "GIF", save_all=True, append_images=[Image.new("P", BIG)]), 4),
        (encode(RGB.quantize(256), "PNG"), 4),
        (encode(RGB.quantize(256), "BMP"), 4),
        (encode(RGB.convert("RGBA"), "PNG"), 0),
        (encode(RGB.convert("RGBA"), "TIFF"), 0),
        (encode(RGB.convert("CMYK"), "TIFF"), 1),
        (encode(RGB.convert("CMYK"), "JPEG", quality=95), 2),
        (encode(RGB.convert("YCbCr"), "TIFF"), 2),
        (encode(RGB.convert("LAB"), "TIFF"), 3),
    ],
)
def test_colour_modes(data: bytes, tolerance: float) -> None:
    """Stored in any format and colour mode, alone or as the first of several frames, it is the same picture."""
    assert difference(data, RGB) <= tolerance


WIDE = np.asarray(GREY).astype(np.uint16) * 257


@pytest.mark.parametrize(
    "data",
    [
        encode(GREY, "PNG"),
        encode(GREY, "JPEG", quality=100),
        encode(GREY, "GIF"),
        encode(GREY, "BMP"),
        encode(Image.fromarray(WIDE), "PNG"),
        encode(Image.fromarray(WIDE), "TIFF"),
        encode(Image.fromarray(WIDE.astype(">u2")), "TIFF"),
        encode(Image.fromarray(65_535 - WIDE), "TIFF", tiffinfo={262: 0}),
        encode(GREY.convert("I"), "TIFF"),
        encode(Image.fromarray(WIDE.astype(np.int32)), "TIFF"),
        encode(GREY.convert("F"), "TIFF"),
        encode(Image.fromarray(np.asarray(GREY).astype(np.float32) / 255), "TIFF"),
        encode(Image.fromarray(WIDE.astype(np.float32)), "TIFF"),
        encode(GREY.convert("LA"), "PNG"),
        encode(GREY.convert("PA"), "TIFF"),
    ],
    ids=itertools.count(),
)
def test_grey_modes(data: bytes) -> None:
    """Grey of 8, 16 and 32 bits and of floats is scaled to the same picture, never clipped."""
    assert difference(data, GREY) <= 0.5


def test_12_bit_grey() -> None:
    """TIFF's packed 12-bit grey uses the range of 12 bits."""
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 1, 279: 3}
    assert pixels(tiff(tags, b"\xff\xf8\x00"))[0, :, 0].tolist() == [255, 128]


def test_one_bit() -> None:
    """1-bit pictures are black and white."""
    assert np.array_equal(pixels(encode(RGB.convert("1"), "PNG")), array(RGB.convert("1")))


def test_floats_outside_every_known_range() -> None:
    """They are stretched from least to greatest; not-a-number is black, infinities are the ends."""
    values = np.array([[-1e38, 0, 1e38, np.nan, np.inf, -np.inf]], np.float32)
    assert pixels(encode(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255, 0, 255, 0]


@pytest.mark.parametrize("value", [0.0, 7.0, -7.0, 1e9, np.nan, np.inf])
def test_constant_floats(value: float) -> None:
    """A picture of one number is one grey, without a division by zero."""
    data = encode(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF")
    assert len(np.unique(pixels(data))) == 1


def test_negative_integers() -> None:
    """Signed whole numbers are stretched from least to greatest."""
    values = Image.fromarray(np.array([[-1000, 0, 1000]], np.int32))
    assert pixels(encode(values, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


# --- Four components


def without_adobe(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def test_cmyk_jpeg_without_adobe_marker() -> None:
    """Without Adobe's marker the components are not inverted: plain CMYK comes out right as well."""
    inverted = Image.fromarray(255 - np.asarray(RGB.convert("CMYK")), "CMYK")
    assert difference(without_adobe(encode(inverted, "JPEG", quality=95)), RGB) <= 2


def test_ycck_jpeg() -> None:
    """Adobe's YCCK (transform 2) is turned back to CMYK, and that to RGB."""
    cyan, magenta, yellow, black = (255 - np.asarray(band) for band in RGB.convert("CMYK").split())
    as_rgb = Image.fromarray(np.stack([255 - cyan, 255 - magenta, 255 - yellow], axis=-1))
    bands = [Image.fromarray(255 - np.asarray(band)) for band in as_rgb.convert("YCbCr").split()]
    data = encode(Image.merge("CMYK", [*bands, Image.fromarray(255 - black)]), "JPEG", quality=95, subsampling=0)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    assert difference(data[:at] + b"\2" + data[at + 1 :], RGB) <= 3


# --- Transparency, over white


def with_alpha(mode: str = "RGBA") -> Image.Image:
    """The scene darkened to black, with the alpha that brings it back over white."""
    scaled = np.asarray(GREY).astype(np.float32) / 255
    alpha = np.rint((1 - scaled) * 255).astype(np.uint8)
    layer = Image.new("L" if mode == "LA" else "RGB", BIG)
    layer.putalpha(Image.fromarray(alpha))
    return layer


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGBA", "TIFF", {}),
        ("LA", "TIFF", {}),
        ("RGBA", "PNG", {"save_all": True, "append_images": [Image.new("RGBA", BIG)]}),
    ],
)
def test_alpha_over_white(mode: str, format: str, options: dict[str, Any]) -> None:
    """Half transparent black over white is grey."""
    assert difference(encode(with_alpha(mode), format, **options), GREY) <= 1


def test_premultiplied_alpha() -> None:
    """TIFF's associated alpha is divided out before it is laid over white."""
    half = Image.new("RGBA", (4, 4), (100, 50, 0, 128))
    entry = struct.pack("<HHI", 338, 3, 1)
    data = encode(half, "TIFF").replace(entry + b"\2", entry + b"\1")
    assert pixels(data)[0, 0].tolist() == [pytest.approx(value, abs=2) for value in (227, 177, 127)]


def palette_picture() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8)).convert("P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 40, 40, 40])
    return image


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_one_transparent_entry(format: str) -> None:
    """A palette with one transparent colour: that one is white."""
    data = encode(palette_picture(), format, transparency=1)
    assert pixels(data)[0].tolist() == [[200, 0, 0], [255, 255, 255], [0, 0, 200], [40, 40, 40]]


def test_palette_with_alphas() -> None:
    """A palette with an alpha for each colour (fewer than colours: the others are opaque)."""
    data = encode(palette_picture(), "PNG", transparency=bytes([0, 128, 255]))
    assert pixels(data)[0].tolist() == [[255, 255, 255], [127, 227, 127], [0, 0, 200], [40, 40, 40]]


@pytest.mark.parametrize(
    ("bits", "row", "key", "expected"),
    [
        (1, b"\x40", 1, [0, 255]),
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x60", 2, [85, 255]),
        (4, b"\x5a", 10, [85, 255]),
        (8, b"\x55\xaa", 0xAA, [85, 255]),
        (16, b"\x55\x55\x12\x34", 0x1234, [85, 255]),
        (16, b"\x55\x55\x12\x34", 0x1235, [85, 18]),
    ],
)
def test_transparent_grey(bits: int, row: bytes, key: int, expected: list[int]) -> None:
    """A transparent grey is given in the file's own depth, whatever depth that is."""
    data = png(2, 1, bits=bits, more=chunk(b"tRNS", struct.pack(">H", key)), rows=b"\0" + row)
    assert pixels(data)[0, :, 0].tolist() == expected


@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_colour(bits: int) -> None:
    """The same for a colour."""
    step = 1 if bits == 8 else 257
    layout = ">6B" if bits == 8 else ">6H"
    key = chunk(b"tRNS", struct.pack(">3H", 10 * step, 20 * step, 30 * step))
    row = struct.pack(layout, *(value * step for value in (10, 20, 30, 10, 20, 31)))
    data = png(2, 1, bits=bits, colour=2, more=key, rows=b"\0" + row)
    assert pixels(data)[0].tolist() == [[255, 255, 255], [10, 20, 31]]


# --- Orientation


def stored(turn: int) -> Image.Image:
    """The scene as a camera held so would store it: EXIF's own definition, undone."""
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    return RGB.transpose(images.TURNS[undo[turn]]) if turn > 1 else RGB


def exif(turn: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags


@pytest.mark.parametrize("profile", get_args(Profile))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_orientations_give_equal_tensors(format: str, profile: Profile) -> None:
    """EXIF 1 to 8: whichever way it is stored, the model sees the same, and the size is that after rotation."""
    options = {"lossless": True} if format == "WEBP" else {}
    files = [encode(stored(turn), format, exif=exif(turn), **options) for turn in range(1, 9)]
    results = [read(data, LIMITS, profile, RAW) for data in files]
    assert {(info.width, info.height) for _, info in results} == {BIG}
    assert all(np.array_equal(tensor, results[0][0]) for tensor, _ in results)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_of_jpeg(turn: int) -> None:
    """JPEG is turned as Pillow's own exif_transpose turns it."""
    data = encode(stored(turn), "JPEG", exif=exif(turn))
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert np.array_equal(pixels(data), array(expected))
    assert difference(data, RGB) <= 3


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_nonsense_orientation(value: int) -> None:
    """An orientation that does not exist, or EXIF that is rubbish, leaves the picture as it is."""
    assert orientation(exif(value).tobytes()) == 1
    assert np.array_equal(pixels(encode(RGB, "PNG", exif=exif(value))), array(RGB))
    assert np.array_equal(pixels(encode(RGB, "PNG", exif=b"Exif\0\0MM\0*" + bytes([value & 255] * 9))), array(RGB))


def test_big_endian_exif() -> None:
    """EXIF in Motorola order is read too."""
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    assert np.array_equal(pixels(encode(stored(6), "PNG", exif=block)), array(RGB))
