"""What decode takes and refuses, and read as a whole. Damage and bombs: tests/faults/test_damaged_pictures.py."""

import hashlib
import random
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from service.errors import ImageCorrupt, ImageTooLarge, ImageTooManyPixels, ImageTypeUnsupported
from service.inference import images
from service.inference.headers import read_header
from service.inference.images import Limits, check, decode, read, to_input
from service.inference.predictions import ImageInfo
from tests.faults.damage import chunk, encode, jpeg_of_size, jpeg_scans, png, samples, segments, tiff
from tests.inference.scene import LIMITS, RAW, RGB, pixels

# What images.py sets for the process on import, pytest takes back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")


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


def test_a_zip_is_told_that_it_is_one() -> None:
    """There is a place for it, which no conversion leads to."""
    with pytest.raises(ImageTypeUnsupported, match=r"zip archive.*bulk"):
        decode(b"PK\3\4" + bytes(100), LIMITS)


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
from service.inference.headers import orientation
from service.inference.images import Limits, decode
for name in sys.argv[1:]:
    try:
        print(decode(Path(name).read_bytes(), Limits(100_000, 100_000)).pixels.size)
    except ImageCorrupt as error:
        print(error.code)
"""


def test_oddities_are_silent(tmp_path: Path) -> None:
    """A TIFF whose tag lies outside the file is read without a warning, a broken fax without a word from libtiff."""
    tags = {257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    (tmp_path / "odd").write_bytes(tiff(tags | {256: (1, 1), 305: (9, 99_999)}))
    good = encode(RGB.convert("1"), "TIFF", compression="group4")
    (tmp_path / "fax").write_bytes(good[:500] + random.Random(1).randbytes(500) + good[1_000:])
    command = [sys.executable, "-W", "error", "-c", QUIET, str(tmp_path / "odd"), str(tmp_path / "fax")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("(1, 1)\n")
    assert run.stderr == ""


def test_read_says_what_it_read() -> None:
    """read gives the tensor of to_input and the hash, size and format of the picture as it came."""
    data = samples()["jpeg"]
    tensor, info = read(data, LIMITS, "imagenet", RAW)
    assert info == ImageInfo(hashlib.sha256(data).hexdigest(), 36, 48, "JPEG")
    assert np.array_equal(tensor, to_input(decode(data, LIMITS), "imagenet", RAW))


def test_a_known_hash_is_taken() -> None:
    """read does not compute the hash again that its caller gives."""
    assert read(samples()["jpeg"], LIMITS, "imagenet", RAW, sha256="known")[1].sha256 == "known"


@pytest.mark.parametrize("name", samples())
def test_check_decodes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """check knows the format of every sample without a decoder."""
    expected = decode(samples()[name], LIMITS).format
    monkeypatch.setattr(images, "DECODERS", {})
    assert check(samples()[name], LIMITS) == expected


def test_check_refuses_as_decode_does() -> None:
    """check refuses other types, too many bytes, too many pixels and broken headers by their own errors."""
    good = samples()["jpeg"]
    for data, limits, error in (
        (b"<svg/>", LIMITS, ImageTypeUnsupported),
        (good, Limits(10, 100_000), ImageTooLarge),
        (good, Limits(100_000, 10), ImageTooManyPixels),
        (good[:100], LIMITS, ImageCorrupt),
    ):
        with pytest.raises(error):
            check(data, limits)


@pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "jpeg-cmyk"])
def test_ordinary_scans_pass_at_any_size(name: str) -> None:
    """The scans that encoders write are few enough at the highest number of pixels."""
    assert check(jpeg_of_size(samples()[name], 8_000, 6_250), LIMITS) == "JPEG"


def test_many_scans_of_a_small_jpeg() -> None:
    """A small picture may have 99 scans more than its own, and they change nothing."""
    assert np.array_equal(pixels(jpeg_scans(samples()["jpeg-progressive"], 80)), pixels(samples()["jpeg-progressive"]))


def test_nothing_behind_a_jpeg_counts() -> None:
    """What looks like scans behind the end of a JPEG (a film, say) is neither counted nor kept, restarts are kept."""
    good = encode(RGB, "JPEG", progressive=True, restart_marker_blocks=1)
    assert read_header(good + b"\xff\xda" * 1_000, LIMITS.max_pixels).data == read_header(good, LIMITS.max_pixels).data
    assert read_header(good, LIMITS.max_pixels).data == good


def test_filling_of_a_jpeg() -> None:
    """Fill bytes between markers, and before one in a scan, make no difference and do not reach the decoder."""
    good = samples()["jpeg-progressive"]
    filled = re.sub(rb"\xff([\xda\xd0-\xd7\xd9])", lambda marker: b"\xff" * 1_000 + marker[0], good)
    assert len(filled) > len(good) + 5_000
    assert len(read_header(filled, LIMITS.max_pixels).data) < len(good) + 100
    assert np.array_equal(pixels(filled), pixels(good))


def test_wide_and_high_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    """However a picture of 32-bit pixels is cut into tiles for scaling, the outcome is the same."""
    grey = encode(RGB.convert("F").rotate(10), "TIFF")
    whole = pixels(grey)
    for size in (100, 1_000, 10_000):
        monkeypatch.setattr(images, "TILE_PIXELS", size)
        assert np.array_equal(pixels(grey), whole)


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
