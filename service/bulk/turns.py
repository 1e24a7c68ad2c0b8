"""Which jobs run and which wait. Knows owners, nothing of archives."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `places` jobs run. Next is the oldest one of an owner who has the fewest running, so that nobody waits
    for all that somebody else has sent."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._running: Counter[str] = Counter()
        self._waiting: dict[asyncio.Event, str] = {}

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for a place and hold it. Cancelled, none is held."""
        called = asyncio.Event()
        self._waiting[called] = owner
        self._call()
        try:
            await called.wait()
            yield
        finally:
            if self._waiting.pop(called, None) is None:
                self._running -= Counter([owner])
            self._call()

    def _call(self) -> None:
        while self._waiting and self._running.total() < self._places:
            called = min(self._waiting, key=lambda event: self._running[self._waiting[event]])
            self._running[self._waiting.pop(called)] += 1
            called.set()
