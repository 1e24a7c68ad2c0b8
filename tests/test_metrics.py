"""The last minute: bounded, timed, and summed up without surprises."""

import asyncio
import time

import pytest

from service.inference.batches import Batch
from service.inference.predictions import Receipt
from service.metrics import KEPT, LAG_PERIOD_S, WINDOW_S, Metrics, Percentiles, Recent


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_only_the_last_minute_is_told() -> None:
    """What is older is left out; what is exactly as old is in."""
    clock = Clock()
    recent = Recent[str](clock)
    recent.add("old")
    clock.now += 0.001
    recent.add("edge")
    clock.now += WINDOW_S
    recent.add("new")
    assert recent.values() == ["edge", "new"]


def test_it_is_bounded() -> None:
    """A flood leaves the newest."""
    recent = Recent[int](Clock())
    for n in range(KEPT + 5):
        recent.add(n)
    assert recent.values() == list(range(5, KEPT + 5))


def test_a_rate_counts_the_seconds_asked_for() -> None:
    """Thirty in the last ten seconds are three a second, whatever was before."""
    clock = Clock()
    recent = Recent[int](clock)
    recent.add(0)
    clock.now += 20
    for n in range(30):
        recent.add(n)
    assert recent.per_s(10.0) == 3.0


def test_a_rate_beyond_what_is_kept_is_still_right() -> None:
    """At 1,000 a second only two seconds are kept: the rate is not taken for a fifth of it."""
    clock = Clock()
    recent = Recent[int](clock)
    for n in range(10_000):
        recent.add(n)
        clock.now += 0.001
    assert recent.per_s(10.0) == pytest.approx(1000, rel=0.001)


def test_a_rate_of_nothing_is_zero() -> None:
    """Also when all that is kept came at this very moment."""
    recent = Recent[int](Clock())
    assert recent.per_s(10.0) == 0.0
    for n in range(KEPT):
        recent.add(n)
    assert recent.per_s(10.0) == 0.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([7.0], Percentiles(7.0, 7.0, 7.0)),
        ([2.0, 1.0], Percentiles(1.0, 2.0, 2.0)),
        ([float(n) for n in range(100, 0, -1)], Percentiles(50.0, 95.0, 99.0)),
    ],
)
def test_percentiles(values: list[float], expected: Percentiles | None) -> None:
    """Nearest rank: always a value that occurred."""
    assert Percentiles.of(values) == expected


async def test_sizes_are_read_when_scraped() -> None:
    """As they are then, and not as they were."""
    metrics, entries = Metrics(), [1]
    metrics.watch_sizes({"cache_entries": lambda: len(entries)})
    entries.append(2)
    assert "\nglimt_cache_entries 2.0\n" in metrics.render().decode()


async def test_metrics_keep_what_they_observe() -> None:
    """Answers, batches and how long the event loop was blocked, in seconds, are all in the last minute."""
    metrics, receipt, batch = Metrics(), Receipt(1.0, 2.0, 3.0, 6.0, 1, "idle", False), Batch(4, "full")
    metrics.observe_receipt(receipt)
    metrics.observe_batch(batch)
    probe = asyncio.create_task(metrics.probe_lag())
    await asyncio.sleep(0)  # the probe goes to sleep
    time.sleep(0.2)  # noqa: ASYNC251 (blocking the loop is what is measured)
    async with asyncio.timeout(5):
        while not metrics.lags_s.values():  # noqa: ASYNC110 (the probe tells nobody)
            await asyncio.sleep(0.01)
    probe.cancel()
    assert (metrics.receipts.values(), metrics.batches.values()) == ([receipt], [batch])
    assert 0.2 - LAG_PERIOD_S <= metrics.lags_s.values()[0] < 5
