from typing import Any

import numpy as np
import pytest

from service.inference.engines.converting import pad_in_pooling
from service.inference.engines.preparing import reverse_channels, with_normalisation
from service.inference.normalisation import normalised
from service.inference.predictions import InputSpec

openvino: Any = pytest.importorskip("openvino")


def pooled(
    *, around: int = 1, fill: float = 0.0, positive: bool = True, channels: int = 0, mode: str = "constant"
) -> Any:
    """A max pooling of 3 by 3 over what a Pad makes of a picture, behind a ReLU or not."""
    ops = openvino.opset13
    picture = ops.parameter([-1, 3, 8, 8], np.float32)
    padding = ops.constant([0, channels, around, around])
    given = ops.relu(picture) if positive else picture
    padded = ops.pad(given, padding, padding, mode, ops.constant(np.float32(fill)))
    return openvino.Model(
        [ops.max_pool(padded, [2, 2], [1, 1], [0, 0], [0, 0], [3, 3], "floor", "valid").output(0)], [picture]
    )


def answer(model: Any) -> Any:
    """Of pictures with numbers below zero too."""
    pictures = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    return openvino.compile_model(model, "CPU")(pictures)[0]


def kinds(model: Any) -> set[str]:
    return {node.get_type_name() for node in model.get_ops()}


@pytest.mark.parametrize("around", [1, 2])
def test_zeros_after_a_relu_move_into_the_pooling(around: int) -> None:
    """The Pad is gone and every number is what it was."""
    model, expected = pooled(around=around), answer(pooled(around=around))
    pad_in_pooling(model)
    assert "Pad" not in kinds(model)
    np.testing.assert_array_equal(answer(model), expected)


@pytest.mark.parametrize(
    "other",
    [
        {"positive": False},
        {"fill": 1.0},
        {"fill": -1.0},
        {"around": 3},
        {"channels": 1},
        {"mode": "edge"},
        {"around": -1},
    ],
    ids=str,
)
def test_any_other_padding_stays(other: dict[str, Any]) -> None:
    """What a pooling's own padding would answer differently is left as it is."""
    model, expected = pooled(**other), answer(pooled(**other))
    pad_in_pooling(model)
    assert "Pad" in kinds(model)
    np.testing.assert_array_equal(answer(model), expected)


@pytest.mark.slow  # starts Keras
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15 on NumPy 2
@pytest.mark.parametrize("first", ["Conv2D", "DepthwiseConv2D"])
def test_pixels_are_turned_to_bgr_only_where_no_convolution_can_do_it(first: str) -> None:
    """Both ways the model answers what it answers to normalised BGR."""
    keras: Any = pytest.importorskip("keras")
    spec = InputSpec(8, "caffe")
    given = keras.Input((8, 8, 3))
    layer = keras.layers.Conv2D(4, 3) if first == "Conv2D" else keras.layers.DepthwiseConv2D(3)
    model = keras.Model(given, layer(keras.layers.ZeroPadding2D()(given)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    expected = np.asarray(model(normalised(pixels, "caffe")))
    np.testing.assert_allclose(np.asarray(with_normalisation(model, spec)(pixels)), expected, rtol=1e-4, atol=1e-3)
    assert reverse_channels(model) == (first == "Conv2D")
