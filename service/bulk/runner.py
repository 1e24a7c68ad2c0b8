"""Archives and folders to answers, as jobs that survive a crash. Jobs take turns.

Interactive callers go first in the batcher. Knows no HTTP.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import structlog

from service.bulk.archive import open_archive
from service.bulk.directory import ArchiveLimits
from service.bulk.folder import open_folder
from service.bulk.run import Progress, Run
from service.bulk.source import Source
from service.bulk.turns import Turns
from service.bulk.window import Window
from service.bulk.work import INTERNAL, RETRY_S, Classifies, Work
from service.errors import ArchiveInvalid, ArchiveTooLarge, Draining, GlimtError, StoreBusy, StoreFull
from service.store.job_rows import Job
from service.store.jobs import JobStore

T = TypeVar("T")

ACTIVE = 4
"""Jobs that run at the same time. An open archive takes up to 50 MB of memory."""
WINDOW = 32
"""Pictures in flight: a batch that runs, one that waits, and those being read and decoded."""
WINDOW_BYTES = 64 * 1024 * 1024
"""Of them, unpacked: one may have 20 MiB. One larger than this goes alone."""
READERS = 2
"""Threads that read archives: a picture inflates in a tenth of the time that it takes to be decoded."""

log = structlog.get_logger()


class BulkRunner:
    """`async with BulkRunner(...) as runner`. Entering goes on with what a crash or a shutdown interrupted; leaving
    stores what is answered and stops, and the next start goes on. `folder` has one folder for each job; below `allowed`
    lie the folders of this machine that jobs may read."""

    def __init__(
        self,
        jobs: JobStore,
        classifier: Classifies,
        folder: Path,
        limits: ArchiveLimits,
        *,
        allowed: Sequence[Path] = (),
        places: int = WINDOW,
        retry_s: float = RETRY_S,
    ) -> None:
        self._jobs = jobs
        self._folder = folder
        self._limits = limits
        self._allowed = allowed
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="bulk")
        window = Window(places, WINDOW_BYTES)
        self._work = Work(jobs, classifier, window, self._threads, retry_s=retry_s)
        self._turns = Turns(ACTIVE)
        self._runs: dict[int, Run] = {}
        self._errands: set[asyncio.Task[None]] = set()
        self._stopping = Counter[int]()
        self._leaving = False

    async def __aenter__(self) -> "BulkRunner":
        self._loop = asyncio.get_running_loop()
        known = await self._jobs.ids()
        await self.in_thread(lambda: _sweep(self._folder, known))
        unfinished = await self._jobs.unfinished()
        if any(job.status == "running" for job in unfinished):
            with suppress(StoreBusy, StoreFull):  # then they are shown as running while they wait for their turn
                await self._jobs.requeue()
        for job in unfinished:
            self.start(job)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.drain()
        if left := [*(run.task for run in self._runs.values()), *self._errands]:
            await asyncio.wait(left)
        self._threads.shutdown(wait=False, cancel_futures=True)  # what is still read is for nobody

    def drain(self) -> None:
        """Stop at once, what is answered is stored. The next start goes on."""
        self._leaving = True
        for run in self._runs.values():
            run.leave()

    def archive(self, job_id: int) -> Path:
        """Where the job's archive is while it is kept."""
        return self._folder / str(job_id) / "archive.zip"

    def source(self, job: Job) -> AbstractContextManager[Source]:
        """Where its pictures come from, to be opened. Blocking. Raises as `open_archive` and `open_folder`."""
        if job.folder is None:
            return open_archive(self.archive(job.id), self._limits)
        listing = self._folder / str(job.id) / "listing.json"
        return open_folder(Path(job.folder), listing, self._limits, self._allowed)

    def start(self, job: Job) -> None:
        """Run it when its turn comes. Its archive must be in its place."""
        if self._leaving:
            return  # the next start finds it
        run = self._runs[job.id] = Run(job)
        run.task = asyncio.create_task(self._run(run), name=f"job {job.id}")
        run.task.add_done_callback(lambda _: self._runs.pop(job.id, None))

    def progress(self, job_id: int) -> Progress | None:
        """None when the job is not under way."""
        run = self._runs.get(job_id)
        return run.progress(self._loop.time()) if run else None

    async def cancel(self, job: Job) -> None:
        """Stop it, keep what is answered. Nothing happens to one that is over. Raises as the store's writes do; then
        it goes on.

        Cancelled, it is done nevertheless.
        """
        await self._errand(self._cancel(job))

    async def forget(self, job: Job) -> None:
        """Stop it and remove it with all its answers and its archive. Raises and is cancelled as `cancel`."""
        await self._errand(self._forget(job))

    async def expire(self, days: int) -> None:
        """Forget the jobs that have been over for so long. Raises as `forget`."""
        before = datetime.now(UTC) - timedelta(days=days)
        while old := await self._jobs.ended_before(before):
            for job in old:
                await self.forget(job)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Blocking work on archives, in this room's threads."""
        return await self._loop.run_in_executor(self._threads, work)

    async def _errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)
        await asyncio.shield(task)

    async def _cancel(self, job: Job) -> None:
        async with self._stopped(job):
            await self._jobs.end(job.id, "cancelled")

    async def _forget(self, job: Job) -> None:
        async with self._stopped(job):
            await remove(self._jobs, self._folder, job)

    @asynccontextmanager
    async def _stopped(self, job: Job) -> AsyncIterator[None]:
        """The job does not run. When the block fails it does again: its row says so, and nothing else would end it."""
        self._stopping[job.id] += 1
        try:
            if run := self._runs.get(job.id):
                run.leave()
                await asyncio.wait([run.task])
            yield
        except GlimtError:
            if self._stopping[job.id] == 1 and not job.is_over:  # else another one is still trying
                self.start(job)
            raise
        finally:
            self._stopping -= Counter([job.id])

    async def _run(self, run: Run) -> None:
        job = run.job
        try:
            async with self._turns.turn(job.owner):
                await self._work.do(run, lambda: self.source(job))
            log.info("job over", job=job.id)
        except GlimtError as error:
            if run.leaving or isinstance(error, Draining):
                log.info("job interrupted", job=job.id, reason=error.detail)
                return
            log.info("job failed", job=job.id, reason=error.detail)
            if await self._fail(run, error.code, error.detail) and isinstance(error, ArchiveInvalid | ArchiveTooLarge):
                await self.in_thread(lambda: self.archive(job.id).unlink(missing_ok=True))  # nobody can read it
        except Exception:
            log.exception("job failed", job=job.id)
            await self._fail(run, "internal", INTERNAL)

    async def _fail(self, run: Run, code: str, detail: str) -> bool:
        end = self._jobs.end
        try:
            return await self._work.insist(run, lambda: end(run.job.id, "failed", code=code, detail=detail))
        except Exception:  # then the next start finds it unfinished, and fails it again
            log.exception("a failed job could not be ended", job=run.job.id)
            return False


async def remove(jobs: JobStore, folder: Path, job: Job) -> None:
    """Delete a job that does not run, with its archive; that first, so that a full disk has room to delete rows."""
    await asyncio.to_thread(shutil.rmtree, folder / str(job.id), ignore_errors=True)
    await jobs.remove(job.id)


def _sweep(folder: Path, known: frozenset[int]) -> None:
    """Remove what no job owns any more: a crash came between its row and its folder."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name.isdecimal() and int(path.name) not in known:
            shutil.rmtree(path, ignore_errors=True)
