"""Fakes for the tests, and only for them."""

import threading
from collections.abc import Sequence

import numpy as np

from service.inference.engines.engine import Pixels, Scores


class GatedEngine:
    """An engine whose batches wait at a gate. Scores are a function of the pixels, so that each row can be checked.

    The probability of class i grows with the mean of channel i % 3; `batches` records what was computed.
    """

    name = "gated"

    def __init__(self, classes: int = 10, *, open_gate: bool = True) -> None:
        self.classes = classes
        self.gate = threading.Event()
        self.slow_gate = threading.Event()  # for batches of more than one
        self.slow_gate.set()
        self.batches: list[Pixels] = []
        self.warmed: list[int] = []
        self.closed = False
        self.fail_when: int | None = None
        if open_gate:
            self.gate.set()

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        self.warmed.extend(batch_sizes)

    def predict(self, pixels: Pixels) -> Scores:
        if not pixels.any():  # a black picture is the worker's own look at a model: neither gated nor recorded
            return self.scores(pixels)
        self.gate.wait()
        self.batches.append(pixels)
        if len(pixels) > 1:
            self.slow_gate.wait()
        if self.fail_when is not None and (pixels[:, 0, 0, 0] == self.fail_when).any():
            raise RuntimeError("poison")
        return self.scores(pixels)

    def scores(self, pixels: Pixels) -> Scores:
        """What it answers to these."""
        means = pixels.mean(axis=(1, 2)) / 255
        logits = np.stack([means[:, i % 3] * (1 + i) for i in range(self.classes)], axis=1).astype(np.float64)
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exp / exp.sum(axis=1, keepdims=True), dtype=np.float32)

    def close(self) -> None:
        self.closed = True
