"""How long a batch of n takes on this machine, and what follows for the largest batch and the window.

Measured once at warm-up and kept beside the prepared model; `glimt doctor` prints it.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from service.cores import usable_cores
from service.inference.batches import CurvePoint
from service.inference.engines.prepared import version_of
from service.inference.predictions import ModelInfo

Curve = tuple[CurvePoint, ...]

STALE = 2.0
"""A kept curve is measured anew when one item takes that many times as long as it says, or that much less."""
SIZES = (1, 2, 4, 8, 16, 32, 64)
ENOUGH = 8
"""Sizes up to here are always measured; beyond, only while doubling still pays."""
WORTH = 1.03
"""What a larger batch must gain in pictures per second: less is within the noise, and waits for nothing."""
RUNS = 3
"""Timed runs of each size, up to ENOUGH in turns; the fastest counts, because others can only disturb it."""
BATCH_COST_MS = 5.0
"""What a batch costs under load beside the engine's own time (thread hops, its threads falling asleep and waking among
decoders), both cores together: perf/RESULTS.md. It is why batches pay where t(n) grows in proportion."""
LONGEST_WAIT_MS = 5.0


class Batching(NamedTuple):
    """What the batcher is set to."""

    max_batch: int
    max_wait_ms: float


DEFAULT = Batching(16, 5.0)
"""Until something is measured."""


def measure(run: Callable[[int], object], *, clock: Callable[[], float] = time.perf_counter) -> Curve:
    """Time `run(n)` for growing n, until doubling n no longer pays. Blocks for the time of 60 items, of up to 500 on
    a device that gains from batches of 64."""
    fastest = dict.fromkeys(SIZES[: SIZES.index(ENOUGH) + 1], math.inf)
    for n in fastest:
        run(n)  # plans, allocates
    for _ in range(RUNS):
        for n in fastest:
            fastest[n] = min(fastest[n], _timed(run, n, clock))
    for n in SIZES[len(fastest) :]:
        if _rate(n // 2, fastest[n // 2]) < WORTH * _rate(n // 4, fastest[n // 4]):
            break
        run(n)
        fastest[n] = min(_timed(run, n, clock) for _ in range(RUNS))
    return tuple(CurvePoint(n, s * 1000) for n, s in fastest.items())


def best(curve: Sequence[CurvePoint]) -> Batching:
    """The smallest batch that is as good as the best one, and the window that can pay.

    Holding back one item for another costs the runner its idle time; computing both together saves it
    2 * t(1) - t(2). So a longer window than that can never pay, and where t(n) grows in proportion there is none.
    (Under load nobody is held back: batches form while the runner is busy.)
    """
    if not curve:
        return DEFAULT
    rates = {point.batch: _rate(point.batch, point.ms / 1000) for point in curve}
    max_batch = next(batch for batch, rate in rates.items() if rate * WORTH >= max(rates.values()))
    ms = {point.batch: point.ms for point in curve}
    saved_ms = 2 * ms[1] - ms[2] if {1, 2} <= ms.keys() else 0.0
    return Batching(max_batch, round(min(max(saved_ms, 0.0), LONGEST_WAIT_MS), 1))


def item_seconds(curve: Sequence[CurvePoint], max_batch: int) -> float:
    """Of each item in the largest measured batch up to `max_batch`. The curve is not empty."""
    point = max((point for point in curve if point.batch <= max_batch), default=curve[0], key=lambda point: point.batch)
    return 1 / point.per_s


def curve_file(data_path: Path, model: ModelInfo) -> Path:
    """Where a model's curve is kept: another engine, version or number of cores has its own."""
    name = f"curve-{model.engine}-{version_of(model.engine)}-{model.name}-{model.version}-{usable_cores()}.json"
    return data_path / "cache" / name


def still_true(curve: Curve, run: Callable[[int], object], *, clock: Callable[[], float] = time.perf_counter) -> bool:
    """Whether one item still takes about what the curve says: the machine may be another one, or it was busy then."""
    if not curve or curve[0].batch != 1:
        return False
    run(1)
    now_ms = min(_timed(run, 1, clock) for _ in range(RUNS)) * 1000
    return curve[0].ms / STALE < now_ms < curve[0].ms * STALE


def read_curve(path: Path) -> Curve:
    """The curve as it was kept, empty when there is none that can be read."""
    try:
        rows = json.loads(path.read_bytes())
        return tuple(CurvePoint(int(batch), float(ms)) for batch, ms in rows if batch >= 1 and ms > 0)
    except (OSError, ValueError, TypeError, OverflowError):
        return ()


def keep_curve(path: Path, curve: Curve) -> None:
    """Write it; a folder that cannot be written costs the next start a measurement, nothing else."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([[point.batch, round(point.ms, 3)] for point in curve]))


def _rate(n: int, seconds: float) -> float:
    """Items per second in batches of n, with what the service adds."""
    return n / (seconds + BATCH_COST_MS / 1000)


def _timed(run: Callable[[int], object], n: int, clock: Callable[[], float]) -> float:
    started = clock()
    run(n)
    return clock() - started
