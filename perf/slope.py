"""The slope of a row of samples that a soak took, and how sure one can be of it. Pure.

The line is Theil and Sen's: the median of the slopes between all pairs, which a third of wild samples cannot move (Sen,
"Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968; the interval is from there as well).
Neighbours are alike in a process that is watched: its memory a moment ago is most of its memory now. The interval would
be far too narrow, so its variance is multiplied by the samples that make one independent one (Yue and Wang, "The
Mann-Kendall test modified by effective sample size", Water Resources Management 18, 2004). What wanders without a home
can look like a trend for a while all the same: hence a tolerance beside it.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SURE = 1.96  # standard deviations: 95 %
LEAST = 10  # samples; fewer say nothing

Samples = NDArray[np.float64]


class Slope(NamedTuple):
    """Per unit of x; `low` to `high` holds the true one with 95 % certainty."""

    value: float
    low: float
    high: float

    @property
    def is_known(self) -> bool:
        """Distinguishable from zero."""
        return self.low > 0 or self.high < 0

    def times(self, factor: float) -> "Slope":
        """In another unit."""
        return Slope(*(factor * part for part in self))


def slope(x: Samples, y: Samples) -> Slope:
    """Of the samples (x rising). Raises ValueError for fewer than LEAST."""
    if len(x) < LEAST:
        raise ValueError(f"{len(x)} samples say nothing of a slope; {LEAST} are the least")
    one, other = np.triu_indices(len(x), 1)
    slopes = np.sort((y[other] - y[one]) / (x[other] - x[one]))
    value = float(np.median(slopes))
    spread = SURE * math.sqrt(variance(y) * inflation(y - value * x))
    low, high = round((len(slopes) - spread) / 2) - 1, round((len(slopes) + spread) / 2)
    return Slope(value, float(slopes[max(low, 0)]), float(slopes[min(high, len(slopes) - 1)]))


def variance(y: Samples) -> float:
    """Of Kendall's S when there is no trend, with what equal samples take away from it."""
    n = len(y)
    _, ties = np.unique(y, return_counts=True)
    return float(n * (n - 1) * (2 * n + 5) - np.sum(ties * (ties - 1) * (2 * ties + 5))) / 18


def inflation(rest: Samples) -> float:
    """By how much likeness of neighbours widens that variance, from what is left when the trend is taken away: samples
    for each one that is worth an independent one. The correlation is corrected for what so few samples take from it
    (Kendall, "Note on bias in the estimation of autocorrelation", Biometrika 41, 1954). Never less than 1."""
    deviation, n = rest - np.mean(rest), len(rest)
    power = float(np.sum(deviation**2))
    if not power:
        return 1.0
    found = float(np.sum(deviation[1:] * deviation[:-1])) / power
    alike = min(found + (1 + 4 * found) / n, 1 - 2 / n)
    return max(1.0, (1 + alike) / (1 - alike))
