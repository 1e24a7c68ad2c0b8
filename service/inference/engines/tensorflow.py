"""The reference engine: TensorFlow on the CPU (or a GPU when it sees one), from a frozen graph.

Keras never enters the serving process. A short-lived child builds the model, loads its weights and freezes it
(freezing.py); the files it leaves are kept (prepared.py) and run through TensorFlow's C API (tensorflow_c.py).
So the whole service stays under 1 GB, where a frozen graph beside its Keras model takes 2.8: perf/RESULTS.md.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from service.errors import StartError
from service.inference.engines.engine import TOLERANCE, Pixels, Scores
from service.inference.engines.freezing import GRAPH, INPUT, OPTIONS, OUTPUT
from service.inference.engines.prepared import probe, probe_scores
from service.inference.engines.tensorflow_c import GraphSession
from service.inference.predictions import InputSpec
from service.memory import forget_pages, give_memory_back


class TensorFlowEngine:
    """Runs the prepared model that `prepared` finds or makes: graph.pb, session.pb, probe.npy in a folder."""

    name = "tensorflow"

    def __init__(self, prepared: Callable[[], Path], input_spec: InputSpec, *, parts: int = 2) -> None:
        """`parts` of a batch are computed side by side: 2 suit a CPU (one part's small operations fill the other's
        gaps, and a core taken by somebody else holds up only one), 1 a GPU."""
        self._prepared = prepared
        self._input = input_spec
        self._parts = parts
        self._threads = ThreadPoolExecutor(parts, thread_name_prefix="tensorflow")
        self._session: GraphSession | None = None

    def load(self) -> None:
        """Open the prepared model, then compare a probe with plain Keras. Raises StartError."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        folder = self._prepared()
        try:
            self._session = GraphSession(
                np.fromfile(folder / GRAPH, np.uint8), (folder / OPTIONS).read_bytes(), INPUT, OUTPUT
            )
            apart = float(np.abs(self.predict(probe(self._input)) - probe_scores(folder)).max())
        except (RuntimeError, OSError, ValueError) as error:
            raise StartError(f"TensorFlow cannot run the model: {error}") from error
        if not apart <= TOLERANCE:  # NaN is refused too
            raise StartError(
                f"The frozen model is {apart:.2g} away from plain Keras; at most {TOLERANCE:g} is allowed. "
                f"Delete {folder} and start again; if it stays, this machine's TensorFlow is at fault."
            )
        forget_pages("libtensorflow")
        give_memory_back()

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """oneDNN plans each batch size when it first meets it (up to 0.2 s)."""
        for n in batch_sizes:
            self.predict(np.zeros((n, self._input.size, self._input.size, 3), np.uint8))
        give_memory_back()

    def predict(self, pixels: Pixels) -> Scores:
        """uint8 (n, size, size, 3) -> float32 (n, classes). RuntimeError with TensorFlow's words if it fails."""
        if self._session is None:
            raise RuntimeError("predict() before load() or after close()")
        if len(pixels) < 2 * self._parts:
            return self._session.run(pixels)
        return np.concatenate(list(self._threads.map(self._session.run, np.array_split(pixels, self._parts))))

    def close(self) -> None:
        """Close the session. Twice is once."""
        self._threads.shutdown()
        if self._session is not None:
            self._session.close()
            self._session = None
            give_memory_back()
