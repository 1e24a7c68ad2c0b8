"""Who goes next, without any loop."""

import asyncio
from collections.abc import Iterator

import pytest

from service.inference.lanes import BULK, INTERACTIVE, Job, Lane, Lanes
from service.inference.overload import Overload


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def fill(lanes: Lanes[int, int], loop: asyncio.AbstractEventLoop, lane: Lane, *arrivals: float) -> list[Job[int, int]]:
    jobs = [Job[int, int](n, loop.create_future(), arrived, 1e9) for n, arrived in enumerate(arrivals)]
    for job in jobs:
        lanes.add(job, lane)
    return jobs


def test_the_shortest_wait_of_a_batch_judges_the_queue(loop: asyncio.AbstractEventLoop) -> None:
    """A batch in which somebody waited only shortly shows a good queue, however long its head waited."""
    lanes = Lanes[int, int](Overload(target_s=3, interval_s=1))
    fill(lanes, loop, INTERACTIVE, 0, 9.9, 5, 11.9, 12)
    lanes.take(2, now=10)
    lanes.take(2, now=12)
    assert not lanes.overload.standing


def test_bulk_does_not_count_as_overload(loop: asyncio.AbstractEventLoop) -> None:
    """Bulk waits long by design: a deep bulk lane neither stands nor refuses anybody."""
    lanes = Lanes[int, int](Overload(target_s=3, interval_s=1))
    fill(lanes, loop, BULK, *[0] * 10)
    for now in (10, 20, 30):
        lanes.take(2, now)
    assert not lanes.overload.standing
    assert lanes.take_too_old(40) == []


def test_discard_forgets_a_job_of_either_lane(loop: asyncio.AbstractEventLoop) -> None:
    """Leaving frees the place at once."""
    lanes = Lanes[int, int](Overload())
    (one,), (other,) = fill(lanes, loop, INTERACTIVE, 0), fill(lanes, loop, BULK, 0)
    lanes.discard(one)
    lanes.discard(other)
    assert len(lanes) == 0
    assert list(lanes) == []
