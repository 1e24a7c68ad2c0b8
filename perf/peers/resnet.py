"""The model and the pictures as every peer uses them: one frozen ResNet50, one way to decode, one answer.

Runs in each peer's own environment: needs Pillow, numpy and TensorFlow, nothing of Glimt.

    python -m perf.peers.resnet GRAPH    # freeze the Keras model into a file, once for all servers

What a server needs comes by environment: PEER_GRAPH (that file), PEER_COMPUTED (a file that gets one line with the
number of pictures for each batch computed), for those with a choice PEER_WORKERS and PEER_THREADS, and PEER_PLAIN for
the ordinary way to resize and to open a session, without what Glimt found out about either.
"""

import os
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 224
SHORTER_SIDE = 256
TOP = 5
MAX_BATCH = 16
WINDOW_MS = 5
PLAIN = bool(os.environ.get("PEER_PLAIN"))
ENDS = ("pixels:0", "Identity:0")
LABELS = [
    line.split("\t")[2]
    for line in (Path(__file__).parents[2] / "service/models/imagenet_classes.tsv").read_text().splitlines()[1:]
]

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def workers(default: int) -> int:
    """Processes with a model, as PEER_WORKERS says."""
    return int(os.environ.get("PEER_WORKERS", default))


def decode(data: bytes) -> Pixels:
    """JPEG bytes -> uint8 (224, 224, 3) RGB: shorter side to 256, middle 224, bilinear, in one resize as Glimt does."""
    picture = Image.open(BytesIO(data)).convert("RGB")
    if PLAIN:
        return resized_then_cropped(picture)
    scale = min(picture.size) / SHORTER_SIDE
    width, height = int(picture.width / scale), int(picture.height / scale)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    across, down = picture.width / width, picture.height / height
    box = (left * across, top * down, (left + SIZE) * across, (top + SIZE) * down)
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))


def resized_then_cropped(picture: Image.Image) -> Pixels:
    """The same picture in two steps, as most code has it."""
    scale = SHORTER_SIDE / min(picture.size)
    whole = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.Resampling.BILINEAR)
    left, top = round((whole.width - SIZE) / 2), round((whole.height - SIZE) / 2)
    return np.asarray(whole.crop((left, top, left + SIZE, top + SIZE)))


def answer(scores: Scores) -> dict[str, Any]:
    """float32 (1000,) -> the JSON document: the five best, best first."""
    best = np.argsort(scores)[::-1][:TOP]
    return {
        "predictions": [
            {"index": int(index), "label": LABELS[index], "score": round(float(scores[index]), 6)} for index in best
        ]
    }


def count(pictures: int) -> None:
    """Note that a batch was computed. One short write to a file opened for appending is never torn or lost."""
    if path := os.environ.get("PEER_COMPUTED"):
        with Path(path).open("ab", buffering=0) as file:
            file.write(b"%d\n" % pictures)


def keras_model() -> Any:
    """ResNet50 with the weights Glimt's `--weights random` has, and caffe preprocessing of RGB inside."""
    import keras

    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    model = keras.applications.ResNet50(weights=None)
    prepared = keras.applications.resnet50.preprocess_input(keras.ops.cast(pixels, "float32"))
    return keras.Model(pixels, model(prepared, training=False))


def freeze(path: Path) -> None:
    """Write the model as a GraphDef with constants for variables, uint8 (n, 224, 224, 3) in, probabilities out."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = keras_model()
    pixels = tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8, name="pixels")
    function = tf.function(lambda pixels: model(pixels, training=False), input_signature=[pixels])
    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    assert (frozen.inputs[0].name, frozen.outputs[0].name) == ENDS
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())


class Frozen:
    """The frozen graph as a function of a batch. `threads` compute one batch; None leaves the choice to TensorFlow.

    A session, not tf.compat.v1.wrap_function: the same kernels at the same speed with 600 MB less.
    """

    def __init__(self, threads: int | None = None) -> None:
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            file = Path(os.environ["PEER_GRAPH"]).read_bytes()
            tf.import_graph_def(tf.compat.v1.GraphDef.FromString(file), name="")
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=int(os.environ.get("PEER_THREADS", threads or 0)),
            inter_op_parallelism_threads=0 if PLAIN else 1,  # 1: there is one chain of operations
        )
        session = tf.compat.v1.Session(graph=graph, config=config)
        self._run: Callable[[Pixels], Scores] = session.make_callable(ENDS[1], [ENDS[0]])
        for size in (1, MAX_BATCH):  # the first run of a size plans it
            self._run(np.zeros((size, SIZE, SIZE, 3), np.uint8))

    def __call__(self, pictures: Sequence[Pixels] | Pixels) -> Scores:
        """n pictures -> float32 (n, 1000) probabilities."""
        scores = self._run(np.asarray(pictures))
        count(len(scores))
        return scores


if __name__ == "__main__":
    freeze(Path(sys.argv[1]))
