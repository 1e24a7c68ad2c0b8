"""Places in flight: how many, how large, in which order, and none lost."""

import asyncio
import random

import pytest

from service.bulk.window import Window
from tests.warp import settle, warped


class Takers:
    """Who wants a place, in order; `holding` have one."""

    def __init__(self, places: int, size: int) -> None:
        self.window = Window(places, size)
        self.holding: list[int] = []

    async def take(self, size: int) -> None:
        await self.window.take(size)
        self.holding.append(size)

    async def ask(self, *sizes: int) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.take(size)) for size in sizes]
        await settle()
        return tasks

    async def free(self, size: int) -> None:
        self.holding.remove(size)
        self.window.give_back(size)
        await settle()


@warped
async def test_at_most_so_many() -> None:
    """The next one waits for a place."""
    takers = Takers(2, 1000)
    await takers.ask(1, 2, 3)
    assert takers.holding == [1, 2]
    await takers.free(2)
    assert takers.holding == [1, 3]


@warped
async def test_at_most_so_many_bytes_in_order() -> None:
    """A large one waits for room, and a small one behind it does not overtake it."""
    takers = Takers(10, 100)
    await takers.ask(60, 50, 1)
    assert takers.holding == [60]
    await takers.free(60)
    assert takers.holding == [50, 1]


@warped
async def test_one_too_large_goes_alone() -> None:
    """Neither before the others have gone nor with any beside it."""
    takers = Takers(10, 100)
    await takers.ask(10, 101, 0)
    assert takers.holding == [10]
    await takers.free(10)
    assert takers.holding == [101]
    await takers.free(101)
    assert takers.holding == [0]


@pytest.mark.parametrize("seed", range(20))
def test_no_place_is_lost_however_many_give_up(seed: int) -> None:
    """Takers come, leave and are cancelled at random; afterwards all places are free."""
    chance = random.Random(seed)

    async def one(window: Window, size: int) -> None:
        await window.take(size)
        try:
            await asyncio.sleep(chance.random())
        finally:
            window.give_back(size)

    @warped
    async def run() -> None:
        takers = Takers(3, 100)
        tasks = []
        for _ in range(100):
            tasks.append(asyncio.create_task(one(takers.window, chance.randrange(120))))
            await asyncio.sleep(chance.random() / 3)
            chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await takers.ask(33, 33, 34, 0)
        assert takers.holding == [33, 33, 34]

    run()
