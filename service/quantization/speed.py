"""How fast engines are beside each other: interleaved, because a shared machine's speed drifts."""

from collections.abc import Sequence
from statistics import median
from time import perf_counter

from service.inference.engines.engine import Engine, Pixels

BATCHES = (1, 8, 16)
ROUNDS = 7
LEAST_S = 0.05
"""Of one reading: a small model's batch takes less than the clock and the scheduler disturb it."""


def pictures_per_s(engines: Sequence[Engine], pictures: Pixels) -> list[tuple[float, ...]]:
    """Of each loaded engine, at each of BATCHES: the median of ROUNDS in which all take turns. >= 16 pictures."""
    for engine in engines:
        engine.warm_up(BATCHES)
    readings = [[[_per_s(engine, pictures[:n]) for engine in engines] for n in BATCHES] for _ in range(ROUNDS)]
    return [
        tuple(median(reading[size][engine] for reading in readings) for size in range(len(BATCHES)))
        for engine in range(len(engines))
    ]


def _per_s(engine: Engine, batch: Pixels) -> float:
    times, began = 0, perf_counter()
    while (spent := perf_counter() - began) < LEAST_S:
        engine.predict(batch)
        times += 1
    return times * len(batch) / spent
