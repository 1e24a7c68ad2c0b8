from collections.abc import Sequence

import numpy as np
import pytest

from service.inference.engines.engine import Pixels, Scores
from service.quantization import speed
from service.quantization.speed import BATCHES, ROUNDS, pictures_per_s


class Clocked:
    """An engine that takes `seconds` per picture by a clock of its own, and writes down who ran."""

    name = "clocked"

    def __init__(self, clock: "Clock", seconds: float, log: list[tuple[float, int]]) -> None:
        self._clock, self._seconds, self._log = clock, seconds, log
        self.warmed: list[int] = []

    def load(self) -> None: ...

    def close(self) -> None: ...

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        self.warmed += batch_sizes

    def predict(self, pixels: Pixels) -> Scores:
        self._clock.now += self._seconds * len(pixels)
        self._log.append((self._seconds, len(pixels)))
        return np.zeros((len(pixels), 1), np.float32)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_engines_take_turns_and_their_speed_is_that_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every round has every engine at every batch size, warmed up before."""
    clock, log = Clock(), list[tuple[float, int]]()
    monkeypatch.setattr(speed, "perf_counter", clock)
    slow, fast = Clocked(clock, 0.1, log), Clocked(clock, 0.06, log)
    found = pictures_per_s([slow, fast], np.zeros((16, 8, 8, 3), np.uint8))
    np.testing.assert_allclose(np.array(found), np.array([[10.0] * 3, [1 / 0.06] * 3]))
    assert slow.warmed == fast.warmed == list(BATCHES)
    assert log == [(seconds, n) for n in BATCHES for seconds in (0.1, 0.06)] * ROUNDS
