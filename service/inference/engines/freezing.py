"""Keras model -> frozen TensorFlow graph, for tensorflow.py. Runs in the child process of preparing.py only."""

from pathlib import Path
from typing import Any

from service.inference.predictions import InputSpec

GRAPH, OPTIONS = "graph.pb", "session.pb"
"""A serialised GraphDef with the ends INPUT and OUTPUT, and a serialised ConfigProto."""
INPUT, OUTPUT = "pixels", "scores"
PASSES = ("pruning", "constfold", "arithmetic", "dependency", "remap", "constfold", "pruning")
"""Grappler's passes, run here once so that the server need not: fold constants, drop what is not needed, make
convolution + bias + activation one kernel (remap)."""


def freeze(model: Any, input_spec: InputSpec, folder: Path) -> None:
    """Freeze and optimise a model that takes uint8 pixels; the files go into `folder`."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    pixels = tf.TensorSpec((None, input_spec.size, input_spec.size, 3), tf.uint8, name=INPUT)
    answer = tf.function(
        lambda pixels: tf.identity(model(pixels, training=False), name=OUTPUT), input_signature=[pixels]
    )
    graph = convert_variables_to_constants_v2(answer.get_concrete_function()).graph.as_graph_def()
    (folder / GRAPH).write_bytes(_optimised(graph).SerializeToString())
    (folder / OPTIONS).write_bytes(_session_options())


def _optimised(graph: Any) -> Any:
    """The same GraphDef after Grappler. `remap` wants to know the device, which the server chooses for itself."""
    import tensorflow as tf
    from tensorflow.python.grappler import tf_optimizer

    device = "" if tf.config.list_physical_devices("GPU") else "/device:CPU:0"
    for node in graph.node:
        node.device = device
    wanted = tf.compat.v1.MetaGraphDef(graph_def=graph)
    wanted.collection_def["train_op"].node_list.value.append(OUTPUT)
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
    options.inter_op_parallelism_threads = -1  # each run in its caller's thread, as one chain: +8 % at batch 1
    options.graph_options.place_pruned_graph = True  # keeps one copy of the graph instead of two: -100 MB
    options.experimental.disable_output_partition_graphs = True  # and not a third one for debuggers: -100 MB
    options.graph_options.rewrite_options.disable_meta_optimizer = True  # done already; doing it again takes 0.2 GB
    options.graph_options.optimizer_options.opt_level = tf.compat.v1.OptimizerOptions.L0
    options.gpu_options.allow_growth = True
    serialised: bytes = options.SerializeToString()
    return serialised
