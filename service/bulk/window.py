"""How many pictures of all jobs are in flight at once. Knows counts and bytes, nothing of pictures."""

import asyncio


class Window:
    """Places given out in the order in which they are asked for, so that jobs take turns.

    At most `places` at once and `size` bytes among them; what is larger than `size` alone goes alone.
    """

    def __init__(self, places: int, size: int) -> None:
        self._places = places
        self._size = size
        self._taken = self._bytes = 0
        self._turn = asyncio.Lock()  # its waiters are served in order
        self._changed = asyncio.Event()

    async def take(self, size: int) -> None:
        """Wait for a place for so many bytes. Cancelled, none is taken."""
        async with self._turn:
            while self._taken and (self._taken >= self._places or self._bytes + size > self._size):
                self._changed.clear()
                await self._changed.wait()
            self._taken += 1
            self._bytes += size

    def give_back(self, size: int) -> None:
        """The place is free again."""
        self._taken -= 1
        self._bytes -= size
        self._changed.set()
