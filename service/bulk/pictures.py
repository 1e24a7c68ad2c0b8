"""Single pictures out of the archives and folders of jobs, for who looks at them one by one."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import TypeVar

from service.bulk.runner import BulkRunner
from service.bulk.source import Source
from service.errors import GlimtError
from service.store.job_rows import Job

T = TypeVar("T")

OPEN = 2
"""Archives kept open: one is read page by page, and its directory of 100,000 names would be read for each picture."""
IDLE_S = 60.0


class JobPictures:
    """`async with JobPictures(runner) as pictures`. It reads one at a time."""

    def __init__(self, runner: BulkRunner) -> None:
        self._runner = runner
        self._open: OrderedDict[int, tuple[Source, AbstractContextManager[Source]]] = OrderedDict()

    async def __aenter__(self) -> "JobPictures":
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        async with self._turn:
            self._close(0)

    async def use(self, job: Job, position: int, work: Callable[[bytes], T]) -> T | None:
        """What `work` makes of the picture's bytes, in a thread; None when there is none any more.

        Raises what `work` raises.
        """
        async with self._opened(job) as source:
            if source is None or position >= len(source.entries) or source.entries[position].skip is not None:
                return None
            return await self._runner.in_thread(lambda: work(source.read(source.entries[position])))

    async def close(self, job_id: int) -> None:
        """Do not keep the job's archive open, if it is."""
        async with self._turn:
            if opened := self._open.pop(job_id, None):
                opened[1].__exit__(None, None, None)

    @asynccontextmanager
    async def _opened(self, job: Job) -> AsyncIterator[Source | None]:
        async with self._turn:
            if self._idle:
                self._idle.cancel()
            try:
                if job.id not in self._open:
                    self._close(OPEN - 1)
                    opening = self._runner.source(job)
                    self._open[job.id] = await self._runner.in_thread(opening.__enter__), opening
                self._open.move_to_end(job.id)
                source = self._open[job.id][0]
            except (OSError, GlimtError):
                source = None
            try:
                yield source
            finally:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._close, 0)

    def _close(self, most: int) -> None:
        """All but so many, the one that was used least recently first."""
        if self._idle:
            self._idle.cancel()
        while len(self._open) > most:
            self._open.popitem(last=False)[1][1].__exit__(None, None, None)
