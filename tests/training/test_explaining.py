"""What a model looks at, with real Keras."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.inference.normalisation import normalised
from service.models.architectures import ARCHITECTURES, Recipe, build_trained
from service.models.served import DEMO
from service.training.explaining import (
    CHANNELS,
    GAP,
    SHEET_PICTURES,
    TILE,
    VARIANTS,
    Question,
    answer,
    draw_sheets,
    grad_cam,
    overlaid,
    sheet,
)
from service.training.orders import Order


def noise(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def by_the_paper(model: Any, inputs: Any, label: int) -> Any:
    """Grad-CAM with TensorFlow's own gradient of the score before the softmax."""
    import keras
    import tensorflow as tf

    at = [type(layer) for layer in model.layers].index(keras.layers.GlobalAveragePooling2D)
    found = tf.Variable(keras.Model(model.inputs[0], model.layers[at].input)(inputs, training=False))
    with tf.GradientTape() as tape:
        rest = found
        for layer in model.layers[at:-1]:
            rest = layer(rest, training=False)
        kernel, bias = model.layers[-1].get_weights()
        score = (rest @ kernel + bias)[0, label]
    maps, gradient = found.numpy()[0], tape.gradient(score, found).numpy()[0]
    heat = np.maximum(maps @ gradient.mean(axis=(0, 1)), 0)
    return heat / max(heat.max(), 1e-9)  # nothing speaks for some classes


@pytest.mark.slow
@pytest.mark.parametrize("dense", [0, 16])
def test_grad_cam_is_what_the_paper_says(dense: int) -> None:
    """Without asking TensorFlow for a gradient; with and without a layer between the pooling and the answer."""
    import keras

    keras.utils.set_random_seed(0)
    model = build_trained(Recipe("cnn", 3, size=32, dense=dense))
    inputs = normalised(noise(1), "unit")
    found = [grad_cam(model, inputs, label) for label in range(3)]
    assert any(heat.max() == 1 for heat in found)
    for label, heat in enumerate(found):
        np.testing.assert_allclose(heat, by_the_paper(model, inputs, label), atol=1e-5)


@pytest.mark.slow
def test_a_question_is_answered_with_the_picture() -> None:
    """Of any architecture and weights: here the demo model's."""
    demo = ARCHITECTURES["demo"]
    pixels = noise(1)[0]
    png = answer(Question(demo.build, DEMO / "demo.weights.h5", demo.input, pixels, 3))
    shown = np.asarray(Image.open(io.BytesIO(png)))
    assert shown.shape == pixels.shape
    assert shown.std(axis=2).max() > 20  # grey, but for the hot places


@pytest.mark.slow
def test_sheets_show_augmentation_and_maps(tmp_path: Path) -> None:
    """Rows and columns as promised; maps.json tells whose they are."""
    order = Order(name="pets", source="pets", backbone="cnn", size=32, augment=True)
    model = build_trained(order.recipe(3))
    draw_sheets(model, order, noise(20), np.arange(12), np.arange(12, 20), tmp_path)
    told = json.loads((tmp_path / "maps.json").read_bytes())
    assert told["samples"] == [12, 15, 19]
    assert [layer["shape"][0] for layer in told["layers"]] == [32, 16, 8, 4]
    assert size(tmp_path / "augmentation.png") == sized(columns=1 + VARIANTS, rows=SHEET_PICTURES)
    for number in (1, 2, 3):
        assert size(tmp_path / f"map-{number}.png") == sized(columns=1 + CHANNELS, rows=4)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def sized(*, columns: int, rows: int) -> tuple[int, int]:
    return columns * (TILE + GAP) - GAP, rows * (TILE + GAP) - GAP


def test_only_hot_places_are_coloured() -> None:
    """The cold half of the picture stays grey."""
    heat = np.zeros((4, 4), np.float32)
    heat[:, :1] = 1
    shown = overlaid(noise(1)[0], heat).astype(int)
    assert np.ptp(shown[:, -8:], axis=2).max() == 0
    assert (shown[:, :4, 0] > shown[:, :4, 2]).all()


def test_a_sheet_takes_rows_of_different_length() -> None:
    """What is missing is transparent."""
    shown = Image.open(io.BytesIO(sheet([list(noise(2)), list(noise(1))])))
    assert shown.size == sized(columns=2, rows=2)
    assert shown.convert("RGBA").getpixel((shown.width - 1, shown.height - 1)) == (0, 0, 0, 0)
