"""The table of normalisations, against Keras and by hand."""

import numpy as np
import pytest

from service.inference.normalisation import normalised
from service.inference.predictions import Normalisation


@pytest.mark.parametrize("name", ["caffe", "tf", "torch"])
@pytest.mark.slow  # imports Keras
def test_normalisation_is_keras(name: Normalisation) -> None:
    """All 256 values of all channels are those of keras.applications' preprocess_input."""
    keras = pytest.importorskip("keras")
    ramp = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) // 2], axis=-1).astype(np.uint8)
    picture = ramp.reshape(16, 16, 3)
    expected = keras.applications.imagenet_utils.preprocess_input(
        picture.astype(np.float32), mode=name, data_format="channels_last"
    )
    np.testing.assert_allclose(normalised(picture, name), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("raw", [255, 0, 51]),
        ("unit", [1, 0, 0.2]),
        ("tf", [1, -1, -0.6]),
        ("caffe", [51 - 103.939, -116.779, 255 - 123.68]),
        ("torch", [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]),
    ],
)
def test_normalisations(name: Normalisation, expected: list[float]) -> None:
    """Each named normalisation, on one colour."""
    picture = np.full((8, 8, 3), (255, 0, 51), np.uint8)
    tensor = normalised(picture, name)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor, np.broadcast_to(expected, (8, 8, 3)), rtol=0, atol=1e-5)
