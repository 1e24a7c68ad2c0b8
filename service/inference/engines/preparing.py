"""Keras model -> an engine's own files, in a process of its own: `python -m service.inference.engines.preparing`.

Reads a pickled Preparation (prepared.py) from its parent on standard input. Only here does serving import Keras and
TensorFlow's Python package; all they take goes back to the system when this process ends.
"""

import contextlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import StartError
from service.inference.engines.engine import Scores
from service.inference.engines.prepared import PROBE, REFUSED, Preparation, probe
from service.inference.normalisation import NORMALISATIONS, normalised
from service.inference.predictions import InputSpec


def prepare(preparation: Preparation) -> None:
    """Build, load, ask the probe, fold, and write the runtime's files. StartError when the weights do not fit."""
    model, expected = reference(preparation.build, preparation.weights, preparation.input)
    np.save(preparation.result / PROBE, expected)
    fold_batch_norms(model)
    whole = with_normalisation(model, preparation.input)
    if preparation.runtime == "openvino":
        from service.inference.engines.converting import convert

        convert(whole, preparation.result)
    else:
        from service.inference.engines.freezing import freeze

        freeze(whole, preparation.input, preparation.result)


def reference(build: Callable[[], Any], weights: Path | None, input_spec: InputSpec) -> tuple[Any, Scores]:
    """The Keras model as its authors have it, and its answer to the probe: float32 (2, classes)."""
    import keras

    keras.utils.set_random_seed(0)
    model = build()
    if weights is not None:
        load_weights(model, weights)
    pixels = normalised(probe(input_spec), input_spec.normalisation)
    expected = np.asarray(model(pixels, training=False), np.float32)
    if expected.ndim != 2 or not np.allclose(expected.sum(axis=1), 1, atol=1e-3):  # NaN is not close to anything
        raise StartError(f"With {weights or 'random weights'} the model {model.name} does not answer probabilities.")
    return model, expected


def load_weights(model: Any, weights: Path) -> None:
    """Weights only: a whole saved model could run code (DEPENDENCIES). Raises StartError saying what does not fit."""
    try:
        model.load_weights(weights)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        why = " ".join(str(error).split())[:300]
        raise StartError(
            f"The weights file {weights} does not fit the architecture {model.name}: {why} "
            "Way out: name the architecture it was made for with --model, or another file with --weights. "
            "It must be a Keras weights file, .weights.h5 or .h5."
        ) from error


def fold_batch_norms(model: Any) -> None:
    """Move every batch normalisation that follows a biased convolution into that convolution's weights.

    (k*x + b - mean) * s + beta = (k*s)*x + (b - mean)*s + beta, with s = gamma / sqrt(variance + epsilon). Grappler
    does it only where there is no bias; ResNet50 has biases, and gains 8 %. The model answers the same as before.
    """
    import keras

    for norm in model.layers:
        if type(norm) is not keras.layers.BatchNormalization or not (norm.scale and norm.center):
            continue
        conv = norm.input._keras_history.operation
        if type(conv) is not keras.layers.Conv2D or not conv.use_bias or len(conv._outbound_nodes) != 1:
            continue
        if conv.activation is not keras.activations.linear:
            continue
        kernel, bias = conv.get_weights()
        gamma, beta, mean, variance = norm.get_weights()
        scale = gamma / np.sqrt(variance + norm.epsilon)
        conv.set_weights([kernel * scale, (bias - mean) * scale + beta])
        norm.epsilon = 0.0
        norm.set_weights([np.ones_like(gamma), np.zeros_like(beta), np.zeros_like(mean), np.ones_like(variance)])


def reverse_channels(model: Any) -> bool:
    """Let the model's first convolution read its channels from the last to the first; False where none comes first.

    The same sums, and nobody needs to turn the pixels of every picture from RGB to BGR: 3 % of ResNet50 in int8.
    """
    import keras

    layer = model.layers[0]
    while type(layer) in (keras.layers.InputLayer, keras.layers.ZeroPadding2D) and len(layer._outbound_nodes) == 1:
        layer = layer._outbound_nodes[0].operation
    if type(layer) is not keras.layers.Conv2D or layer.groups != 1 or len(layer._inbound_nodes) != 1:
        return False
    kernel, *bias = layer.get_weights()
    layer.set_weights([kernel[:, :, ::-1], *bias])
    return True


def with_normalisation(model: Any, input_spec: InputSpec) -> Any:
    """The model that takes uint8 (n, size, size, 3) RGB, named `pixels`. Changes `model` where that wants BGR."""
    import keras

    order, factors, offsets = NORMALISATIONS[input_spec.normalisation]
    if order == "BGR" and reverse_channels(model):
        order, factors, offsets = "RGB", factors[::-1], offsets[::-1]
    given = keras.Input((input_spec.size, input_spec.size, 3), dtype="uint8", name="pixels")
    pixels = keras.ops.cast(given, "float32")
    if order == "BGR":
        pixels = keras.ops.flip(pixels, axis=-1)
    if factors != (1, 1, 1):
        pixels = pixels * np.array(factors, np.float32)
    if offsets != (0, 0, 0):
        pixels = pixels + np.array(offsets, np.float32)
    return keras.Model(given, model(pixels, training=False), name=model.name)


def main() -> int:
    """Exit code 0 with the files in place, or REFUSED with the reason on standard output."""
    preparation: Preparation = pickle.load(sys.stdin.buffer)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            prepare(preparation)
    except StartError as error:
        sys.stdout.write(error.detail)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
