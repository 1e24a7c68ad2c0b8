"""When a queue stands: a table of batches, told one after another."""

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
    """target 3 s, interval 2 s."""
    overload = Overload(target_s=3, interval_s=2)
    stands = False
    for now, shortest_wait_s, backlog_s in told:
        overload.note(now, shortest_wait_s)
        stands = overload.stands(backlog_s)
    assert stands is standing


def test_too_old_is_over_the_target() -> None:
    """In a standing queue the target is the limit."""
    overload = Overload(target_s=3, interval_s=2)
    assert overload.too_old(3.1)
    assert not overload.too_old(3)
