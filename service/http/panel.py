"""What the live panel shows: figures turned into words, shares and the coordinates of small charts. Pure but for
the clock and the process's memory."""

import math
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from service.http.batching import limits
from service.inference.batches import CurvePoint
from service.inference.classifier import Classifier
from service.inference.predictions import Receipt, Released
from service.metrics import ENDS, Metrics, Percentiles

BATCH_STOPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
WAIT_STOPS_MS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000)
"""Where a slider rests: close together where a step matters. Any value between can be typed."""
RATE_S = 10.0  # answers per second are over this: long enough to be calm, short enough to see a change
MOST_BARS = 32
STAGES = {"decode": "decode", "queue": "wait for the batch", "infer": "compute the batch", "total": "all of it"}
REASONS: dict[Released, str] = {
    "full": "it was full",
    "window": "the window was over",
    "idle": "the engine was free",
    "deadline": "a deadline came near",
    "drain": "the service drains",
}
NOTHING = "\N{EN DASH}"  # where there is no value yet


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its name, written out; None when there is none yet."""

    name: str
    value: str | None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A share in percent. `start` is where it begins, in percent."""

    name: str
    count: int
    share: float
    start: float = 0.0


@dataclass(frozen=True, slots=True)
class Dial:
    """A limit's slider and number field; the slider goes over `stops` by their position."""

    field: str
    label: str
    value: str
    stops: Sequence[float]
    position: int
    lowest: int
    highest: float


class Panel:
    """One look at the service, for a template to read."""

    def __init__(self, classifier: Classifier, metrics: Metrics, uptime_s: float) -> None:
        self.stats = classifier.stats()
        self.status = classifier.status
        self.model = classifier.model
        self.limits = limits(classifier)
        self.uptime = duration(uptime_s)
        receipts, self._batches = metrics.receipts.values(), metrics.batches.values()
        computed = [receipt for receipt in receipts if not receipt.cached]
        self.computed = len(computed)
        self.latencies = {words: percentiles(computed, stage) for stage, words in STAGES.items()}
        lag = Percentiles.of(metrics.lags_s.values())
        memory = memory_bytes()
        self.figures = [
            Figure("answered a second", f"{metrics.receipts.per_s(RATE_S):,.1f}"),
            Figure("from the cache", f"{100 - 100 * len(computed) / len(receipts):.0f}" if receipts else None, "%"),
            Figure("event-loop lag, p99", ms(lag.p99 * 1000) if lag else None, "ms"),
            Figure("memory", f"{memory / 2**20:,.0f}" if memory else None, "MiB"),
        ]

    @property
    def queue(self) -> list[Bar]:
        """What has a place in the queue, as shares of all places."""
        stats, places = self.stats, self.stats.places
        waiting = min(100.0, 100 * stats.pending / places)
        decoding = min(100.0 - waiting, 100 * stats.announced / places)
        return [Bar("waiting", stats.pending, waiting), Bar("in decoding", stats.announced, decoding, waiting)]

    @property
    def running(self) -> float:
        """The batch that runs now, in percent of a full one."""
        return min(100.0, 100 * self.stats.running / self.stats.max_batch)

    @property
    def sizes(self) -> list[Bar]:
        """Batches of the last minute by size, at most 32 bars; shares are of the highest bar."""
        counts = Counter(batch.size for batch in self._batches)
        top = max([self.stats.max_batch, *counts])
        step = math.ceil(top / MOST_BARS)
        lows = range(1, top + 1, step)
        sums = [sum(counts[size] for size in range(low, low + step)) for low in lows]
        names = [str(low) if step == 1 else f"{low} to {min(top, low + step - 1)}" for low in lows]
        highest = max([*sums, 1])
        return [Bar(name, count, 100 * count / highest) for name, count in zip(names, sums, strict=True)]

    @property
    def mean_size(self) -> float:
        """Pictures in a batch, on average over the last minute."""
        return sum(batch.size for batch in self._batches) / max(1, len(self._batches))

    @property
    def batches(self) -> int:
        """How many the figures of batches stand on."""
        return len(self._batches)

    @property
    def reasons(self) -> list[Bar]:
        """Why batches left in the last minute, in percent of them."""
        counts = Counter(batch.released_by for batch in self._batches)
        return [Bar(words, counts[why], 100 * counts[why] / max(1, self.batches)) for why, words in REASONS.items()]

    @property
    def ends(self) -> list[tuple[str, int]]:
        """How pictures ended since the start."""
        return [(end, self.stats.totals.get(end, 0)) for end in ("completed", *ENDS)]


@dataclass(frozen=True, slots=True)
class Chart:
    """t(n) in the coordinates of an SVG of 400 x 188: the line, its dots, and where the axes have words."""

    line: str
    dots: list[tuple[float, float]]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]


LEFT, RIGHT, TOP, BOTTOM = 56.0, 390.0, 12.0, 148.0


def curve_chart(curve: Sequence[CurvePoint]) -> Chart | None:
    """None for less than two points: one is no curve."""
    if len(curve) < 2:
        return None
    step = nice_step(max(point.ms for point in curve) / 4)
    top_ms = step * math.ceil(max(point.ms for point in curve) / step)
    widest = max(point.batch for point in curve)

    def x(batch: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * batch / widest, 1)

    def y(time_ms: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * time_ms / top_ms, 1)

    dots = [(x(point.batch), y(point.ms)) for point in curve]
    batch_step = max(1, round(nice_step(widest / 8)))
    return Chart(
        line=" ".join(f"{across},{up}" for across, up in dots),
        dots=dots,
        across=[(x(batch), str(batch)) for batch in range(batch_step, widest + 1, batch_step)],
        up=[(y(n * step), f"{n * step:g} ms") for n in range(round(top_ms / step) + 1)],
    )


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, ... times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def dial(field: str, label: str, value: float, stops: Sequence[float], *, lowest: int) -> Dial:
    """The slider stands on the last stop that is not above the value."""
    return Dial(field, label, f"{value:g}", stops, max(0, bisect_right(stops, value) - 1), lowest, stops[-1])


def percentiles(computed: Sequence[Receipt], stage: str) -> list[str]:
    """p50, p95, p99 of a stage in milliseconds, written out; dashes when there is nothing."""
    found = Percentiles.of(list(map(attrgetter(f"{stage}_ms"), computed)))
    return [NOTHING] * 3 if found is None else [ms(found.p50), ms(found.p95), ms(found.p99)]


def ms(value: float) -> str:
    """Milliseconds with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min 3 s`, `3 h 12 min`, `2 d 4 h`."""
    whole = int(seconds)
    for unit_s, unit, below_s, below in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            return f"{whole // unit_s} {unit} {whole % unit_s // below_s} {below}"
    return f"{whole} s"


def memory_bytes() -> int | None:
    """Resident memory of this process; None where the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
