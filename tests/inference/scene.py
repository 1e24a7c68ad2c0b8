"""The scene in question, and what decode makes of a file of it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.inference.images import Limits, decode
from service.inference.predictions import InputSpec
from tests.faults.damage import scene

LIMITS = Limits(max_bytes=20 * 1024 * 1024, max_pixels=50_000_000)
RAW = InputSpec(224, "raw")
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
