"""Prometheus metrics, and the last minute for the live panel. Queue figures are read when asked for, so that the hot
path only feeds the histograms and the last minute."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.inference.batches import Batch, Stats
from service.inference.predictions import ModelInfo, Receipt

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAGS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.5)
LAG_PERIOD_S = 0.05  # 20 looks a second cost about 0.1 % of a core
METHODS = {"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"}
BATCH_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128, 256)
ENDS = {  # how a submitted picture can end, in the words of Stats.totals
    "refused": "Pictures refused because the queue was full.",
    "cancelled": "Pictures whose client left before they were computed.",
    "expired": "Pictures whose deadline passed.",
    "failed": "Pictures the engine could not compute.",
}
ENGINE = {  # Worker.totals
    "failed": ("glimt_engine_failures", "Batches that the engine could not compute, halves of them included."),
    "hung": ("glimt_engine_hangs", "Batches that did not come back in time."),
    "recreated": ("glimt_engine_recreated", "Engines made anew because they failed on every picture."),
    "swapped": ("glimt_model_swaps", "Models that took the place of another while it answered."),
}
SHADOW = {  # Shadow.totals
    "compared": "Pictures that the candidate computed as well.",
    "differed": "Those of them for which it has another first label.",
    "passed_over": "Pictures it should have had, but the queue or the candidate was busy.",
    "failed": "Pictures that the candidate could not compute.",
}
SIZES = {  # what must not grow for ever
    "tasks": "Tasks of the event loop.",
    "cache_entries": "Answers kept for those who ask again.",
    "held_bytes": "Bytes of pictures between their arrival and their answer.",
}

WINDOW_S = 60.0
KEPT = 2_048  # of the newest: p99 still stands on 20 of them, and sorting them costs 0.2 ms

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """What happened in the last minute, but no more than the newest `KEPT`, each with its time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, Value]] = deque(maxlen=KEPT)

    def add(self, value: Value) -> None:
        """It happened now; costs a tuple."""
        self._seen.append((self._clock(), value))

    def values(self) -> list[Value]:
        """Oldest first."""
        since = self._clock() - WINDOW_S
        return [value for at, value in self._seen if at >= since]

    def per_s(self, within_s: float) -> float:
        """How many a second over the last `within_s`, or over all that is kept when that reaches less far back."""
        now = self._clock()
        times = [at for at, _ in self._seen if at >= now - within_s]
        span_s = now - times[0] if len(times) == KEPT else within_s
        return len(times) / span_s if span_s else 0.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles: values that occurred, in their own unit."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Collection[float]) -> "Percentiles | None":
        """None when there are no values."""
        rising = sorted(values)
        if not rising:
            return None
        return cls(*(rising[math.ceil(share * len(rising)) - 1] for share in (0.50, 0.95, 0.99)))


class Metrics:
    """All of them, in a registry of their own: two apps in one process do not share figures."""

    def __init__(self) -> None:
        self.receipts, self.batches, self.lags_s = Recent[Receipt](), Recent[Batch](), Recent[float]()
        self.registry = CollectorRegistry()
        new: Any = {"registry": self.registry, "namespace": "glimt"}
        self._requests = Counter("requests", "Requests answered.", ["method", "route", "status"], **new)
        self._batches = Counter("batches_released", "Batches, by the reason they left.", ["reason"], **new)
        self._size = Histogram("batch_size", "Pictures in a batch.", buckets=BATCH_SIZES, **new)
        self._stages = {
            stage: Histogram(f"{stage}_seconds", words, buckets=SECONDS, **new)
            for stage, words in {
                "decode": "Decoding one picture.",
                "queue": "Waiting for a batch.",
                "infer": "Computing the picture's batch.",
                "total": "From the picture's bytes to its labels.",
            }.items()
        }
        self._lag = Histogram("event_loop_lag_seconds", "How late the event loop is.", buckets=LAGS, **new)
        self._cache = Counter("cache", "Pictures answered from the cache or a picture in flight.", ["result"], **new)

    def observe_request(self, method: str, route: str, status: int) -> None:
        """One answered request. `route` is the pattern, never the raw path: the values of a label must be few."""
        self._requests.labels(method if method in METHODS else "other", route, status).inc()

    def observe_batch(self, batch: Batch) -> None:
        """One finished batch."""
        self.batches.add(batch)
        self._batches.labels(batch.released_by).inc()
        self._size.observe(batch.size)

    def observe_receipt(self, receipt: Receipt) -> None:
        """One answered picture."""
        self.receipts.add(receipt)
        self._stages["total"].observe(receipt.total_ms / 1000)
        self._cache.labels("hit" if receipt.cached else "miss").inc()
        if receipt.cached:
            return
        self._stages["decode"].observe(receipt.decode_ms / 1000)
        self._stages["queue"].observe(receipt.queue_ms / 1000)
        self._stages["infer"].observe(receipt.infer_ms / 1000)

    async def probe_lag(self) -> None:
        """Measure for ever how much later than asked the event loop wakes us: what everybody waits on top."""
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(LAG_PERIOD_S)
            lag_s = max(0.0, time.perf_counter() - asked - LAG_PERIOD_S)
            self._lag.observe(lag_s)
            self.lags_s.add(lag_s)

    def watch(self, stats: Callable[[], Stats], model: Callable[[], ModelInfo], ready: Callable[[], bool]) -> None:
        """Read these when scraped."""
        self.registry.register(_Queue(stats, model, ready))

    def watch_models(self, engine: Mapping[str, int], shadow: Mapping[str, int]) -> None:
        """Read these totals, of the worker and of its shadow, when scraped."""
        self.registry.register(_Models(engine, shadow))

    def watch_sizes(self, sizes: Mapping[str, Callable[[], int]]) -> None:
        """Read these, of SIZES, when scraped."""
        for name, read in sizes.items():
            Gauge(name, SIZES[name], registry=self.registry, namespace="glimt").set_function(read)

    def render(self) -> bytes:
        """The text exposition format, version 0.0.4."""
        return generate_latest(self.registry)


class _Queue(Collector):
    def __init__(self, stats: Callable[[], Stats], model: Callable[[], ModelInfo], ready: Callable[[], bool]) -> None:
        self._stats, self._model, self._ready = stats, model, ready

    def describe(self) -> list[Metric]:
        return []  # nothing is read at registration: the queue may not be open yet

    def collect(self) -> Iterator[Metric]:
        stats, model = self._stats(), self._model()
        yield GaugeMetricFamily("glimt_queue_depth", "Pictures waiting for a batch.", stats.pending)
        yield GaugeMetricFamily("glimt_decoding", "Pictures admitted and being decoded.", stats.announced)
        yield GaugeMetricFamily("glimt_running", "Pictures in the batch that runs now.", stats.running)
        yield GaugeMetricFamily(
            "glimt_overloaded", "1 while the queue stands and the newest go first.", stats.overloaded
        )
        yield GaugeMetricFamily("glimt_ready", "1 when pictures are taken.", self._ready())
        for end, words in ENDS.items():
            yield CounterMetricFamily(f"glimt_predict_{end}", words, stats.totals.get(end, 0))
        info = GaugeMetricFamily(
            "glimt_model", "The model that answers.", labels=["name", "version", "engine", "weights"]
        )
        info.add_metric([model.name, model.version, model.engine, model.weights], 1)
        yield info


class _Models(Collector):
    def __init__(self, engine: Mapping[str, int], shadow: Mapping[str, int]) -> None:
        self._engine, self._shadow = engine, shadow

    def collect(self) -> Iterator[Metric]:
        for end, (name, words) in ENGINE.items():
            yield CounterMetricFamily(name, words, self._engine.get(end, 0))
        for end, words in SHADOW.items():
            yield CounterMetricFamily(f"glimt_shadow_{end}", words, self._shadow.get(end, 0))
