"""T19 and T22: broken, lying and exploding pictures are refused with a clear error, in little memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ImageCorrupt, ImageError, ImageTooManyPixels, ImageTypeUnsupported
from service.inference import images
from service.inference.headers import orientation
from service.inference.images import Limits, decode, read
from service.inference.predictions import InputSpec
from tests.faults.damage import damaged, encode, pixel_bombs, rle_bmp, samples, scene, tiff_of_jpeg, tiled, work_bombs
from tests.faults.pictures import ask_about, found, made

# What images.py sets for the process on import, pytest takes back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

LIMITS = Limits(max_bytes=20 * 1024 * 1024, max_pixels=50_000_000)
SPEC = InputSpec(32, "unit")
MEMORY_BYTES = 3 * 4 * LIMITS.max_pixels
"""A picture at the limit is held three times at most, in Pillow's four bytes a pixel."""
ROOM_BYTES = 48 * 1024 * 1024
"""What a refusal may allocate beside the interpreter: the file twice, and little else."""
BOXED = f"""
import resource, sys
from pathlib import Path
from service.errors import ImageError
from service.inference.images import Limits, decode
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {ROOM_BYTES},) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode(path.read_bytes(), Limits({LIMITS.max_bytes}, {LIMITS.max_pixels}))
    except ImageError as error:
        print(path.name, error.code, error.__cause__, sep="|")
"""


def refused_or_read(data: bytes) -> ImageError | None:
    """The error, or None when the picture was good. Anything else that is raised fails the test."""
    try:
        read(data, LIMITS, "imagenet", SPEC)
        return None
    except ImageError as error:
        return error


@pytest.mark.parametrize("name", samples())
def test_the_samples_are_good(name: str) -> None:
    """Undamaged, every sample is read: otherwise the damage below would prove nothing."""
    assert refused_or_read(samples()[name]) is None


@pytest.mark.parametrize("name", samples())
def test_truncation(name: str) -> None:
    """Cut anywhere before the end of its first frame, a file is refused."""
    good = samples()[name]
    end = len(good) // 2 if name in ("mpo", "gif-animated") else len(good) - 4
    errors = [refused_or_read(good[:length]) for length in range(0, end, max(1, end // 40))]
    assert all(isinstance(error, ImageCorrupt | ImageTypeUnsupported) for error in errors)


@pytest.mark.parametrize("seed", range(3))
def test_damage(seed: int) -> None:
    """Hundreds of damaged files of every format: nothing but an ImageError escapes."""
    errors = [refused_or_read(data) for _, data in damaged(seed, 200)]
    assert sum(error is not None for error in errors) > 60


@pytest.mark.slow
async def test_five_thousand_over_http() -> None:
    """The whole service answers 5,000 damaged files and all bombs as a picture may be answered, never with a 500."""
    report = await ask_about(made(5_000))
    print(report)
    assert report.wrong == []
    assert report.statuses[200] > 1_000
    assert report.statuses[422] > 2_000
    assert report.grown_bytes < MEMORY_BYTES


@pytest.mark.skipif("GLIMT_TEST_CORPUS" not in os.environ, reason="GLIMT_TEST_CORPUS names no folder")
async def test_corpus() -> None:
    """Every file under the folder GLIMT_TEST_CORPUS is answered so, whatever it is."""
    report = await ask_about(found(Path(os.environ["GLIMT_TEST_CORPUS"])))
    print(report)
    assert report.seconds
    assert report.wrong == []


@given(st.sampled_from(sorted(samples())), st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_behind_a_true_beginning(name: str, rest: bytes, keep: int) -> None:
    """Whatever follows a true magic, only an ImageError comes out."""
    refused_or_read(samples()[name][:keep] + rest)


@given(st.binary(max_size=100), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"]))
def test_any_exif(rest: bytes, head: bytes) -> None:
    """The EXIF reader takes any bytes and answers 1 to 8."""
    assert 1 <= orientation(head + rest) <= 8


@pytest.mark.parametrize("name", pixel_bombs())
def test_pixel_bomb(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many pixels are seen in the header: refused before there is a decoder, with the numbers and the way out."""
    monkeypatch.setattr(images, "DECODERS", {})
    words = r"pixels; (the limit is 50,000,000 .*GLIMT_MAX_IMAGE_PIXELS|a side may have 65,535 at most\. Resize it)"
    with pytest.raises(ImageTooManyPixels, match=words):
        decode(pixel_bombs()[name], LIMITS)
    assert len(pixel_bombs()[name]) < 5_000


@pytest.mark.parametrize("name", work_bombs())
def test_work_bomb(name: str) -> None:
    """Few pixels in much wrapping are refused by the wrapping, before the decoder sees it."""
    error = refused_or_read(work_bombs()[name])
    assert isinstance(error, ImageCorrupt)
    assert error.__cause__ is None or name == "gif comments"


@pytest.mark.parametrize("coding", [b"\xff\xc9", b"\xff\xca", b"\xff\xc3"])
def test_rare_jpeg(coding: bytes) -> None:
    """Arithmetic coding, in which a few bytes may be hours of work, and lossless JPEG are not types we take."""
    with pytest.raises(ImageTypeUnsupported, match="Save it as ordinary JPEG"):
        decode(samples()["jpeg"].replace(b"\xff\xc0", coding), LIMITS)


def test_progressive_jpeg_in_tiff() -> None:
    """The TIFF decoder takes a hundred scans of any size: a strip that is a progressive JPEG is refused."""
    grey = scene().convert("L")
    decode(tiff_of_jpeg(encode(grey, "JPEG")), LIMITS)
    with pytest.raises(ImageTypeUnsupported, match="progressive JPEG within TIFF"):
        decode(tiff_of_jpeg(encode(grey, "JPEG", progressive=True)), LIMITS)


@pytest.mark.parametrize("type", [1, 6, 16])
def test_size_of_another_type(type: int) -> None:
    """Where the decoder might read another size of tiles than we do (a LONG8 is elsewhere), it is not asked to."""
    assert decode(tiled(64, 16, 16), LIMITS).width == 64
    with pytest.raises(ImageCorrupt, match="contradicts itself"):
        decode(tiled(64, 16, 16, type), LIMITS)


def test_run_length_bomb() -> None:
    """A run-length coded BMP that would cost seconds is not a type we take."""
    with pytest.raises(ImageTypeUnsupported, match="Save it as PNG"):
        decode(rle_bmp(16, 64, b"\0\2\0\xff" * 500_000), LIMITS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts address space in /proc")
def test_bombs_in_a_small_room(tmp_path: Path) -> None:
    """With 48 MiB of address space left, bombs are refused for what they are, not for want of memory."""
    bombs = pixel_bombs() | {
        name: work_bombs()[name] for name in ("png text", "jpeg segments", "tiff strips", "tiff tiles")
    }
    for name, bomb in bombs.items():
        (tmp_path / name).write_bytes(bomb)
    run = subprocess.run([sys.executable, "-c", BOXED, tmp_path], capture_output=True, text=True, check=True)
    codes = {name: "image_too_many_pixels" if name in pixel_bombs() else "image_corrupt" for name in bombs}
    assert sorted(run.stdout.splitlines()) == sorted(f"{name}|{code}|None" for name, code in codes.items())
