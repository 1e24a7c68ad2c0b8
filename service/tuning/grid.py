"""What was met at each setting, and which is best. Pure: no clock, no network.

The speed of a shared machine drifts, by a factor of two within minutes. So a figure means nothing by itself: every
visit to a setting is corrected by what the reference met right before and after it, against its median over the run.
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.tuning.load import Load
from service.tuning.setting import Setting

NOISE_FLOOR = 0.03  # two runs of the same setting differ by that much on a quiet machine
NOISE_CEILING = 0.20  # on a machine that is noisier than that the answer is a guess anyway
LOST_SHARE = 0.01  # of the requests, refused or failed: more, and a setting does not meet the goal
BETWEEN = 2  # settings from one look at the reference to the next

Figure = Callable[[Load], float]


class Visit(NamedTuple):
    """One stretch of load at one setting."""

    setting: Setting
    load: Load


@dataclass(frozen=True, slots=True)
class Cell:
    """All visits to one setting: the medians of their figures, each as it would be at the run's median speed.
    `ratio` is per_s to that of the reference; a spread is from the least to the greatest of the visits, as a share."""

    setting: Setting
    loads: tuple[Load, ...]
    ratio: float
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    spread: float
    p95_spread: float

    @property
    def lost_share(self) -> float:
        """Requests refused or failed, as a share of all."""
        return sum(load.lost for load in self.loads) / max(1, sum(load.lost + load.answered for load in self.loads))

    @property
    def mean_batch(self) -> float:
        """Pictures per batch."""
        batches = sum(load.batches.count for load in self.loads)
        return sum(load.batches.pictures for load in self.loads) / max(1, batches)

    def meets(self, goal_ms: float) -> bool:
        """Whether it keeps the goal."""
        return keeps(goal_ms, self.p95_ms, self.lost_share)


def keeps(goal_ms: float, p95_ms: float, lost_share: float) -> bool:
    """Whether such a p95 is within the goal, with hardly anything lost."""
    return p95_ms <= goal_ms and lost_share <= LOST_SHARE


class Noise(NamedTuple):
    """Differences, as shares, that say nothing."""

    per_s: float = NOISE_FLOOR
    p95: float = NOISE_FLOOR


def walk(settings: Sequence[Setting], reference: Setting, rounds: int, chance: random.Random) -> list[Setting]:
    """An order of visits: each round all settings in a new random order, the reference after every second one."""
    order = [reference]
    for _ in range(rounds):
        shuffled = chance.sample(settings, len(settings))
        for start in range(0, len(shuffled), BETWEEN):
            order += [*shuffled[start : start + BETWEEN], reference]
    return order


def cells(visits: Sequence[Visit], reference: Setting) -> list[Cell]:
    """What was met at each setting, in the order of the settings. The reference must be among the visits."""
    places: dict[Setting, list[int]] = {}
    for place, visit in enumerate(visits):
        places.setdefault(visit.setting, []).append(place)
    return [_cell(visits, reference, places[setting], places[reference]) for setting in sorted(places)]


def _cell(visits: Sequence[Visit], reference: Setting, places: list[int], references: list[int]) -> Cell:
    setting = visits[places[0]].setting

    def met(figure: Figure, yardstick: Figure) -> list[float]:
        if setting == reference:
            return [figure(visits[place].load) for place in places]
        usual = statistics.median(yardstick(visits[r].load) for r in references)
        return [
            _scaled(figure(visits[place].load), usual, _beside(visits, references, place, yardstick))
            for place in places
        ]

    rates, p95s = met(per_s, per_s), met(p95_ms, p50_ms)  # the median latency is the steadiest measure of slowness
    return Cell(
        setting,
        tuple(visits[place].load for place in places),
        ratio=statistics.median(rates) / statistics.median(visits[r].load.per_s for r in references),
        per_s=statistics.median(rates),
        p50_ms=statistics.median(met(p50_ms, p50_ms)),
        p95_ms=statistics.median(p95s),
        p99_ms=statistics.median(met(lambda load: load.p99_ms, p50_ms)),
        spread=_spread(rates),
        p95_spread=_spread(p95s),
    )


def _scaled(value: float, usual: float, beside: float) -> float:
    """What would have been met at the machine's usual speed; the value itself where nothing was answered."""
    if not beside or math.inf in (value, usual, beside):
        return value
    return value * usual / beside


def per_s(load: Load) -> float:
    """Pictures answered per second."""
    return load.per_s


def p50_ms(load: Load) -> float:
    """The latency that half of the answers keep."""
    return load.p50_ms


def p95_ms(load: Load) -> float:
    """The latency that 95 of 100 answers keep."""
    return load.p95_ms


def _beside(visits: Sequence[Visit], references: list[int], place: int, figure: Figure) -> float:
    """The mean of the reference's figures right before and after a place."""
    around = [*[r for r in references if r < place][-1:], *[r for r in references if r > place][:1]]
    return statistics.mean(figure(visits[r].load) for r in around)


def _spread(values: Sequence[float]) -> float:
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if 0 < middle < float("inf") else 0.0


def noise(found: Sequence[Cell], reference: Setting) -> Noise:
    """Differences that may be chance: twice as far as two visits to the same setting lie apart, in the middle of all
    settings, but between 3 % and 20 %.

    That is about two standard deviations of the difference between two settings that were visited twice each: the
    range of two values is 1.13 deviations on average, the difference of two means of two values has one.
    """
    twice = [cell for cell in found if len(cell.loads) > 1 and cell.setting != reference]
    if not twice:
        return Noise()
    return Noise(_noise([cell.spread for cell in twice]), _noise([cell.p95_spread for cell in twice]))


def _noise(spreads: Sequence[float]) -> float:
    return min(max(2 * statistics.median(spreads), NOISE_FLOOR), NOISE_CEILING)


def pick(found: Sequence[Cell], floor: Noise) -> Cell:
    """The best of them: the most pictures per second; of those within the noise the lowest p95; of those within the
    noise the plainest setting. With an open loop below capacity the first says nothing and the second decides."""
    most = max(cell.per_s for cell in found)
    fast = [cell for cell in found if cell.per_s >= most * (1 - floor.per_s)]
    least = min(cell.p95_ms for cell in fast)
    return min((cell for cell in fast if cell.p95_ms <= least * (1 + floor.p95)), key=lambda cell: cell.setting)
