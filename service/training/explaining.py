"""What a model looks at: activation maps, augmented pictures, and Grad-CAM for one answer. All as PNG.

`python -P -m service.training.explaining` answers one pickled Question from its parent with a PNG on standard output.
"""

import io
import json
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.cores import BESIDE
from service.files import replace_file
from service.inference.normalisation import normalised
from service.inference.predictions import InputSpec
from service.models.architectures import input_of
from service.training.augmentation import augmentation
from service.training.beginnings import FEATURES
from service.training.orders import Order

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
MAPPED = 3
"""Pictures with activation maps."""
MAPPED_LAYERS, CHANNELS = 5, 8
"""The last layers of so many sizes of map, and the channels of each that answer most."""
SHEET_PICTURES, VARIANTS = 4, 7
TILE, GAP = 112, 4
"""Pixels of a picture in a sheet, and between two."""


@dataclass(frozen=True)
class Question:
    """Where did the model look for class `label`? `pixels`: uint8 (size, size, 3). `build` travels by name, see pickle;
    `weights` None: random ones."""

    build: Callable[[], Any]
    weights: Path | None
    input: InputSpec
    pixels: Pixels
    label: int


def draw_sheets(model: Any, order: Order, pixels: Pixels, train: NDArray[np.int64], test: NDArray[np.int64],
                folder: Path) -> None:  # fmt: skip
    """augmentation.png (when pictures are augmented), map-1.png to map-3.png of test pictures, and maps.json, which
    says which pictures and layers these show. Raises OSError."""
    if order.augment:
        replace_file(folder / "augmentation.png", draw_augmentation(pixels[_spread(train, SHEET_PICTURES)], order))
    chosen = _spread(test, MAPPED)
    layers = mapped_layers(model)
    for number, row in enumerate(chosen, 1):
        replace_file(folder / f"map-{number}.png", draw_maps(model, layers, pixels[row], order))
    shown = [{"name": layer.name, "shape": list(layer.output.shape[1:])} for layer in layers]
    replace_file(folder / "maps.json", json.dumps({"samples": chosen.tolist(), "layers": shown}).encode())


def draw_augmentation(pixels: Pixels, order: Order) -> bytes:
    """A row for each picture: as it is, then as it is learned from."""
    import keras

    layers = keras.Sequential(augmentation(order.seed))
    rows = []
    for one in pixels:
        variants = np.asarray(layers(np.repeat(one[None].astype(np.float32), VARIANTS, axis=0), training=True))
        rows.append([one, *np.clip(variants, 0, 255).astype(np.uint8)])
    return sheet(rows)


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """So many of them, from first to last: of several classes."""
    return np.asarray(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)])


def mapped_layers(model: Any) -> list[Any]:
    """Of the backbone, the last layer of each size of map; the last few of these."""
    import keras

    last = {}
    for layer in model.layers[1 : [layer.name for layer in model.layers].index(FEATURES)]:
        if len(layer.output.shape) == 4 and not isinstance(layer, keras.layers.ZeroPadding2D):
            last[layer.output.shape[1]] = layer
    return list(last.values())[-MAPPED_LAYERS:]


def draw_maps(model: Any, layers: Sequence[Any], pixels: Pixels, order: Order) -> bytes:
    """A row for each layer: the picture under the mean of its maps, then the channels that answer most."""
    import keras

    looks = keras.Model(model.inputs[0], [layer.output for layer in layers])
    found = looks(normalised(pixels[None], input_of(order.recipe(1)).normalisation), training=False)
    return sheet([_row(np.asarray(maps)[0], pixels) for maps in (found if isinstance(found, list) else [found])])


def _row(maps: Floats, pixels: Pixels) -> list[Pixels]:
    strongest = np.argsort(-maps.mean(axis=(0, 1)))[:CHANNELS]
    grey = [
        np.repeat((_stretched(maps[..., channel]) * 255).astype(np.uint8)[..., None], 3, 2) for channel in strongest
    ]
    return [overlaid(pixels, _stretched(maps.mean(axis=2))), *grey]


def _stretched(map: Floats) -> Floats:
    """To [0, 1]."""
    low, high = float(map.min()), float(map.max())
    return (map - low) / (high - low) if high > low else np.zeros_like(map)


def grad_cam(model: Any, inputs: Floats, label: int) -> Floats:
    """Where class `label` was seen: float32 (h, w) in [0, 1], as large as the last maps. `inputs`: (1, size, size, 3).

    Selvaraju et al., https://arxiv.org/abs/1610.02391: the last maps, weighted by the mean gradient of the class's
    score before the softmax, and only what speaks for it. All our networks end in mean pooling and dense layers, whose
    gradient is the product of their weights where the units between are awake.
    """
    import keras

    names = [type(layer) for layer in model.layers]
    pooling = len(names) - 1 - names[::-1].index(keras.layers.GlobalAveragePooling2D)
    maps = np.asarray(keras.Model(model.inputs[0], model.layers[pooling].input)(inputs, training=False))[0]
    kernels, awake, answer = [], [], maps.mean(axis=(0, 1))
    for layer in model.layers[pooling + 1 :]:
        if isinstance(layer, keras.layers.Dense):
            kernel, bias = layer.get_weights()
            answer = np.maximum(answer @ kernel + bias, 0)
            kernels.append(kernel)
            awake.append(answer > 0)
    gradient = kernels[-1][:, label]
    for kernel, units in zip(kernels[-2::-1], awake[-2::-1], strict=True):
        gradient = kernel @ (gradient * units)
    heat = np.maximum(maps @ gradient, 0)
    return np.asarray(heat / heat.max() if heat.max() > 0 else heat, np.float32)


def overlaid(pixels: Pixels, heat: Floats) -> Pixels:
    """The picture in grey, the hot places in colour: dark red to yellow. `heat` (h, w) in [0, 1]."""
    size = (pixels.shape[1], pixels.shape[0])
    wide = Image.fromarray((heat * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    hot = np.asarray(wide, np.float32)[..., None] / 255
    colour = np.concatenate([np.minimum(1, 0.5 + hot), np.maximum(0, 2 * hot - 1), 0 * hot], axis=2) * 255
    grey = pixels.mean(axis=2, keepdims=True)
    return np.asarray(np.clip(grey * (1 - 0.65 * hot) + colour * 0.65 * hot, 0, 255), np.uint8)


def sheet(rows: Sequence[Sequence[Pixels]]) -> bytes:
    """Pictures in rows and columns, as a PNG with a transparent ground."""
    columns = max(len(row) for row in rows)
    whole = Image.new("RGBA", (columns * (TILE + GAP) - GAP, len(rows) * (TILE + GAP) - GAP), (0, 0, 0, 0))
    for down, row in enumerate(rows):
        for across, pixels in enumerate(row):
            tile = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BILINEAR)
            whole.paste(tile, (across * (TILE + GAP), down * (TILE + GAP)))
    return _png(whole)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def answer(question: Question) -> bytes:
    """The picture with where the model looked, as a PNG. Raises StartError when the weights do not fit."""
    from service.inference.engines.preparing import load_weights

    model = question.build()
    if question.weights is not None:
        load_weights(model, question.weights)
    heat = grad_cam(model, normalised(question.pixels[None], question.input.normalisation), question.label)
    return _png(Image.fromarray(overlaid(question.pixels, heat)))


def main() -> int:
    """Exit code 0 with the PNG on standard output; else what went wrong is on standard error."""
    os.nice(BESIDE)
    png = answer(pickle.load(sys.stdin.buffer))
    sys.stdout.buffer.write(png)
    return 0


if __name__ == "__main__":
    sys.exit(main())
