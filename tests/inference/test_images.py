"""One claim per test about service/inference/images.py. Damage and bombs: tests/faults/test_damaged_pictures.py."""

import hashlib
import itertools
import struct
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.errors import ImageCorrupt, ImageTooLarge, ImageTooManyPixels, ImageTypeUnsupported
from service.inference import images
from service.inference.images import Limits, Picture, decode, read, to_input
from service.inference.predictions import ImageInfo, InputSpec, Normalisation
from service.settings import Profile
from tests.faults.damage import chunk, encode, png, samples, scene, segments, tiff

# What images.py sets for the process on import, pytest takes back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

LIMITS = Limits(max_bytes=20 * 1024 * 1024, max_pixels=50_000_000)
RAW = InputSpec(224, "raw")
PHOTOS = sorted((Path(__file__).parents[3] / "shared/data/images").glob("*.JPEG"))
photos = pytest.mark.skipif(not PHOTOS, reason="the shared photos are not here")

BIG = (320, 240)
RGB = scene(BIG)
GREY = RGB.convert("L")


def array(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image.convert("RGB")).astype(np.int16)


def pixels(data: bytes) -> NDArray[np.int16]:
    return array(decode(data, LIMITS).pixels)


def difference(data: bytes, reference: Image.Image) -> float:
    """Mean absolute difference to the reference, of 255."""
    return float(np.abs(pixels(data) - array(reference)).mean())


def with_alpha(mode: str = "RGBA") -> Image.Image:
    """The scene darkened to black, with the alpha that brings it back over white."""
    scaled = np.asarray(GREY).astype(np.float32) / 255
    alpha = np.rint((1 - scaled) * 255).astype(np.uint8)
    layer = Image.new("L" if mode == "LA" else "RGB", BIG)
    layer.putalpha(Image.fromarray(alpha))
    return layer


def photo(name: int) -> bytes:
    return PHOTOS[name].read_bytes()


# --- What is taken


@pytest.mark.parametrize("name", samples())
def test_format_is_sniffed(name: str) -> None:
    """Each sample is known by its content; an MPO is a JPEG, an APNG a PNG."""
    expected = {"mpo": "JPEG", "apng": "PNG"}.get(name, name.split("-")[0].upper())
    assert decode(samples()[name], LIMITS).format == expected


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("tail", ["zip", "html", "zeros"])
def test_polyglot_is_judged_by_its_head(format: str, tail: str) -> None:
    """An archive (GIFAR), a page or zeros behind a picture change nothing: it is that picture."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("Main.class", b"\xca\xfe\xba\xbe" * 100)
    more = {"zip": archive.getvalue(), "html": b"<script>alert(1)</script>", "zeros": bytes(5_000)}[tail]
    good = encode(RGB.quantize(64) if format == "GIF" else RGB, format)
    assert np.array_equal(pixels(good + more), pixels(good))


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.7\n" + samples()["jpeg"],
        b"<!DOCTYPE html><img>",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        encode(RGB.resize((32, 32)), "ICO"),
        b"8BPS\0\1" + bytes(100),
        b"\0\0\0\x18ftypheic" + bytes(100),
        encode(RGB, "PPM"),
        encode(RGB, "TGA"),
        encode(RGB, "JPEG2000"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        b"BM is how this text begins, and it is no bitmap",
        b"PK\3\4" + bytes(100),
        b"RIFF\0\0\0\0WAVEfmt ",
        b"\xff\xd8",
        b"",
    ],
    ids=lambda data: repr(data[:8]),
)
def test_other_types_are_refused(data: bytes) -> None:
    """What does not begin as one of the six types is refused with their names and the way out."""
    with pytest.raises(ImageTypeUnsupported, match=r"JPEG, PNG, GIF, WebP, BMP or TIFF .*Convert it"):
        decode(data, LIMITS)


def test_too_many_bytes() -> None:
    """The byte limit is checked first, and the error names both numbers and the setting."""
    with pytest.raises(ImageTooLarge, match=r"881 bytes; the limit is 880\..*GLIMT_MAX_IMAGE_BYTES"):
        decode(samples()["jpeg"], Limits(880, 1))


@pytest.mark.parametrize("name", samples())
def test_pixel_limit_is_exact(name: str) -> None:
    """A picture with as many pixels as the limit is read, with one more it is refused, in every format."""
    picture = decode(samples()[name], LIMITS)
    size = picture.width * picture.height
    decode(samples()[name], Limits(LIMITS.max_bytes, size))
    with pytest.raises(ImageTooManyPixels):
        decode(samples()[name], Limits(LIMITS.max_bytes, size - 1))


def test_corrupt_says_so() -> None:
    """A truncated picture is refused in words for its owner; Pillow's own words are kept as the cause."""
    with pytest.raises(ImageCorrupt, match=r"The JPEG picture cannot be decoded: .*Save it anew") as caught:
        decode(samples()["jpeg"][:-100], LIMITS)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("raised", [MemoryError, RecursionError, SyntaxError, struct.error, OverflowError, KeyError])
def test_whatever_the_decoder_raises(raised: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Any exception of the decoder is an ImageCorrupt."""

    def explode(file: BytesIO) -> None:
        raise raised

    monkeypatch.setitem(images.DECODERS, "JPEG", explode)
    with pytest.raises(ImageCorrupt):
        decode(samples()["jpeg"], LIMITS)


QUIET = """
import sys
from pathlib import Path
from service.errors import ImageCorrupt
from service.inference.images import Limits, decode
for name in sys.argv[1:]:
    try:
        print(decode(Path(name).read_bytes(), Limits(10_000, 10_000)).pixels.size)
    except ImageCorrupt as error:
        print(error.code)
"""


def test_oddities_are_silent(tmp_path: Path) -> None:
    """A TIFF whose tag lies outside the file is read without a warning, a broken fax refused without a word."""
    tags = {257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    (tmp_path / "odd").write_bytes(tiff(tags | {256: (1, 1), 305: (9, 99_999)}))
    fax = {256: 64, 257: 64, 258: 1, 259: 4, 262: 0, 273: 122, 277: 1, 278: 64, 279: 99}
    (tmp_path / "fax").write_bytes(tiff(fax, bytes(range(99))))
    command = [sys.executable, "-W", "error", "-c", QUIET, tmp_path / "odd", tmp_path / "fax"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("(1, 1)\nimage_corrupt\n", "")


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


def stored(orientation: int) -> Image.Image:
    """The scene as a camera held so would store it: EXIF's own definition, undone."""
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    return RGB.transpose(images.TURNS[undo[orientation]]) if orientation > 1 else RGB


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
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
    assert np.array_equal(pixels(encode(RGB, "PNG", exif=exif(value))), array(RGB))
    assert np.array_equal(pixels(encode(RGB, "PNG", exif=b"Exif\0\0MM\0*" + bytes([value & 255] * 9))), array(RGB))


def test_big_endian_exif() -> None:
    """EXIF in Motorola order is read too."""
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    assert np.array_equal(pixels(encode(stored(6), "PNG", exif=block)), array(RGB))


# --- Model input


@pytest.mark.parametrize("profile", get_args(Profile))
@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3), (223, 225), (256, 256), (50_000, 7)])
def test_every_shape(size: tuple[int, int], profile: Profile) -> None:
    """One pixel, lines and needles give a full, finite, C-contiguous float32 input of the right colour."""
    tensor, info = read(encode(Image.new("RGB", size, (9, 99, 199)), "PNG"), LIMITS, profile, RAW)
    assert (info.width, info.height) == size
    assert tensor.shape == (224, 224, 3)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert np.array_equal(np.unique(tensor.reshape(-1, 3), axis=0), [[9, 99, 199]])


def resize_then_crop(image: Image.Image, size: int) -> Image.Image:
    """torchvision.transforms: Resize(round(size · 256/224)), CenterCrop(size), in its own arithmetic."""
    short, target = min(image.size), round(size * 256 / 224)
    width, height = (target if side == short else int(target * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


@photos
@pytest.mark.parametrize("size", [32, 224, 299])
def test_imagenet_profile_on_photos(size: int) -> None:
    """Resizing straight into the crop differs from resize-then-crop by rounding alone: 1 of 255 at most.

    One value in 500 differs, or one in five where Pillow chooses another order for its two passes.
    """
    for data in map(photo, range(0, len(PHOTOS), 4)):
        picture = decode(data, LIMITS)
        expected = array(resize_then_crop(picture.pixels, size))
        apart = np.abs(to_input(picture, "imagenet", InputSpec(size, "raw")) - expected)
        assert apart.max() <= 1
        assert apart.mean() < 0.25


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([8, 64, 224]))
def test_imagenet_profile_on_any_size(width: int, height: int, size: int) -> None:
    """The same for noise of every size, upscaled or not, not too long to compare: 2, for it is rounded twice."""
    if max(width, height) > 20 * min(width, height):
        width = height
    noise = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    picture = Picture(Image.fromarray(noise), "PNG", width, height)
    expected = array(resize_then_crop(picture.pixels, size))
    assert np.abs(to_input(picture, "imagenet", InputSpec(size, "raw")) - expected).max() <= 2


@photos
@pytest.mark.slow
def test_keras_profile_is_keras(tmp_path: Path) -> None:
    """For RGB JPEGs every byte is that of keras.utils.load_img(target_size=…, interpolation="nearest")."""
    keras = pytest.importorskip("keras")
    for path in PHOTOS:
        expected = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(224, 224), interpolation="nearest"))
        assert np.array_equal(read(path.read_bytes(), LIMITS, "keras", RAW)[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize("normalisation", ["caffe", "tf", "torch"])
def test_normalisation_is_keras(normalisation: Normalisation) -> None:
    """All 256 values of all channels are those of keras.applications' preprocess_input."""
    keras = pytest.importorskip("keras")
    ramp = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) // 2], axis=-1).astype(np.uint8)
    picture = Picture(Image.fromarray(ramp.reshape(16, 16, 3)), "PNG", 16, 16)
    expected = keras.applications.imagenet_utils.preprocess_input(
        ramp.reshape(16, 16, 3).astype(np.float32), mode=normalisation, data_format="channels_last"
    )
    actual = to_input(picture, "keras", InputSpec(16, normalisation))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    assert normalisation != "caffe" or np.array_equal(actual, expected)


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("raw", [255, 0, 51]),
        ("unit", [1, 0, 0.2]),
        ("tf", [1, -1, -0.6]),
        ("caffe", [51 - 103.939, -116.779, 255 - 123.68]),
        ("torch", [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]),
    ],
)
def test_normalisations(normalisation: Normalisation, expected: list[float]) -> None:
    """Each named normalisation, on one colour."""
    picture = Picture(Image.new("RGB", (8, 8), (255, 0, 51)), "PNG", 8, 8)
    tensor = to_input(picture, "imagenet", InputSpec(8, normalisation))
    np.testing.assert_allclose(tensor, np.broadcast_to(expected, (8, 8, 3)), rtol=0, atol=1e-5)


def test_read_says_what_it_read() -> None:
    """read gives the tensor of to_input and the hash, size and format of the picture as it came."""
    data = samples()["jpeg"]
    tensor, info = read(data, LIMITS, "imagenet", RAW)
    assert info == ImageInfo(hashlib.sha256(data).hexdigest(), 36, 48, "JPEG")
    assert np.array_equal(tensor, to_input(decode(data, LIMITS), "imagenet", RAW))


def test_threads() -> None:
    """Eight threads at once read every sample, good and cut, as one thread does."""
    files = [data for good in samples().values() for data in (good, good[: len(good) // 2])] * 8

    def outcome(data: bytes) -> str:
        try:
            return hashlib.sha256(read(data, LIMITS, "imagenet", RAW)[0].tobytes()).hexdigest()
        except ImageCorrupt as error:
            return error.detail

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files)) == [outcome(data) for data in files]


def test_metadata_never_reaches_the_decoder() -> None:
    """Half a megabyte of EXIF, comments and text changes no pixel and is not kept with the picture."""
    head, tail = segments(samples()["jpeg"])
    padded = head + (b"\xff\xe1\xff\xff" + bytes(65_533)) * 8 + tail
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(500_000)))
    drawn = png(2, 1, more=text, rows=b"\0\1\2")
    assert np.array_equal(pixels(padded), pixels(samples()["jpeg"]))
    assert np.array_equal(pixels(drawn), pixels(png(2, 1, rows=b"\0\1\2")))
    assert not {"exif", "comment", "key"} & decode(padded, LIMITS).pixels.info.keys()
