"""Figures into words, shares and coordinates."""

from typing import get_args

import pytest

from service.http.panel import (
    BATCH_STOPS,
    REASONS,
    STAGES,
    WAIT_STOPS_MS,
    Bar,
    Panel,
    curve_chart,
    dial,
    duration,
    memory_bytes,
    ms,
    nice_step,
    percentiles,
)
from service.inference.batches import Batch, CurvePoint, Stats
from service.inference.predictions import ModelInfo, Receipt, Released
from service.metrics import Metrics


class Standing:
    """A classifier that stands still."""

    status = "ready"
    model = ModelInfo("toy", "7", "gated", "random")
    auto = False

    def __init__(self, **changes: int) -> None:
        figures = {
            "pending": 0,
            "announced": 0,
            "running": 0,
            "max_batch": 16,
            "max_pending": 256,
            "places": 100,
        } | changes
        self._stats = Stats(
            alive=True, running_s=0.0, max_wait_ms=5.0, items_per_s=20.0, overloaded=False, totals={}, **figures
        )

    def stats(self) -> Stats:
        return self._stats


def panel(metrics: Metrics | None = None, **changes: int) -> Panel:
    return Panel(Standing(**changes), metrics or Metrics(), 0.0)  # type: ignore[arg-type]


def test_every_reason_has_words() -> None:
    """A reason added to the batcher must be told here too."""
    assert set(REASONS) == set(get_args(Released))


def test_the_queue_against_its_places() -> None:
    """Those in decoding hold a place too, and stand behind those that wait."""
    shown = panel(pending=30, announced=10, running=4)
    assert shown.queue == [Bar("waiting", 30, 30.0), Bar("in decoding", 10, 10.0, start=30.0)]
    assert shown.running == 25.0


@pytest.mark.parametrize(("pending", "announced"), [(100, 0), (150, 0), (90, 60), (0, 150)])
def test_a_bar_never_leaves_its_frame(pending: int, announced: int) -> None:
    """After max_pending was lowered more may wait than there are places."""
    shown = panel(pending=pending, announced=announced, running=40)
    assert all(bar.start >= 0 and bar.start + bar.share <= 100 for bar in shown.queue)
    assert shown.running == 100.0


def batches(*sizes: int) -> Metrics:
    metrics = Metrics()
    for size in sizes:
        metrics.observe_batch(Batch(size, "full" if size == 4 else "idle"))
    return metrics


def test_sizes() -> None:
    """One bar for each size up to the largest allowed, as high as its share of the highest."""
    shown = panel(batches(1, 4, 4), max_batch=4)
    assert shown.sizes == [Bar("1", 1, 50.0), Bar("2", 0, 0.0), Bar("3", 0, 0.0), Bar("4", 2, 100.0)]
    assert (shown.batches, shown.mean_size) == (3, 3.0)


def test_a_size_beyond_the_limit_is_shown() -> None:
    """The limit was lowered a moment ago; the last minute has larger ones."""
    assert [bar.name for bar in panel(batches(3), max_batch=1).sizes] == ["1", "2", "3"]


@pytest.mark.parametrize(("most", "bars", "last"), [(32, 32, "32"), (33, 17, "33 to 33"), (256, 32, "249 to 256")])
def test_many_sizes_share_bars(most: int, bars: int, last: str) -> None:
    """Never more than 32 bars, and no batch falls between two."""
    sizes = panel(batches(*range(1, most + 1)), max_batch=most).sizes
    assert (len(sizes), sizes[-1].name, sum(bar.count for bar in sizes)) == (bars, last, most)


def test_reasons() -> None:
    """In percent of all batches of the minute; all reasons are always there."""
    shares = {bar.name: (bar.count, bar.share) for bar in panel(batches(1, 4, 4, 4)).reasons}
    assert shares == {words: (0, 0.0) for words in REASONS.values()} | {
        REASONS["full"]: (3, 75.0),
        REASONS["idle"]: (1, 25.0),
    }


def test_cached_answers_do_not_flatter_the_latencies() -> None:
    """They count as answers and as cache hits; the stages are those of computed pictures."""
    metrics = Metrics()
    metrics.observe_receipt(Receipt(2.0, 4.0, 38.2, 44.4, 1, "idle", False))
    for _ in range(3):
        metrics.observe_receipt(Receipt(0.0, 0.0, 0.0, 0.2, 0, None, True))
    shown = panel(metrics)
    assert (shown.computed, shown.figures[1].value) == (1, "75")
    assert list(shown.latencies.values()) == [["2.0"] * 3, ["4.0"] * 3, ["38"] * 3, ["44"] * 3]


def test_before_the_first_picture() -> None:
    """Dashes and zeros, no division by them."""
    shown = panel()
    assert set(map(tuple, shown.latencies.values())) == {("\N{EN DASH}",) * 3}
    assert (shown.figures[0].value, shown.figures[1].value, shown.mean_size) == ("0.0", None, 0.0)
    assert {count for _, count in shown.ends} == {0}


@pytest.mark.parametrize("stage", STAGES)
def test_percentiles_of_a_stage(stage: str) -> None:
    """Each stage reads its own field."""
    values = {"decode": 1.0, "queue": 2.0, "infer": 3.0, "total": 4.0}
    receipt = Receipt(1.0, 2.0, 3.0, 4.0, 1, "idle", False)
    assert percentiles([receipt], stage) == [ms(values[stage])] * 3


def test_no_curve_of_less_than_two_points() -> None:
    """One point is no curve."""
    assert curve_chart(()) is None
    assert curve_chart((CurvePoint(1, 5.0),)) is None


@pytest.mark.parametrize("scale", [0.001, 1.0, 37.5, 100_000.0])
def test_the_curve_stays_within_its_axes(scale: float) -> None:
    """Whatever the engine takes, the dots are inside and the axis ends at or above the highest."""
    chart = curve_chart(tuple(CurvePoint(n, scale * (1 + n)) for n in (1, 2, 4, 8, 256)))
    assert chart is not None
    assert all(56 <= x <= 390 and 12 <= y <= 148 for x, y in chart.dots)
    assert chart.dots[-1][0] == 390
    assert 3 <= len(chart.up) <= 6
    assert chart.up[0] == (148.0, "0 ms")
    assert 3 <= len(chart.across) <= 9


@pytest.mark.parametrize(("least", "step"), [(0.9, 1), (1.0, 1), (1.1, 2), (2.5, 5), (7, 10), (0.03, 0.05), (110, 200)])
def test_nice_step(least: float, step: float) -> None:
    """1, 2 or 5 times a power of ten, not below what is asked."""
    assert nice_step(least) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "stops", "stop"),
    [(16, BATCH_STOPS, 16), (17, BATCH_STOPS, 16), (1, BATCH_STOPS, 1), (256, BATCH_STOPS, 256),
     (0.0, WAIT_STOPS_MS, 0), (4.9, WAIT_STOPS_MS, 3), (1000.0, WAIT_STOPS_MS, 1000)],
)  # fmt: skip
def test_a_slider_rests_on_a_stop(value: float, stops: tuple[int, ...], stop: int) -> None:
    """On the value's own, or the last one below it; the number field has the value itself."""
    made = dial("x", "X", value, stops, lowest=0)
    assert (stops[made.position], made.value) == (stop, f"{value:g}")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (723, "12 min 3 s"),
        (11_520, "3 h 12 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    """Two units at most."""
    assert duration(seconds) == words


@pytest.mark.parametrize(("value", "words"), [(0.04, "0.0"), (9.94, "9.9"), (10.4, "10"), (1234.0, "1,234")])
def test_ms(value: float, words: str) -> None:
    """Tenths below ten."""
    assert ms(value) == words


def test_memory() -> None:
    """On Linux more than an interpreter needs at least; elsewhere unknown."""
    memory = memory_bytes()
    assert memory is None or memory > 5 * 2**20
