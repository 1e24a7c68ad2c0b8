"""One database, one writer. Knows transactions and queues, no tables.

Writers queue; one task takes all that wait, runs each in a SAVEPOINT of one transaction, commits once, and only
then tells them: one fsync is shared by many (group commit), and what was acknowledged survives a power cut.
Readers have connections of their own that cannot write.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import Draining, StoreBusy, StoreFull
from service.store import schema
from service.store.engines import database_url, reading_engine, writing_engine
from service.store.failures import public_error

log = structlog.get_logger()
T = TypeVar("T")
Job = Callable[[AsyncConnection], Awaitable[T]]

READERS = 4
"""Reads are short; more connections than this only add threads."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    """A snapshot: writes waiting now, writes done and the commits they took since the start."""

    waiting: int
    writes: int
    commits: int


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    job: Job[Any]
    answer: asyncio.Future[Any]

    def settle(self, result: Any, error: Exception | None) -> None:
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)


class Database:
    """`async with Database(path_or_url) as db`. Entering migrates, leaving drains and closes.

    Entering raises StoreUnusable, and then has changed nothing.
    """

    def __init__(
        self,
        url_or_path: str | Path,
        *,
        busy_timeout_ms: int = 5000,
        max_waiting: int = 1024,
        max_batch: int = 128,
    ) -> None:
        self._url = database_url(url_or_path)
        self._busy_timeout_ms = busy_timeout_ms
        self._max_batch = max_batch
        self._waiting: asyncio.Queue[_Write] = asyncio.Queue(max_waiting)
        self._closing = False
        self._writes = 0
        self._commits = 0

    def prepare(self) -> None:
        """Check and migrate; entering does it too. Blocking: for a start that wants to fail early and in words."""
        schema.prepare(self._url, busy_timeout_ms=self._busy_timeout_ms)

    async def __aenter__(self) -> "Database":
        with ThreadPoolExecutor(1, thread_name_prefix="glimt-migrate") as thread:
            await asyncio.get_running_loop().run_in_executor(thread, self.prepare)
        self._writer = writing_engine(self._url, busy_timeout_ms=self._busy_timeout_ms)
        self._reader = reading_engine(self._url, busy_timeout_ms=self._busy_timeout_ms, connections=READERS)
        await self._open_readers()
        self._task = asyncio.create_task(self._write_forever(), name="glimt-store-writer")
        self._task.add_done_callback(self._writer_ended)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._closing = True
        try:
            await self._waiting.join()
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._writer.dispose()
            await self._reader.dispose()

    @property
    def alive(self) -> bool:
        """Whether writes can be taken at all. False before the start, after the end, and when the writer died."""
        return hasattr(self, "_task") and not self._task.done()

    def stats(self) -> StoreStats:
        return StoreStats(self._waiting.qsize(), self._writes, self._commits)

    async def write(self, job: Job[T]) -> T:
        """Run `job` in the writer's transaction; returns its result after COMMIT.

        What the job raises comes back here and undoes this job alone. It must do nothing but SQL: it may be run
        again when its batch could not be committed. Raises StoreBusy at once when the queue is full, or after
        the busy timeout when another process holds the lock; StoreFull; Draining after the end has begun.
        Cancelled before its turn a job is not run; cancelled later it may still be committed.
        """
        if self._closing:
            raise Draining("The service is shutting down; nothing more can be stored.")
        if not self.alive:
            raise StoreBusy("Nothing can be stored: the database writer has stopped. Restart the service.")
        write = _Write(job, asyncio.get_running_loop().create_future())
        try:
            self._waiting.put_nowait(write)
        except asyncio.QueueFull:
            waiting = self._waiting.maxsize
            raise StoreBusy(f"{waiting} writes are waiting for the database already; try again shortly.") from None
        result: T = await write.answer
        return result

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that cannot write. Raises StoreBusy when all are in use for the busy timeout."""
        try:
            async with self._reader.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            public = public_error(error)
            if public is error:
                raise
            raise public from error

    async def _open_readers(self) -> None:
        """All of them: what they take is taken at the start, and not in some busy hour."""
        async with AsyncExitStack() as stack:
            for _ in range(READERS):
                await stack.enter_async_context(self._reader.connect())

    async def _write_forever(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._max_batch and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                await self._settle(batch)
            finally:
                for write in batch:
                    write.settle(None, StoreBusy("The database writer stopped before this was stored."))
                    self._waiting.task_done()

    async def _settle(self, batch: list[_Write]) -> None:
        """Commit the batch, then tell each its own outcome."""
        try:
            outcomes = await self._commit(batch)
        except Exception as error:
            public = public_error(error)
            if len(batch) > 1 and isinstance(public, StoreFull):
                for write in batch:  # there may be room for some of them
                    await self._settle([write])
                return
            known = public is not error  # then the reason says it all, and a stack trace nothing more
            log.warning("store batch failed", writes=len(batch), reason=str(public), exc_info=None if known else error)
            outcomes = [(None, error)] * len(batch)
            if isinstance(public, StoreBusy):
                self._refuse_waiting(error)  # they have waited as long: another round would double the timeout
        for write, (result, failure) in zip(batch, outcomes, strict=True):
            write.settle(result, failure and _public(failure))

    async def _commit(self, batch: list[_Write]) -> list[tuple[Any, Exception | None]]:
        async with self._writer.begin() as connection:
            outcomes = [await _attempt(connection, write) for write in batch]
        self._commits += 1
        self._writes += sum(error is None for _, error in outcomes)
        return outcomes

    def _refuse_waiting(self, error: Exception) -> None:
        while not self._waiting.empty():
            self._waiting.get_nowait().settle(None, _public(error))
            self._waiting.task_done()

    def _writer_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("store writer died", exc_info=error)
        self._refuse_waiting(StoreBusy("The database writer stopped before this was stored."))


async def _attempt(connection: AsyncConnection, write: _Write) -> tuple[Any, Exception | None]:
    """Run one job in a SAVEPOINT; its failure is an outcome, unless it took the whole transaction with it."""
    if write.answer.done():
        return None, None
    # Not begin_nested(): that does not notice when the savepoint has gone, and neighbours would be told a lie.
    await connection.exec_driver_sql("SAVEPOINT job")
    try:
        result = await write.job(connection)
        await connection.exec_driver_sql("RELEASE SAVEPOINT job")
    except Exception as error:
        try:
            await connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
        except SQLAlchemyError as lost:
            # SQLite rolls everything back by itself on a full disk or an I/O error: the neighbours are lost too. They
            # are told of that, and not this job's own trouble (that its address is taken, say).
            raise (lost if public_error(error) is error else error) from None
        return None, error
    return result, None


def _public(error: Exception) -> Exception:
    """A fresh error for each waiter, with the driver's own as its cause."""
    public = public_error(error)
    if public is not error:
        public.__cause__ = error
    return public
