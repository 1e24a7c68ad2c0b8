"""Large JPEGs are decoded smaller for the imagenet profile, and nobody can tell by the model's input."""

import numpy as np
import pytest
from PIL import Image

from service.errors import ImageError
from service.inference.images import decode, read, to_input
from service.inference.predictions import InputSpec
from tests.faults.damage import damaged, encode, samples, scene
from tests.inference.scene import LIMITS, array

# What images.py sets for the process on import, pytest takes back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

SMALL = InputSpec(32, "raw")
"""Resized to 37 on the shorter side: a JPEG is reduced when twice that is left, from 148 on."""


def waves(width: int, height: int) -> Image.Image:
    """Smooth, but steep enough that a shift by 1 pixel changes values by 12; another picture in every turn."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = [np.sin(x / 10) * np.sin(y / 12), np.sin(x / 11 + 1), np.sin(y / 13 + 2)]
    return Image.fromarray((127.5 + 127.4 * np.stack(channels, axis=-1)).astype(np.uint8))


def apart(data: bytes, spec: InputSpec) -> int:
    """How far the input of `read` is from that of the whole picture, at most."""
    expected = to_input(decode(data, LIMITS), "imagenet", spec)
    return int(np.abs(read(data, LIMITS, "imagenet", spec)[0].astype(int) - expected).max())


@pytest.mark.parametrize(
    ("size", "enough", "expected"),
    [
        ((1023, 1500), 512, (1023, 1500)),
        ((1024, 1500), 512, (512, 750)),
        ((2047, 2047), 512, (1024, 1024)),
        ((2049, 2050), 512, (513, 513)),
        ((1605, 801), 100, (201, 101)),
        ((3000, 2000), 100, (375, 250)),
        ((3000, 2000), None, (3000, 2000)),
    ],
)
def test_enough_is_left(size: tuple[int, int], enough: int | None, expected: tuple[int, int]) -> None:
    """A JPEG is decoded at 1/2, 1/4 or 1/8, the least that leaves enough of its shorter side; its size stays known."""
    picture = decode(encode(Image.new("RGB", size), "JPEG"), LIMITS, enough)
    assert picture.pixels.size == expected
    assert (picture.width, picture.height) == size


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_other_formats_are_decoded_whole(format: str) -> None:
    """Only JPEG can be decoded smaller."""
    assert decode(encode(scene((640, 480)), format), LIMITS, 100).pixels.size == (640, 480)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [(320, 160), (602, 597), (599, 607), (1210, 299)])
def test_the_input_stays_the_same(size: tuple[int, int], turn: int) -> None:
    """Reduced by 2, 4 or 8, with a last column and row that are padded, turned by EXIF: the same input within 7 of 255.

    Without regard to the padding it is 10 to 60.
    """
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encode(waves(*size), "JPEG", quality=95, exif=exif)
    assert decode(data, LIMITS, 74).reduced > 1
    assert apart(data, SMALL) <= 7


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_are_reduced_alike(mode: str) -> None:
    """The rules for colours hold for a reduced picture."""
    data = encode(scene((640, 480)).convert(mode), "JPEG", quality=95)
    assert decode(data, LIMITS, 74).reduced == 4
    assert apart(data, SMALL) <= 2


def test_the_size_told_is_that_of_the_file() -> None:
    """What read says of a reduced and turned picture is its own size."""
    exif = Image.Exif()
    exif[0x0112] = 6
    info = read(encode(scene((1203, 901)), "JPEG", exif=exif), LIMITS, "imagenet", SMALL)[1]
    assert (info.width, info.height) == (901, 1203)


def test_the_keras_profile_never_reduces() -> None:
    """Nearest neighbours of the whole picture, byte for byte, however large it is."""
    data = encode(waves(1200, 900), "JPEG")
    whole = decode(data, LIMITS).pixels.resize((32, 32), Image.Resampling.NEAREST)
    assert np.array_equal(read(data, LIMITS, "keras", SMALL)[0], array(whole))


def test_damage_while_reducing() -> None:
    """Damaged JPEGs that would be reduced are read or refused by our own errors, and cut ones are refused."""
    tiny, outcomes = InputSpec(4, "raw"), []
    for name, data in damaged(5, 4_000):
        if name.startswith(("jpeg", "mpo")):
            try:
                read(data, LIMITS, "imagenet", tiny)
                outcomes.append("read")
            except ImageError as error:
                outcomes.append(error.code)
    assert set(outcomes) >= {"read", "image_corrupt"}
    assert decode(samples()["jpeg"], LIMITS, 10).reduced == 2
    with pytest.raises(ImageError):
        decode(samples()["jpeg"][:-100], LIMITS, 10)
