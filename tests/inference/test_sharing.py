"""Values that are kept, computations that are shared."""

import asyncio

import pytest

from service.inference.sharing import Flights, Kept


def test_kept_is_bounded_and_drops_what_was_not_asked_for() -> None:
    """Of two, the one asked for last stays."""
    kept = Kept[str, int](2)
    kept.keep("a", 1)
    kept.keep("b", 2)
    assert kept.get("a") == 1
    kept.keep("c", 3)
    assert [kept.get(key) for key in "abc"] == [1, None, 3]


async def test_one_computation_for_all_who_ask_at_once() -> None:
    """Its error is everybody's as well; the next who asks starts another."""
    started = 0

    async def compute() -> int:
        nonlocal started
        started += 1
        await asyncio.sleep(0)
        if started == 1:
            raise ZeroDivisionError
        return started

    flights = Flights[str, int]()
    ends = await asyncio.gather(*(flights.ride("a", compute) for _ in range(3)), return_exceptions=True)
    assert [type(end) for end in ends] == [ZeroDivisionError] * 3
    assert "a" not in flights
    assert await flights.ride("a", compute) == 2


async def test_nobody_waits_any_more() -> None:
    """The computation is cancelled with its last rider, not before."""
    cancelled = asyncio.Event()

    async def compute() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 0

    flights = Flights[str, int]()
    riders = [asyncio.create_task(flights.ride("a", compute)) for _ in range(2)]
    await asyncio.sleep(0)
    for rider, is_last in zip(riders, (False, True), strict=True):
        rider.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rider
        await asyncio.sleep(0)
        assert cancelled.is_set() is is_last
    assert "a" not in flights
