"""Rows that nobody waits for: gathered for a moment, written together, in the order they came. Knows no SQL."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, TypeVar

import structlog

from service.errors import GlimtError

log = structlog.get_logger()
T = TypeVar("T")

MAX_ROWS = 1000
"""Gathered at most, while as many are being written: two seconds of what a fast machine answers."""
_GATHER_S = 0.25
"""A write costs the loop a millisecond, each row in it a hundredth of that."""
_SAY_EVERY_S = 60.0


@dataclass
class _Batch(Generic[T]):
    rows: list[T] = field(default_factory=list)
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Recorder(Generic[T]):
    """`async with Recorder(write) as recorder`. Leaving writes what was recorded before.

    What cannot be written, or comes when MAX_ROWS wait, is lost: counted in `lost`, and logged once a minute at most.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[None]],
        *,
        gather_s: float = _GATHER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._gather_s = gather_s
        self._clock = clock
        self._gathering: _Batch[T] = _Batch()
        self._writing: _Batch[T] | None = None
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self.lost = 0
        self._unsaid = 0
        self._silent_until = 0.0

    async def __aenter__(self) -> "Recorder[T]":
        self._task = asyncio.create_task(self._write_forever(), name="glimt-recorder")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            await self.flush()
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])
            if self._unsaid:
                self._say("the service ends")

    def record(self, row: T) -> None:
        """Have it written soon. Never waits, never raises."""
        rows = self._gathering.rows
        if len(rows) >= MAX_ROWS:
            self._lose(1, f"{MAX_ROWS} rows were waiting already")
            return
        rows.append(row)
        if len(rows) == 1:
            self._wake.set()
        elif len(rows) == MAX_ROWS:
            self._hurry.set()

    async def flush(self) -> None:
        """Return when all that was recorded until now is written, or lost."""
        batch = self._gathering if self._gathering.rows else self._writing
        if batch:
            self._hurry.set()
            await batch.settled.wait()

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._gather_s):
                    await self._hurry.wait()
            self._wake.clear()
            self._hurry.clear()
            batch, self._gathering = self._gathering, _Batch()
            self._writing = batch
            try:
                await self._write(batch.rows)
            except Exception as error:
                self._lose(len(batch.rows), error)
            finally:
                self._writing = None
                batch.settled.set()

    def _lose(self, count: int, reason: str | Exception) -> None:
        self.lost += count
        self._unsaid += count
        if self._clock() >= self._silent_until:
            self._silent_until = self._clock() + _SAY_EVERY_S
            self._say(reason)

    def _say(self, reason: str | Exception) -> None:
        unknown = reason if isinstance(reason, Exception) and not isinstance(reason, GlimtError) else None
        log.warning("history rows were lost", rows=self._unsaid, reason=str(reason), exc_info=unknown)
        self._unsaid = 0
