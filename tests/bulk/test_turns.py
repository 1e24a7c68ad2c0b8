"""Whose job runs next."""

import asyncio

from service.bulk.turns import Turns
from tests.warp import settle, warped


class Jobs:
    """Jobs that run until they are told to end."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.running: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def _run(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.running.append(name)
            try:
                await self.ends[name].wait()
            finally:
                self.running.remove(name)

    async def begin(self, *names: str) -> None:
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._run(name))
        await settle()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await settle()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await settle()


@warped
async def test_so_many_run_and_the_others_follow_in_order() -> None:
    """One owner's jobs run in the order in which they came."""
    jobs = Jobs(2)
    await jobs.begin("a1", "a2", "a3", "a4")
    assert jobs.running == ["a1", "a2"]
    await jobs.end("a2")
    assert jobs.running == ["a1", "a3"]


@warped
async def test_nobody_waits_for_all_of_anothers() -> None:
    """The next place goes to who has the fewest running, though others came earlier."""
    jobs = Jobs(2)
    await jobs.begin("a1", "a2", "a3", "b1", "b2", "c1")
    await jobs.end("a1")
    assert jobs.running == ["a2", "b1"]
    await jobs.end("a2")
    assert jobs.running == ["b1", "a3"]
    await jobs.end("b1")
    assert jobs.running == ["a3", "b2"]


@warped
async def test_cancelled_jobs_leave_their_places() -> None:
    """One that waits, one that runs, and one that was called at that very moment."""
    jobs = Jobs(1)
    await jobs.begin("a1", "a2", "a3", "a4")
    await jobs.cancel("a2")
    assert jobs.running == ["a1"]
    jobs.tasks["a1"].cancel()
    await asyncio.sleep(0)
    await jobs.cancel("a3")  # called, and had no time to begin
    assert jobs.running == ["a4"]
    await jobs.cancel("a4")
    await jobs.begin("a5", "a6")
    assert jobs.running == ["a5"]
