"""Keras model -> frozen graph, in a process of its own: `python -m service.inference.engines.freezing`.

Reads a pickled Freezing (frozen.py) from its parent on standard input. Only here does serving import Keras and
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
from service.inference.engines.frozen import REFUSED, Freezing, FrozenGraph, probe
from service.inference.predictions import InputSpec

PASSES = ("pruning", "constfold", "arithmetic", "dependency", "remap", "constfold", "pruning")
"""Grappler's passes, run here once so that the server need not: fold constants, drop what is not needed, make
convolution + bias + activation one kernel (remap)."""


def freeze(build: Callable[[], Any], weights: Path | None, input_spec: InputSpec) -> FrozenGraph:
    """Build, load, ask the probe, fold, freeze, optimise. Raises StartError when the weights do not fit."""
    import keras

    keras.utils.set_random_seed(0)
    model = build()
    if weights is not None:
        load_weights(model, weights)
    expected = np.asarray(model(probe(input_spec), training=False), np.float32)
    if expected.ndim != 2 or not np.allclose(expected.sum(axis=1), 1, atol=1e-3):  # NaN is not close to anything
        raise StartError(f"With {weights or 'random weights'} the model {model.name} does not answer probabilities.")
    fold_batch_norms(model)
    graph, output = _as_graph(model, input_spec)
    return FrozenGraph(
        graph=np.frombuffer(_optimised(graph, output).SerializeToString(), np.uint8),
        options=_session_options(),
        input="pixels",
        output=output,
        probe_scores=expected,
    )


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


def _as_graph(model: Any, input_spec: InputSpec) -> tuple[Any, str]:
    """The model's GraphDef with constants for variables and a free batch dimension, and its output's name."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    pixels = tf.TensorSpec((None, input_spec.size, input_spec.size, 3), tf.float32, name="pixels")
    answer = tf.function(lambda pixels: model(pixels, training=False), input_signature=[pixels])
    frozen = convert_variables_to_constants_v2(answer.get_concrete_function())
    return frozen.graph.as_graph_def(), frozen.outputs[0].op.name


def _optimised(graph: Any, output: str) -> Any:
    """The same GraphDef after Grappler. `remap` wants to know the device, which the server chooses for itself."""
    import tensorflow as tf
    from tensorflow.python.grappler import tf_optimizer

    device = "" if tf.config.list_physical_devices("GPU") else "/device:CPU:0"
    for node in graph.node:
        node.device = device
    wanted = tf.compat.v1.MetaGraphDef(graph_def=graph)
    wanted.collection_def["train_op"].node_list.value.append(output)
    options = tf.compat.v1.ConfigProto()
    options.graph_options.rewrite_options.optimizers.extend(PASSES)
    options.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs too
    optimised = tf_optimizer.OptimizeGraph(options, wanted)
    for node in optimised.node:
        node.device = ""
    return optimised


def _session_options() -> bytes:
    """A serialised ConfigProto for a server that wants speed from one thread and one copy of the weights."""
    import tensorflow as tf

    options = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    options.inter_op_parallelism_threads = 1  # one chain of operations; each uses all cores. +8 % at batch 1
    options.graph_options.place_pruned_graph = True  # keeps one copy of the graph instead of two: -100 MB
    options.experimental.disable_output_partition_graphs = True  # and not a third one for debuggers: -100 MB
    options.graph_options.rewrite_options.disable_meta_optimizer = True  # done already; doing it again takes 0.2 GB
    options.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    options.gpu_options.allow_growth = True
    serialised: bytes = options.SerializeToString()
    return serialised


def main() -> int:
    """Exit code 0 with the file in place, or REFUSED with the reason on standard output."""
    freezing: Freezing = pickle.load(sys.stdin.buffer)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            freeze(freezing.build, freezing.weights, freezing.input).write(freezing.result)
    except StartError as error:
        sys.stdout.write(error.detail)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
