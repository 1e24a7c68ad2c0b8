"""When a queue stands: a table of batches, told one after another."""

import math

import pytest

from service.inference.overload import Overload

Told = tuple[float, float, float]  # now, shortest wait in the batch, seconds of work left behind it


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        pytest.param([], False, id="nothing happened"),
        pytest.param([(0, 9, 9)], False, id="one slow batch is not yet an interval"),
        pytest.param([(0, 9, 9), (1, 9, 9)], False, id="above the target for less than the interval"),
        pytest.param([(0, 9, 9), (2, 9, 9)], True, id="above the target for the interval"),
        pytest.param([(0, 9, 9), (1, 2, 9), (2, 9, 9)], False, id="a good wait in between starts anew"),
        pytest.param([(0, 9, 9), (1, 9, 0), (2, 9, 9)], False, id="a short backlog in between starts anew"),
        pytest.param([(0, 9, 9), (2, 9, 9), (3, 0, 9)], True, id="newest first makes short waits: it goes on"),
        pytest.param([(0, 9, 9), (2, 9, 9), (3, 9, 0)], False, id="until the rest can be served in time"),
        pytest.param([(0, 2.9, 9), (2, 2.9, 9), (4, 2.9, 9)], False, id="a queue below the target is a good queue"),
    ],
)
def test_standing(told: list[Told], standing: bool) -> None:
    """A wait of up to 3 s is good (of a patience of 4 s), interval 2 s."""
    overload = Overload(longest_s=4, interval_s=2)
    stands = False
    for now, shortest_wait_s, backlog_s in told:
        overload.note(now, shortest_wait_s, served=1)
        stands = overload.stands(backlog_s)
    assert stands is standing


def test_too_old_is_over_the_patience() -> None:
    """What takes longer than callers wait finds nobody any more."""
    overload = Overload(longest_s=4, interval_s=2)
    assert overload.too_old(4.1)
    assert not overload.too_old(4)


def test_fewer_have_a_place_when_items_take_longer_or_callers_show_less_patience() -> None:
    """As many as are computed in three fifths of the patience."""
    overload = Overload(longest_s=8)
    assert [overload.places(item_s) for item_s in (0.048, 0.48, 9.0)] == [100, 10, 0]
    overload.patience_s = 2.0
    assert overload.places(0.048) == 25


def leave(overload: Overload, count: int, waited_s: float) -> None:
    for _ in range(count):
        overload.left(waited_s)


@pytest.mark.parametrize(
    ("leavers", "waited_s", "served", "patience_s"),
    [
        pytest.param(16, 2.0, 16, 1.6, id="many leave: a share of what they waited"),
        pytest.param(16, 2.0, 64, 1.6, id="a quarter of the served is many"),
        pytest.param(16, 2.0, 65, 8.0, id="less than a quarter is an accident"),
        pytest.param(3, 2.0, 1, 8.0, id="three teach nothing"),
        pytest.param(16, 0.2, 16, 8.0, id="who left at once had no patience to measure"),
        pytest.param(16, 12.0, 16, 8.0, id="never longer than the longest"),
    ],
)
def test_patience_is_learned_from_those_who_hang_up(
    leavers: int, waited_s: float, served: int, patience_s: float
) -> None:
    """One interval: so many left after so long while so many were served."""
    overload = Overload(longest_s=8, interval_s=1)
    overload.note(0, 0, served)
    leave(overload, leavers, waited_s)
    overload.note(1, 0, 0)
    assert overload.patience_s == pytest.approx(patience_s)


def test_the_first_look_may_come_after_months() -> None:
    """The loop's clock is the machine's uptime: once, six hours of it made the exponential overflow and killed the
    batch worker."""
    overload = Overload(longest_s=8)
    overload.note(1e7, 0, served=1)
    assert overload.patience_s == 8


def test_the_median_leaver_counts() -> None:
    """A few who leave early do not speak for the others."""
    overload = Overload(longest_s=8)
    leave(overload, 5, 0.5)
    leave(overload, 11, 3.0)
    overload.note(0, 0, served=16)
    assert overload.patience_s == pytest.approx(2.4)


def test_patience_grows_again_when_nobody_leaves() -> None:
    """e-fold in 30 s, up to the longest: a storm is not remembered for ever."""
    overload = Overload(longest_s=8)
    leave(overload, 16, 2.0)
    overload.note(0, 0, served=16)
    for second in range(1, 31):
        overload.note(second, 0, served=16)
    assert overload.patience_s == pytest.approx(1.6 * math.e)
    for second in range(31, 120):
        overload.note(second, 0, served=16)
    assert overload.patience_s == 8
