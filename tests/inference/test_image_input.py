"""What to_input makes of a picture: the profiles, beside torchvision's arithmetic and Keras."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.inference.images import Picture, decode, read, to_input
from service.inference.predictions import InputSpec
from service.settings import Profile
from tests.faults.damage import encode
from tests.inference.scene import LIMITS, RAW, array

# What images.py sets for the process on import, pytest takes back for each test.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

PHOTOS = sorted((Path(__file__).parents[3] / "shared/data/images").glob("*.JPEG"))
photos = pytest.mark.skipif(not PHOTOS, reason="the shared photos are not here")


def photo(name: int) -> bytes:
    return PHOTOS[name].read_bytes()


@pytest.mark.parametrize("profile", get_args(Profile))
@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (2, 3), (223, 225), (256, 256), (65_535, 7)])
def test_every_shape(size: tuple[int, int], profile: Profile) -> None:
    """One pixel, lines and needles give a full, C-contiguous uint8 input of the right colour."""
    tensor, info = read(encode(Image.new("RGB", size, (9, 99, 199)), "PNG"), LIMITS, profile, RAW)
    assert (info.width, info.height) == size
    assert tensor.shape == (224, 224, 3)
    assert tensor.dtype == np.uint8
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
@pytest.mark.parametrize("size", [32, 224])
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
