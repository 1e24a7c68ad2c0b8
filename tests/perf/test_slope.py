"""perf/slope.py: a line through samples, and how sure one can be of it."""

import numpy as np
import pytest

from perf.slope import LEAST, Samples, Slope, slope

X: Samples = np.arange(60, dtype=float)


def noise(seed: int, likeness: float = 0.0) -> Samples:
    """Sixty samples without a trend, each so much like the one before it."""
    rows = np.random.default_rng(seed).normal(size=60)
    for place in range(1, 60):
        rows[place] += likeness * rows[place - 1]
    return rows


def test_the_interval_holds_the_true_slope() -> None:
    """Of a hundred rows about 95 (scipy.stats.theilslopes finds the same ones); and it is no wider than it need be."""
    found = [slope(X, noise(seed) + 0.05 * X) for seed in range(100)]
    assert 88 <= sum(one.low <= 0.05 <= one.high for one in found) <= 99
    assert all(one.is_known for one in found)


@pytest.mark.parametrize("step", [0.0, 3.0, -0.5])
def test_of_a_line_it_is_its_slope(step: float) -> None:
    """Without doubt; a level one is not distinguishable from zero."""
    found = slope(X, 7 + step * X)
    assert (found.low, found.value, found.high) == pytest.approx((step, step, step))
    assert found.is_known == (step != 0)


def test_wild_samples_do_not_move_it() -> None:
    """Each sixth a hundred times too large, as a peak is."""
    y = 2 * X
    y[::6] *= 100
    assert slope(X, y).value == pytest.approx(2, abs=0.1)


def test_what_wanders_is_no_trend() -> None:
    """In samples that are much like their neighbours a trend is seen no more often than in one of twenty; the plain
    interval sees one in most of them."""
    seen = sum(slope(X, noise(seed, likeness=0.8)).is_known for seed in range(100))
    assert seen <= 10


def test_a_trend_is_seen_behind_such_noise() -> None:
    """Or the test before would be passed by who never sees any."""
    assert all(slope(X, noise(seed, likeness=0.8) + X).low > 0 for seed in range(20))


def test_few_samples_say_nothing() -> None:
    """So many pairs there must be."""
    with pytest.raises(ValueError, match=f"{LEAST} are the least"):
        slope(X[: LEAST - 1], X[: LEAST - 1])


def test_another_unit() -> None:
    """Per hour instead of per second."""
    assert Slope(1.0, 0.5, 2.0).times(3600) == (3600.0, 1800.0, 7200.0)
