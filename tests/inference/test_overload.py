"""When a queue stands: a table of batches, told one after another."""

import pytest

from service.inference.overload import Overload

Told = tuple[float, float, int]  # now, shortest wait in the batch, left waiting


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        pytest.param([], False, id="nothing happened"),
        pytest.param([(0, 9, 5)], False, id="one slow batch is not yet an interval"),
        pytest.param([(0, 9, 5), (1, 9, 5)], False, id="above the target for less than the interval"),
        pytest.param([(0, 9, 5), (2, 9, 5)], True, id="above the target for the interval"),
        pytest.param([(0, 9, 5), (1, 2, 5), (2, 9, 5)], False, id="a good wait in between starts anew"),
        pytest.param([(0, 9, 5), (1, 9, 0), (2, 9, 5)], False, id="an empty queue in between starts anew"),
        pytest.param([(0, 9, 5), (2, 9, 5), (3, 0, 5)], True, id="newest first makes short waits: it goes on"),
        pytest.param([(0, 9, 5), (2, 9, 5), (3, 9, 0)], False, id="until the queue is empty"),
        pytest.param([(0, 2.9, 5), (2, 2.9, 5), (4, 2.9, 5)], False, id="a queue below the target is a good queue"),
    ],
)
def test_standing(told: list[Told], standing: bool) -> None:
    """target 3 s, interval 2 s."""
    overload = Overload(target_s=3, interval_s=2)
    for now, shortest_wait_s, left_waiting in told:
        overload.note(now, shortest_wait_s, left_waiting)
    assert overload.standing is standing


def test_too_old_only_while_standing() -> None:
    """A long wait alone refuses nobody; in a standing queue the target is the limit."""
    overload = Overload(target_s=3, interval_s=2)
    assert not overload.too_old(100)
    overload.note(0, 9, 5)
    overload.note(2, 9, 5)
    assert overload.too_old(3.1)
    assert not overload.too_old(3)
