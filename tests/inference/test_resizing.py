"""Resizing with SIMD, beside Pillow's."""

import random
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from service.inference import resizing
from service.inference.images import Picture, crop_box
from service.inference.resizing import Box, by_pillow, resize
from tests.inference.scene import RGB

SIZE = 96
SIMD = find_spec("cykooz_resizer")


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    """Every pixel another colour: nothing is harder."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def apart(image: Image.Image, size: int, box: Box) -> int:
    """The most by which a pixel of the two differs."""
    return int(np.abs(resize(image, size, box).astype(int) - by_pillow(image, size, box)).max())


def middle(image: Image.Image, size: int = SIZE) -> Box:
    return crop_box(Picture(image, "PNG", image.width, image.height), size)


@pytest.mark.skipif(not SIMD, reason="there is no wheel of it here")
def test_it_is_pillows_answer_but_for_rounding() -> None:
    """Enlarged or reduced, whole or a part, be it as thin as it may; a scene is one of 255 apart, noise two."""
    chance = random.Random(3)
    for seed in range(200):
        width, height = (chance.randint(1, chance.choice([2, 40, 300, 1500])) for _ in "wh")
        image = noise(width, height, seed)
        assert apart(image, chance.choice([32, SIZE, 224]), middle(image)) <= 2, image.size
    for box in ((0, 0, *RGB.size), (3.3, 1.7, 200.1, 239.9), (100, 100, 101, 101), (319.5, 0, 320, 240)):
        assert apart(RGB, SIZE, box) <= 1, box


def test_what_is_large_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what the box leaves out of it."""
    cropped: list[Box] = []

    class Watched(Image.Image):
        def crop(self, box: Box | None = None) -> Image.Image:
            assert box
            cropped.append(box)
            return super().crop(box)

    image = noise(1200, 1000)
    image.__class__ = Watched
    monkeypatch.setattr(resizing, "MOST_PIXELS", 500_000)
    assert np.array_equal(resize(image, SIZE, (0, 0, 1200, 1000)), by_pillow(image, SIZE, (0, 0, 1200, 1000)))
    assert not cropped
    if SIMD:
        resize(image, SIZE, (500, 400, 900, 800))
        assert cropped == [(494, 394, 906, 806)]


def test_without_its_package_it_is_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Linux on ARM."""
    monkeypatch.setattr(resizing, "simd", None)
    assert np.array_equal(resize(RGB, SIZE, middle(RGB)), by_pillow(RGB, SIZE, middle(RGB)))
