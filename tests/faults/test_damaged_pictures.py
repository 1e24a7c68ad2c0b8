"""T19 and T22: broken, lying and exploding pictures are refused with a clear error, soon, in little memory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ImageCorrupt, ImageError, ImageTooManyPixels, ImageTypeUnsupported
from service.inference.headers import orientation
from service.inference.images import Limits, decode, read
from service.inference.predictions import InputSpec
from tests.faults.damage import damaged, encode, pixel_bombs, rle_bmp, samples, scene, tiff_of_jpeg, work_bombs

# What images.py sets for the process on import, pytest takes back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

LIMITS = Limits(max_bytes=20 * 1024 * 1024, max_pixels=50_000_000)
SPEC = InputSpec(32, "unit")
SECONDS_AT_MOST = 2.0

ROOM_BYTES = 48 * 1024 * 1024
"""What a refusal may allocate beside the interpreter: the file twice, and little else."""
BOXED = f"""
import resource, sys
from pathlib import Path
from service.errors import ImageError
from service.inference.images import Limits, decode
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {ROOM_BYTES},) * 2)
try:
    decode(Path(sys.argv[1]).read_bytes(), Limits({LIMITS.max_bytes}, {LIMITS.max_pixels}))
except ImageError as error:
    print(error.code, type(error.__cause__).__name__)
"""


def refused_or_read(data: bytes) -> ImageError | None:
    """The error, or None when the picture was good. Anything else that is raised fails the test."""
    began = time.perf_counter()
    try:
        read(data, LIMITS, "imagenet", SPEC)
        return None
    except ImageError as error:
        return error
    finally:
        assert time.perf_counter() - began < SECONDS_AT_MOST


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
    """Hundreds of damaged files of every format: nothing but an ImageError escapes, each in good time."""
    errors = [refused_or_read(data) for _, data in damaged(seed, 200)]
    assert sum(error is not None for error in errors) > 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 104))
def test_much_damage(seed: int) -> None:
    """The same with thousands."""
    errors = [refused_or_read(data) for _, data in damaged(seed, 10_000)]
    assert sum(error is not None for error in errors) > 3_000


@pytest.mark.skipif("GLIMT_TEST_CORPUS" not in os.environ, reason="GLIMT_TEST_CORPUS names no folder")
def test_corpus() -> None:
    """Every file under the folder GLIMT_TEST_CORPUS is read or refused, whatever it is."""
    files = [path for path in Path(os.environ["GLIMT_TEST_CORPUS"]).rglob("*") if path.is_file()]
    assert files
    for path in files:
        refused_or_read(path.read_bytes())


@given(st.sampled_from(sorted(samples())), st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_behind_a_true_beginning(name: str, rest: bytes, keep: int) -> None:
    """Whatever follows a true magic, only an ImageError comes out."""
    refused_or_read(samples()[name][:keep] + rest)


@given(st.binary(max_size=100), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"]))
def test_any_exif(rest: bytes, head: bytes) -> None:
    """The EXIF reader takes any bytes and answers 1 to 8."""
    assert 1 <= orientation(head + rest) <= 8


@pytest.mark.parametrize("name", pixel_bombs())
def test_pixel_bomb(name: str) -> None:
    """Too many pixels are seen in the header: refused in less than 50 ms, with the numbers and the way out."""
    bomb = pixel_bombs()[name]
    began = time.perf_counter()
    with pytest.raises(ImageTooManyPixels, match=r"pixels; the limit is 50,000,000 .*GLIMT_MAX_IMAGE_PIXELS"):
        decode(bomb, LIMITS)
    assert time.perf_counter() - began < 0.05
    assert len(bomb) < 5_000


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


@pytest.mark.parametrize(("width", "length"), [(70_000, 4), (16, 2_000_000)])
def test_run_length_bomb(width: int, length: int) -> None:
    """A run-length coded BMP that would cost seconds or gigabytes is not a type we take."""
    with pytest.raises(ImageTypeUnsupported, match="Save it as PNG"):
        decode(rle_bmp(width, 64, b"\0\2\0\xff" * (length // 4)), LIMITS)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts address space in /proc")
def test_bombs_in_a_small_room(tmp_path: Path) -> None:
    """With 48 MiB of address space left, bombs are refused for what they are, not for want of memory."""
    bombs = pixel_bombs() | {name: work_bombs()[name] for name in ("png text", "jpeg segments", "tiff strips")}
    said = {}
    for name, bomb in bombs.items():
        file = tmp_path / "bomb"
        file.write_bytes(bomb)
        run = subprocess.run([sys.executable, "-c", BOXED, file], capture_output=True, text=True, check=True)
        said[name] = run.stdout.split()
    assert {name: words[0] for name, words in said.items()} == {
        name: "image_too_many_pixels" if name in pixel_bombs() else "image_corrupt" for name in bombs
    }
    assert {words[1] for words in said.values()} == {"NoneType"}
