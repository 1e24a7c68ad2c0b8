"""Who goes next, without any loop."""

import asyncio
import math
from collections.abc import Iterator

import pytest

from service.inference.lanes import BULK, INTERACTIVE, QUIET_S, Job, Lane, Lanes
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
    lanes = Lanes[int, int](Overload(longest_s=40, interval_s=1))  # 30 s are good
    fill(lanes, loop, INTERACTIVE, 90, 99, 105, 119, 119)
    lanes.take(2, now=100, item_s=12)
    lanes.take(2, now=120, item_s=12)
    assert not lanes.overload.standing


def test_bulk_does_not_count_as_overload(loop: asyncio.AbstractEventLoop) -> None:
    """Bulk waits long by design: a deep bulk lane neither stands nor refuses anybody."""
    lanes = Lanes[int, int](Overload(longest_s=4, interval_s=1))
    fill(lanes, loop, BULK, *[0] * 10)
    for now in (10, 20, 30):
        _, refused = lanes.take(2, now, item_s=9)
        assert refused == []
    assert not lanes.overload.standing


def test_a_hopeless_job_leaves_its_place_to_one_that_can_make_it(loop: asyncio.AbstractEventLoop) -> None:
    """A full batch takes 4 s: the job whose deadline is in 1 s waits for a batch that has room for it."""
    lanes = Lanes[int, int](Overload(longest_s=1000))
    late, *others = fill(lanes, loop, INTERACTIVE, 0, 0, 0, 0, 0)
    late.deadline = 11
    batch, _ = lanes.take(4, now=10, item_s=1)
    assert batch == others
    assert lanes.take(4, now=10, item_s=1)[0] == [late]


def test_who_will_have_left_goes_after_those_who_stay(loop: asyncio.AbstractEventLoop) -> None:
    """Callers are known to leave after 2 s, a batch takes 1 s: one who came 1.5 s ago will not be there any more."""
    lanes = Lanes[int, int](Overload(longest_s=2))
    leaving, staying, stream = fill(lanes, loop, INTERACTIVE, 8.5, 9.5, 8.5)
    stream.deadline = math.inf  # has said that it will wait
    assert lanes.take(1, now=10, item_s=1)[0] == [staying]
    assert lanes.take(1, now=10, item_s=1)[0] == [stream]
    assert lanes.take(1, now=10, item_s=1)[0] == [leaving]


def test_overload_makes_batches_that_callers_can_wait_for(loop: asyncio.AbstractEventLoop) -> None:
    """A full batch of 64 takes 64 s, callers wait 20: while it stands, batches are small; once all were refused."""
    lanes = Lanes[int, int](Overload(longest_s=20, interval_s=1))
    jobs = fill(lanes, loop, INTERACTIVE, *[100.0] * 90)
    lanes.overload.standing = True
    batch, refused = lanes.take(64, now=100, item_s=1)
    assert (len(batch), refused) == (15, [])
    assert batch[0] == jobs[-1]


def test_bulk_is_not_given_up(loop: asyncio.AbstractEventLoop) -> None:
    """Bulk waits longer than any caller's patience, and in its order."""
    lanes = Lanes[int, int](Overload(longest_s=2))
    jobs = fill(lanes, loop, BULK, 0, 9.5)
    assert lanes.take(1, now=10, item_s=1)[0] == jobs[:1]


def test_who_set_no_deadline_is_not_refused(loop: asyncio.AbstractEventLoop) -> None:
    """Overload refuses those whose answer would come too late, not those who said that they will wait."""
    lanes = Lanes[int, int](Overload(longest_s=20, interval_s=1))
    patient = fill(lanes, loop, INTERACTIVE, *[0] * 9)[4]
    patient.deadline = math.inf
    lanes.take(1, now=7, item_s=9)
    lanes.take(1, now=9, item_s=9)
    batch, refused = lanes.take(1, now=30, item_s=9)
    assert len(refused) == 6
    assert batch == [patient]


def test_discard_forgets_a_job_of_either_lane(loop: asyncio.AbstractEventLoop) -> None:
    """Leaving frees the place at once."""
    lanes = Lanes[int, int](Overload())
    (one,), (other,) = fill(lanes, loop, INTERACTIVE, 0), fill(lanes, loop, BULK, 0)
    lanes.discard(one)
    lanes.discard(other)
    assert len(lanes) == 0
    assert list(lanes) == []


@pytest.mark.parametrize(
    ("cycle_s", "count", "bulk"),
    [(0.017, 4, 3), (0.017, 16, 12), (0.017, 1, 3), (0.055, 4, 3), (0.2, 4, 99)],
)
def test_bulk_beside_a_lone_caller(loop: asyncio.AbstractEventLoop, cycle_s: float, count: int, bulk: int) -> None:
    """A caller who asks again at once meets bulk in at most every 33rd batch, a quarter of it; one who takes a fifth
    of a second meets it in none, and bulk has all of the time in between."""
    lanes = Lanes[int, int](Overload())
    waiting = set(fill(lanes, loop, BULK, *[0] * 2000))
    mixed = done = 0
    now = 0.0
    for _ in range(100):
        callers = fill(lanes, loop, INTERACTIVE, now)
        assert lanes.rests_until <= now
        batch, _ = lanes.take(count, now, item_s=0.01)
        assert batch[-1:] == callers or count == 1
        mixed += len(batch) > 1 or batch != callers
        done += len(waiting.intersection(batch))
        for job in callers:
            lanes.discard(job)
        again, now = now + cycle_s, now + 0.01
        while (now := max(now, lanes.rests_until)) < again:
            batch, _ = lanes.take(count, now, item_s=0.01)
            assert len(batch) == 1
            done, now = done + 1, now + 0.01
        now = again
    assert mixed == (3 if cycle_s < 0.1 else 0)
    assert done == bulk if cycle_s < 0.1 else done > bulk


def test_callers_do_not_rest(loop: asyncio.AbstractEventLoop) -> None:
    """Only bulk jobs wait for quiet, and not for ever."""
    lanes = Lanes[int, int](Overload())
    fill(lanes, loop, INTERACTIVE, 0)
    fill(lanes, loop, BULK, 0)
    assert lanes.rests_until < 0
    lanes.take(1, now=0, item_s=0.01)
    assert lanes.rests_until == 0.01 + QUIET_S
    fill(lanes, loop, INTERACTIVE, 0)
    assert lanes.rests_until < 0
