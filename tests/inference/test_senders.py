"""Who holds places for pictures that come slowly: of one caller at most half."""

import asyncio

import pytest

from service.errors import QueueFull
from service.inference.admission import Memory, Share
from service.inference.senders import SLOW_S
from tests.warp import settle, warp_loop, warped


class Crowd:
    """Bodies that come for ever, of which one can see who was given up."""

    def __init__(self, places: int = 10, limit: int = 1000) -> None:
        self.memory = Memory(limit, places=lambda: places, patience_s=10, refusal=QueueFull)
        self.tasks: list[asyncio.Task[None]] = []

    async def joined(self, count: int, caller: str, announced: int = 0, *, patient: bool = False) -> None:
        """So many more of this caller, who wait for their next byte."""
        self.tasks += [asyncio.create_task(self._send(caller, announced, patient=patient)) for _ in range(count)]
        await settle()

    async def _send(self, caller: str, announced: int, *, patient: bool) -> None:
        with self.memory.share(announced, patient=patient) as share:
            await share.next(asyncio.get_running_loop().create_future(), caller)

    async def left(self, after_s: float = 2 * SLOW_S) -> list[bool]:
        """Who is still there after a while."""
        await asyncio.sleep(after_s)
        return [not task.done() for task in self.tasks]

    async def go(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@warped
async def test_one_caller_holds_half_of_the_places() -> None:
    """257 who sent a thousand bytes a second once shut out everybody else. The oldest stay: they are nearly here."""
    crowd = Crowd(places=10)
    await crowd.joined(10, "one")
    assert await crowd.left() == [True] * 5 + [False] * 5
    with pytest.raises(QueueFull, match="from your address"):
        crowd.tasks[-1].result()
    await crowd.go()


@warped
async def test_callers_do_not_pay_for_each_other() -> None:
    """Each has a share of its own."""
    crowd = Crowd(places=10)
    for caller in ("one", "other"):
        await crowd.joined(5, caller)
    assert all(await crowd.left())
    await crowd.go()


@warped
async def test_one_caller_holds_half_of_the_bytes() -> None:
    """A few places are enough where much is announced."""
    crowd = Crowd(places=100, limit=1000)
    await crowd.joined(4, "one", announced=200)
    assert await crowd.left() == [True, True, False, False]
    assert crowd.memory.held == 400
    await crowd.go()


@warped
async def test_who_is_not_slow_is_not_counted() -> None:
    """A burst of one caller may take all places, as long as its pictures come at once."""
    crowd = Crowd(places=10)
    await asyncio.sleep(1)
    await crowd.joined(10, "one")
    assert all(await crowd.left(SLOW_S / 2))
    await crowd.go()


@warped
async def test_streams_are_not_counted() -> None:
    """They take no place, and may pause; nor does a request that has become one."""
    crowd = Crowd(places=4)
    await crowd.joined(20, "one", patient=True)
    with crowd.memory.share() as share:
        share.stream()
        waits = asyncio.create_task(share.next(asyncio.get_running_loop().create_future(), "one"))
        crowd.tasks.append(waits)
        assert all(await crowd.left())
        await crowd.go()


@warped
async def test_the_first_slow_one_is_never_given_up() -> None:
    """Where there is one place only, or its picture is as large as all may be together."""
    crowd = Crowd(places=1, limit=100)
    await crowd.joined(1, "one", announced=100)
    assert all(await crowd.left(100 * SLOW_S))
    await crowd.go()


@warped
async def test_it_is_slow_from_its_first_byte_on() -> None:
    """Also who sends one now and then."""
    memory = Memory(1000, places=lambda: 2, patience_s=10, refusal=QueueFull)

    async def send(share: Share) -> None:
        for _ in range(100):
            await share.next(asyncio.sleep(SLOW_S / 3), "one")

    with memory.share() as one, memory.share() as other:
        sending = [asyncio.create_task(send(share)) for share in (one, other)]
        await asyncio.wait(sending)
    assert [task.exception() is None for task in sending] == [True, False]


@warped
async def test_a_timeout_of_what_comes_is_its_own() -> None:
    """It is passed on."""

    async def fails() -> None:
        raise TimeoutError("its own")

    memory = Memory(1000, places=lambda: 2, patience_s=10, refusal=QueueFull)
    with memory.share() as share, pytest.raises(TimeoutError, match="its own"):
        await share.next(fails(), "one")


@warped
async def test_nobody_looks_where_nobody_sends() -> None:
    """The timer ends with the last of them: one is set by the sender, one by this test."""
    with Memory(1000, places=lambda: 2, patience_s=10, refusal=QueueFull).share() as share:
        assert await share.next(asyncio.sleep(0, b"x"), "one") == b"x"
    await asyncio.sleep(10 * SLOW_S)
    assert warp_loop().timers == 2
