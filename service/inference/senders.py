"""Whose pictures are still coming. Knows no HTTP.

A place is held from before a picture's first byte. Who sends it slowly holds it long, and a thousand bytes a second are
enough: a few hundred such bodies would shut everybody out. So the slow ones of one caller may hold half of the places
and of the bytes, and what is over that is given up. Who merely waits for an answer is not counted, nor are streams,
which take no place.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from service.errors import QueueFull

Piece = TypeVar("Piece")

SLOW_S = 1.0
"""Most networks bring a picture sooner: who sends for longer is slow."""
MOST = 0.5
"""Of the places, and of the bytes, that the slow ones of one caller may hold."""


@dataclass(eq=False, slots=True)
class Sender:
    """One picture or form that comes, of a `caller`, `since` when. It holds so many `bytes`, and a place unless it
    `streams`."""

    bytes: int = 0
    streams: bool = False
    caller: str = ""
    since: float = math.inf


class Senders:
    """All that wait for more to come. `places` and `limit` bytes are what all together may hold; `refusal` makes the
    error for who holds too much of it."""

    def __init__(self, places: Callable[[], int], limit: int, refusal: Callable[[str], QueueFull]) -> None:
        self._places = places
        self._limit = limit
        self._refusal = refusal
        self._waiting: dict[Sender, asyncio.Timeout] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def next(self, sender: Sender, coming: Awaitable[Piece]) -> Piece:
        """What comes. Raises QueueFull instead when it is slow and its caller's slow ones hold too much."""
        loop = asyncio.get_running_loop()
        sender.since = min(sender.since, loop.time())
        if self._timer is None:
            self._timer = loop.call_later(SLOW_S, self._look)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._waiting[sender] = limit
                return await coming
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._refusal(
                f"Pictures that come slowly from your address hold more than {MOST:.0%} of what all may hold together. "
                "Send fewer at a time, or over a better connection."
            ) from None
        finally:
            del self._waiting[sender]

    def _look(self) -> None:
        """Give up what is too much; the oldest of each caller stay, which may soon be here."""
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SLOW_S, self._look)
        places, now, held = self._places(), loop.time(), dict[str, float]()
        slow = [it for it in self._waiting if now - it.since >= SLOW_S and not it.streams]
        for sender in sorted(slow, key=lambda it: it.since):
            before = held.get(sender.caller, 0.0)
            after = before + max(1 / places, sender.bytes / self._limit)
            if before and after > MOST:
                self._waiting[sender].reschedule(now)
            else:
                held[sender.caller] = after
