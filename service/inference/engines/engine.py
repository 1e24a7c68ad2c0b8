"""The engine's contract: what a runtime must do to be served. Knows no runtime."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""uint8 (n, h, w, 3), RGB. The engine normalises them itself, inside its graph."""
Scores = NDArray[np.float32]
"""float32 (n, classes), probabilities."""

TOLERANCE = 1e-4
"""How far a float32 engine's probability may be from plain Keras."""


class Engine(Protocol):
    """Blocking, called from one thread only, in this order: load, warm_up, predict any number of times, close."""

    @property
    def name(self) -> str:
        """`tensorflow`, `openvino`, ..."""

    def load(self) -> None:
        """Bring the model into memory. Raises StartError when its files cannot be used."""

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run every batch size that can occur once, so that the first client does not pay for it."""

    def predict(self, pixels: Pixels) -> Scores:
        """uint8 (n, h, w, 3) -> float32 (n, classes) probabilities, one row per picture, n >= 1."""

    def close(self) -> None:
        """Give the memory back. Nothing is called after this."""


class Begun(Protocol):
    """A batch that an engine computes by itself."""

    def wait(self, seconds: float) -> bool:
        """Whether it is done, after at most so long."""

    def scores(self) -> Scores:
        """Those of `predict`, once they are there. To be asked once."""


@runtime_checkable
class EarlyEngine(Engine, Protocol):
    """One that can be given a batch while it computes the one before: it goes from one to the other without us."""

    def begin(self, pixels: Pixels) -> Begun:
        """`predict` in two steps. Called from the same thread."""
