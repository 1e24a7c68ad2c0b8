"""The reference engine: TensorFlow on the CPU (or a GPU when it sees one), from a frozen graph.

Keras never enters the serving process. A short-lived child builds the model, loads its weights and freezes it
(freezing.py); the file it leaves is kept (frozen.py) and run through TensorFlow's C API (tensorflow_c.py).
So the whole service stays under 1 GB, where a frozen graph beside its Keras model takes 2.8: perf/RESULTS.md.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import StartError
from service.inference.engines.engine import Pixels, Scores
from service.inference.engines.frozen import freeze_once, probe
from service.inference.engines.tensorflow_c import GraphSession, forget_pages, give_memory_back
from service.inference.predictions import InputSpec

TOLERANCE = 1e-4
"""How far a probability may be from plain Keras, as ARCHITECTURE's engine contract has it."""


class TensorFlowEngine:
    """Runs what `build` makes, with `weights` loaded into it (None: random ones, seeded with 0).

    `build` takes nothing, returns a Keras model that ends in probabilities, and is a module's own function (or a
    partial of one), because another process calls it. `cache` is the folder that keeps the frozen graphs.
    """

    name = "tensorflow"

    def __init__(self, build: Callable[[], Any], weights: Path | None, input_spec: InputSpec, *, cache: Path) -> None:
        self._build = build
        self._weights = weights
        self._input = input_spec
        self._cache = cache
        self._session: GraphSession | None = None

    def load(self) -> None:
        """Freeze the model, or take it from the cache; then compare a probe with plain Keras. Raises StartError."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        frozen = freeze_once(self._build, self._weights, self._input, self._cache)
        try:
            self._session = GraphSession(frozen.graph, frozen.options, frozen.input, frozen.output)
            apart = float(np.abs(self.predict(probe(self._input)) - frozen.probe_scores).max())
        except (RuntimeError, OSError) as error:
            raise StartError(f"TensorFlow cannot run the model: {error}") from error
        if not apart <= TOLERANCE:  # NaN is refused too
            raise StartError(
                f"The frozen model is {apart:.2g} away from plain Keras; at most {TOLERANCE:g} is allowed. "
                f"Delete {self._cache} and start again; if it stays, this machine's TensorFlow is at fault."
            )
        del frozen
        forget_pages()
        give_memory_back()

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """oneDNN plans each batch size when it first meets it (up to 0.2 s)."""
        for n in batch_sizes:
            self.predict(np.zeros((n, self._input.size, self._input.size, 3), np.float32))
        give_memory_back()

    def predict(self, pixels: Pixels) -> Scores:
        """float32 (n, size, size, 3) -> float32 (n, classes). RuntimeError with TensorFlow's words if it fails."""
        if self._session is None:
            raise RuntimeError("predict() before load() or after close()")
        return self._session.run(pixels)

    def close(self) -> None:
        """Close the session. Twice is once."""
        if self._session is not None:
            self._session.close()
            self._session = None
            give_memory_back()
