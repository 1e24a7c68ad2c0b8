"""How each architecture wants its pixels: from uint8 RGB to what its first layer sees. One table for all engines."""

import numpy as np
from numpy.typing import NDArray

from service.inference.predictions import Normalisation

Scale = tuple[str, tuple[float, float, float], tuple[float, float, float]]

NORMALISATIONS: dict[Normalisation, Scale] = {
    # channel order, factors, offsets: as keras.applications.imagenet_utils.preprocess_input
    "caffe": ("BGR", (1, 1, 1), (-103.939, -116.779, -123.68)),
    "tf": ("RGB", (1 / 127.5,) * 3, (-1, -1, -1)),
    "torch": (
        "RGB",
        (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
        (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
    ),
    "raw": ("RGB", (1, 1, 1), (0, 0, 0)),
    "unit": ("RGB", (1 / 255,) * 3, (0, 0, 0)),
}


def normalised(pixels: NDArray[np.uint8], name: Normalisation) -> NDArray[np.float32]:
    """uint8 (..., 3) RGB -> float32 of the same shape, as the engines' graphs do it."""
    order, factors, offsets = NORMALISATIONS[name]
    ordered = pixels[..., ::-1] if order == "BGR" else pixels
    return ordered.astype(np.float32) * np.array(factors, np.float32) + np.array(offsets, np.float32)
