"""The order of visits, the figures at the run's median speed, and which setting is picked."""

import math
import random
from itertools import pairwise

import pytest

from service.tuning.grid import NOISE_CEILING, NOISE_FLOOR, Noise, Visit, cells, noise, pick, walk
from service.tuning.setting import Setting
from tests.tuning.loads import load

ONE, FOUR, EIGHT, SIXTEEN = (Setting(size, 5) for size in (1, 4, 8, 16))
QUIET = Noise()


def test_walk_visits_each_once_a_round_between_references() -> None:
    """Begins and ends at the reference, never more than two settings from it, in another order each round."""
    settings = [Setting(size, 0) for size in range(1, 6)]
    order = walk(settings, SIXTEEN, 2, random.Random(1))
    first, second = [s for s in order if s != SIXTEEN][:5], [s for s in order if s != SIXTEEN][5:]
    assert sorted(first) == sorted(second) == settings
    assert first != second
    marks = [place for place, setting in enumerate(order) if setting == SIXTEEN]
    assert (marks[0], marks[-1]) == (0, len(order) - 1)
    assert max(b - a for a, b in pairwise(marks)) == 3


def test_drift_is_taken_out() -> None:
    """A machine that slows to half in the middle does not make the setting visited then look slow."""
    visits = [
        Visit(SIXTEEN, load(100, 200, p50_ms=100)),
        Visit(FOUR, load(90, 180, p50_ms=90)),
        Visit(SIXTEEN, load(100, 200, p50_ms=100)),
        Visit(SIXTEEN, load(50, 400, p50_ms=200)),
        Visit(EIGHT, load(60, 300, p50_ms=150)),
        Visit(SIXTEEN, load(50, 400, p50_ms=200)),
        Visit(SIXTEEN, load(100, 200, p50_ms=100)),
    ]
    four, eight, reference = cells(visits, SIXTEEN)
    assert (four.per_s, four.p95_ms, four.ratio) == (90, 180, 0.9)
    assert (eight.per_s, eight.p95_ms, eight.ratio) == (120, 150, 1.2)
    assert (reference.per_s, reference.p95_ms, reference.ratio, len(reference.loads)) == (100, 200, 1, 5)


def test_percentiles_keep_their_order() -> None:
    """All latencies of a visit are corrected by one factor: a p99 below its p95 would be nonsense."""
    visits = [Visit(SIXTEEN, load(100, 300, p50_ms=40)), Visit(FOUR, load(90, 90)), Visit(SIXTEEN, load(100, 100))]
    (four, _) = cells(visits, SIXTEEN)
    assert four.p50_ms < four.p95_ms < four.p99_ms


def test_a_setting_that_answers_nothing_is_slow_not_an_error() -> None:
    """No pictures/s, no end of waiting."""
    nothing = load(0, math.inf, p50_ms=math.inf)
    four, _ = cells([Visit(SIXTEEN, load(100)), Visit(FOUR, nothing), Visit(FOUR, nothing)], SIXTEEN)
    assert (four.per_s, four.p95_ms, four.meets(1e9)) == (0, math.inf, False)


def test_a_reference_that_answers_nothing_is_no_yardstick() -> None:
    """Once, infinity divided by infinity made a p95 that is no number, and nothing could be picked."""
    nothing = load(0, math.inf, p50_ms=math.inf)
    found = cells([Visit(SIXTEEN, nothing), Visit(FOUR, load(90, 90)), Visit(SIXTEEN, load(100))], SIXTEEN)
    assert pick(found, QUIET).setting == FOUR
    assert not any(math.isnan(cell.p95_ms) for cell in found)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((100, 100), NOISE_FLOOR),
        ((95, 105), 0.2),
        ((98, 102), 0.08),
        ((50, 150), NOISE_CEILING),
        ((100,), NOISE_FLOOR),
    ],
)
def test_noise_is_twice_the_spread_within_bounds(rates: tuple[float, ...], expected: float) -> None:
    """Learned from settings that were visited twice; else the floor."""
    visits = [Visit(SIXTEEN, load(100)), *(Visit(FOUR, load(rate)) for rate in rates)]
    assert noise(cells(visits, SIXTEEN), SIXTEEN).per_s == pytest.approx(expected)


@pytest.mark.parametrize(
    ("met", "best"),
    [
        ({ONE: (50, 300), EIGHT: (80, 200)}, EIGHT),  # the most pictures/s
        ({ONE: (99, 200), EIGHT: (100, 200)}, ONE),  # within the noise: the plainest
        ({ONE: (99, 300), EIGHT: (100, 200)}, EIGHT),  # within the noise: the lower p95 first
        ({ONE: (96, 100), EIGHT: (100, 200)}, EIGHT),  # outside of it the p95 does not count
        ({Setting(8, 0): (100, 202), EIGHT: (100, 200)}, Setting(8, 0)),  # the shorter window
    ],
)
def test_pick(met: dict[Setting, tuple[float, float]], best: Setting) -> None:
    """Most pictures/s, then lowest p95, then plainest; each within the noise."""
    visits = [Visit(SIXTEEN, load(10, 900))] + [Visit(setting, load(*figures)) for setting, figures in met.items()]
    assert pick(cells(visits, SIXTEEN), QUIET).setting == best


@pytest.mark.parametrize(
    ("p95_ms", "refused", "meets"), [(250, 0, True), (250.1, 0, False), (100, 1, True), (100, 2, False)]
)
def test_goal(p95_ms: float, refused: int, meets: bool) -> None:
    """The p95 within it, and at most 1 % lost: a setting that refuses the slow ones has not kept it."""
    (cell,) = cells([Visit(SIXTEEN, load(100, p95_ms, refused=refused))], SIXTEEN)
    assert cell.meets(250) is meets
