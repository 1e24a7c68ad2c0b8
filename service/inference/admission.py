"""Who is admitted, and how many bytes of pictures are held for them. Knows no HTTP and no queue.

A request is refused when it would go over the limit; a stream is not read on meanwhile, and streams together hold at
most half, so that neither shuts the other out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from service.errors import QueueFull
from service.inference.senders import Piece, Sender, Senders

STREAMS_SHARE = 0.5
"""Of the bytes that streams may hold: a client that stalls in the middle of a picture holds it for up to a minute."""
MIB = 1024 * 1024


class Memory:
    """The bytes of pictures between their arrival and their answer, at most `limit`.

    `refusal` makes the error for who is refused; a stream waits for room for at most `patience_s`. `places` is how many
    may be admitted.
    """

    def __init__(
        self, limit: int, *, places: Callable[[], int], patience_s: float, refusal: Callable[[str], QueueFull]
    ) -> None:
        self.limit = limit
        self.senders = Senders(places, limit, refusal)
        self.held = 0
        self.streamed = 0
        self._patience_s = patience_s
        self._refusal = refusal
        self._freed = asyncio.Event()

    @contextmanager
    def share(self, announced: int = 0, *, patient: bool = False) -> Iterator["Share"]:
        """What one caller holds, from now until the end of the block. `announced` bytes are counted before they come,
        unless it is `patient`: a stream. Raises QueueFull."""
        share = Share(self, announced, patient)
        try:
            yield share
        finally:
            share.close()

    def take(self, size: int, *, patient: bool) -> None:
        """So many more are held; fewer, below 0. Raises QueueFull, except for the patient."""
        if size > 0 and not patient and self.held + size > self.limit:
            raise self._full()
        self.held += size
        self.streamed += size if patient else 0
        if size < 0:
            self._freed.set()

    async def room(self) -> None:
        """Return when streams may hold more. Raises QueueFull when nothing became free for too long: streams that
        wait in the middle of their pictures would wait for each other."""
        if not self._crowded:
            return
        try:
            async with asyncio.timeout(self._patience_s):
                while self._crowded:
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise self._full() from None

    @property
    def _crowded(self) -> bool:
        return self.held >= self.limit or self.streamed >= self.limit * STREAMS_SHARE

    def _full(self) -> QueueFull:
        return self._refusal(
            f"The pictures that wait already hold {self.held / MIB:,.1f} MiB; with more it would be over the limit of "
            f"{self.limit / MIB:,.1f} MiB, which is GLIMT_MAX_PENDING_BYTES."
        )


class Share:
    """What one caller holds: pictures that are `kept` until they are answered, and the one that is being read."""

    def __init__(self, memory: Memory, announced: int, patient: bool) -> None:
        self._memory = memory
        self._announced = 0 if patient else announced
        self._patient = patient
        self._kept = self._reading = self._counted = 0
        self._sender = Sender(streams=patient)
        self._count()

    async def next(self, coming: Awaitable[Piece], caller: str) -> Piece:
        """What comes next of what is being read, from this caller's address. Raises QueueFull when that is slow, and
        the slow ones of the caller hold too much together."""
        self._sender.caller = caller
        return await self._memory.senders.next(self._sender, coming)

    def read(self, size: int) -> None:
        """So many bytes are here of what is being read. Raises QueueFull."""
        self._reading = size
        self._count()

    def keep(self, size: int) -> None:
        """A picture is here; nothing of the next one. Raises QueueFull."""
        self._kept += size
        self.read(0)

    def drop(self, size: int) -> None:
        """A picture is answered."""
        self._kept -= size
        self._count()

    def stream(self) -> None:
        """It has become a stream: it waits for room from now on."""
        held, self._announced = self._kept + self._reading, 0
        self._memory.take(-self._counted, patient=self._patient)
        self._patient, self._counted, self._sender.streams = True, held, True
        self._memory.take(held, patient=True)

    async def room(self) -> None:
        """To be awaited before more is read: a stream waits. Raises QueueFull."""
        if self._patient:
            await self._memory.room()

    def close(self) -> None:
        """Nothing is held any more."""
        self._memory.take(-self._counted, patient=self._patient)
        self._counted = 0

    def _count(self) -> None:
        held = max(self._announced, self._kept + self._reading)
        self._memory.take(held - self._counted, patient=self._patient)
        self._counted = self._sender.bytes = held


class Admissions:
    """Callers between their admission and their answer. The `patient` ones wait for a place and take none before."""

    def __init__(self) -> None:
        self.count = 0
        self._patient = 0
        self._nobody = asyncio.Event()
        self._nobody.set()

    @property
    def impatient(self) -> int:
        """Those that take a place from before their pictures are here."""
        return self.count - self._patient

    @contextmanager
    def one(self, *, patient: bool) -> Iterator[None]:
        """One more, until the end of the block."""
        self.count += 1
        self._patient += patient
        self._nobody.clear()
        try:
            yield
        finally:
            self.count -= 1
            self._patient -= patient
            if not self.count:
                self._nobody.set()

    async def none(self) -> None:
        """Return when nobody is admitted."""
        await self._nobody.wait()
