"""A box of a picture, resized to a square: bilinear and antialiased, as Pillow and torchvision do it.

With SIMD where cykooz.resizer has a wheel (x86-64 and macOS, not Linux on ARM): three times as fast, which saves a
fifth of all that is done to a photo before the engine. Else, and for what is large, by Pillow. They are at most one of
255 apart in photos, and two in noise.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

try:
    import cykooz_resizer as simd
except ImportError:
    simd = None

MOST_PIXELS = 1_000_000
"""In the box, which is copied. A large JPEG is decoded to less; of other large files decoding is by far the most."""

Box = tuple[float, float, float, float]


def resize(image: Image.Image, size: int, box: Box) -> NDArray[np.uint8]:
    """uint8 (size, size, 3), C-contiguous, of a picture in mode RGB. `box`: left, top, right, bottom, within it."""
    left, top, right, bottom = box
    if simd is None or (right - left) * (bottom - top) > MOST_PIXELS:
        return by_pillow(image, size, box)
    # The filter sees as many pixels beyond its box as it makes into one.
    across, down = (math.ceil(side / size) + 1 for side in (right - left, bottom - top))
    x, y = max(0, int(left) - across), max(0, int(top) - down)
    ends = min(image.width, math.ceil(right) + across), min(image.height, math.ceil(bottom) + down)
    part = image.crop((x, y, *ends))
    pixels = simd.ImageData(part.width, part.height, simd.PixelType.U8x3, part.tobytes())
    small = simd.ImageData(size, size, simd.PixelType.U8x3)
    inner = simd.CropBox(left - x, top - y, right - left, bottom - top)
    bilinear = simd.ResizeAlg.convolution(simd.FilterType.bilinear)
    simd.Resizer().resize(pixels, small, simd.ResizeOptions(bilinear, False, inner))
    return _array(small.get_buffer(), size)


def by_pillow(image: Image.Image, size: int, box: Box) -> NDArray[np.uint8]:
    """`resize` wherever Pillow is."""
    return _array(image.resize((size, size), Image.Resampling.BILINEAR, box=box).tobytes(), size)


def _array(data: bytes, size: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(size, size, 3)
