"""An archive onto the disk as it arrives, within its limits and the room there is, and from there into a job.

Knows no HTTP: who reads the body hands over chunks. What is not whole lies in a folder of its own, under no name that
a client chose, and is gone when its sender leaves, or at the next start.
"""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

from service.bulk.folder import allowed_folder
from service.bulk.runner import BulkRunner
from service.errors import BadRequest, BodyTooLarge, Draining, GlimtError, StoreFull, TooManyRequests
from service.files import NO_ROOM, sync
from service.store.job_rows import Job
from service.store.jobs import JobStore

T = TypeVar("T")
Take = Callable[[bytes], Awaitable[None]]
Body = Callable[[Take], Awaitable[str]]
"""Hands over its bytes, piece by piece, and returns the name to show, "" for none."""

MIB = 1024 * 1024
BLOCK_BYTES = MIB
"""Of one write: each costs a turn of the thread. An upload holds so much in memory, and the piece that came last."""
RESERVE_BYTES = 128 * MIB
"""Stays free, for the answers of jobs (some 1 KB for a picture) and what else the service must be able to store."""
PATIENCE_S = 60.0
"""So long an upload may stand still. One that hangs would hold its place among the owner's jobs for ever."""
RETRY_AFTER_S = 30
MAX_NAME_CHARS = 255
_REMOVE = "Remove jobs that are over (DELETE /api/jobs/<id>?remove=true)"
_WAY_OUT = f"{_REMOVE}, send a smaller archive, or ask the operator for room."


class Inbox:
    """`async with Inbox(...) as inbox`. Files are written in the one thread it owns, one block after the other.

    `max_bytes` is for one archive, `max_kept_bytes` for all that are kept of one owner's. Folders may be read below
    those in `allowed`.
    """

    def __init__(
        self,
        jobs: JobStore,
        runner: BulkRunner,
        folder: Path,
        draining: asyncio.Event,
        *,
        max_bytes: int,
        max_kept_bytes: int,
        max_jobs: int,
        allowed: Sequence[Path] = (),
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_kept_bytes = max_kept_bytes
        self.max_jobs = max_jobs
        self.allowed = allowed
        self._jobs = jobs
        self._runner = runner
        self._unfinished = folder / "unfinished"
        self._draining = draining
        self._patience_s = patience_s
        self._arriving = Counter[str | None]()
        self._adding = asyncio.Lock()

    async def __aenter__(self) -> "Inbox":
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="glimt-inbox")
        await self.in_thread(self._open)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)

    async def take_in(self, owner: str | None, body: Body, *, announced: int | None = None, name: str = "") -> Job:
        """The archive that `body` hands over as a job of the owner's, safe on disk and begun.

        `announced` is its size in bytes if the sender says so; `name` what it is called, for show, else what `body`
        says. Raises TooManyRequests, BodyTooLarge, StoreFull, Draining, BadRequest for nothing or a sender that stands
        still, and what `body` raises; then, as when it is cancelled, nothing is left of it.
        """
        async with self._place(owner):
            await self._check_kept(owner, announced or 1)
            async with self.receive(body, announced=announced) as (arrival, sent_name):
                name = sent_name or name
                async with self._adding:  # two that arrive at once must not both find the last room
                    await self._check_kept(owner, arrival.size)
                    job = await self._jobs.add(owner, shown(name), arrival.size)
                try:
                    await arrival.move(self._runner.archive(job.id))
                except (OSError, StoreFull):
                    await self._take_back(job)
                    raise
        self._runner.start(job)
        return job

    @asynccontextmanager
    async def receive(self, body: Body, *, announced: int | None = None) -> AsyncIterator[tuple["Arrival", str]]:
        """A file, safe on disk, and its name. Unless it is moved from there, it is gone at the end. Raises as `take_in`
        about the file."""
        self.refuse_when_draining()
        async with self._arrival(announced or 0) as arrival:
            yield arrival, await self._received(body, arrival)

    async def take_folder(self, owner: str | None, folder: str) -> Job:
        """A folder of this machine as a job of the owner's, begun. What is in it is looked at when its turn comes.

        Raises Forbidden unless it is allowed, InvalidField when there is none, TooManyRequests, Draining.
        """
        async with self._place(owner):
            found = await self._runner.in_thread(lambda: allowed_folder(folder, self.allowed))
            job = await self._jobs.add(owner, shown(found.name or "folder"), 0, str(found))
        self._runner.start(job)
        return job

    async def _take_back(self, job: Job) -> None:
        """Forget a job whose archive could not be put in its place."""
        try:
            await self._runner.forget(job)
        except GlimtError:  # then it is run, finds no archive, and fails once that can be stored
            self._runner.start(job)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Blocking work on files. A full disk becomes StoreFull."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise StoreFull(f"The service's disk is full. {_WAY_OUT}") from error

    async def _received(self, body: Body, arrival: "Arrival") -> str:
        """All of it is on disk; the name to show."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience_s) as patience:

                async def take(chunk: bytes) -> None:
                    self.refuse_when_draining()
                    await arrival.write(chunk)
                    patience.reschedule(loop.time() + self._patience_s)

                name = await body(take)
        except TimeoutError as error:
            raise BadRequest(f"Nothing more came for {self._patience_s:.0f} s. Send the archive again.") from error
        if not arrival.size:
            raise BadRequest("There is no archive. Send it as the body, or as a part named `file`.")
        await arrival.settle()
        return name

    @asynccontextmanager
    async def _place(self, owner: str | None) -> AsyncIterator[None]:
        """Among the owner's jobs, for one that is about to be. Raises TooManyRequests, Draining."""
        self.refuse_when_draining()
        if await self._jobs.count_unfinished(owner) + self._arriving[owner] >= self.max_jobs:
            raise TooManyRequests(
                f"{self.max_jobs} of your jobs are not over yet, the limit. Wait until one is done, or cancel one.",
                retry_after_s=RETRY_AFTER_S,
            )
        self._arriving[owner] += 1
        try:
            yield
        finally:
            self._arriving[owner] -= 1

    async def _check_kept(self, owner: str | None, size: int) -> None:
        kept = await self._jobs.kept_bytes(owner)
        if kept + size > self.max_kept_bytes:
            raise BodyTooLarge(
                f"Your archives that are kept have {_mib(kept)}; with this one they would have more than "
                f"{_mib(self.max_kept_bytes)}, the limit. {_REMOVE}, or have the operator raise GLIMT_MAX_JOB_BYTES."
            )

    def refuse_when_draining(self) -> None:
        """Raises Draining once the service shuts down."""
        if self._draining.is_set():
            raise Draining("The service is shutting down and takes no new work.", retry_after_s=5)

    @asynccontextmanager
    async def _arrival(self, announced: int) -> AsyncIterator["Arrival"]:
        if announced > self.max_bytes:
            raise too_large(self.max_bytes)
        await self.in_thread(lambda: self.check_room(announced))
        arrival = Arrival(self, await self.in_thread(self._create))
        try:
            yield arrival
        finally:
            await asyncio.shield(self.in_thread(arrival.discard))  # behind a write that is still under way

    def _open(self) -> None:
        shutil.rmtree(self._unfinished, ignore_errors=True)  # what a crash left half written
        self._unfinished.mkdir(mode=0o700, parents=True)

    def _create(self) -> BinaryIO:
        descriptor, path = tempfile.mkstemp(dir=self._unfinished)  # made with mode 0600
        os.close(descriptor)
        return open(path, "wb", buffering=0)

    def check_room(self, needed: int) -> None:
        """Raises StoreFull unless so many bytes can be written. Blocking."""
        free = max(0, shutil.disk_usage(self._unfinished).free - RESERVE_BYTES)
        if needed > free:
            raise StoreFull(
                f"There is no room for this archive: {_mib(needed)} are needed, {_mib(free)} are free on the "
                f"service's disk ({_mib(RESERVE_BYTES)} more are kept for answers). {_WAY_OUT}"
            )


class Arrival:
    """A file under way. `size` are the bytes that have come."""

    def __init__(self, inbox: Inbox, file: BinaryIO) -> None:
        self.size = 0
        self._inbox = inbox
        self._file = file
        self._block = bytearray()

    @property
    def path(self) -> Path:
        """Where it is until it is moved."""
        return Path(self._file.name)

    async def write(self, chunk: bytes) -> None:
        """Take this too. Waits for the disk once a block is full. Raises BodyTooLarge, StoreFull."""
        self.size += len(chunk)
        if self.size > self._inbox.max_bytes:
            raise too_large(self._inbox.max_bytes)
        self._block += chunk
        if len(self._block) >= BLOCK_BYTES:
            await self._flush()

    async def settle(self) -> None:
        """All of it is safe on disk when this returns."""
        await self._flush()
        await self._inbox.in_thread(lambda: os.fsync(self._file.fileno()))

    async def move(self, target: Path) -> None:
        """To where it stays. Raises OSError."""
        await self._inbox.in_thread(lambda: self._move(target))

    def discard(self) -> None:
        """Blocking. What was moved stays."""
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)

    async def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        await self._inbox.in_thread(lambda: self._write(block))

    def _write(self, block: bytearray) -> None:
        self._inbox.check_room(len(block))
        rest = memoryview(block)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _move(self, target: Path) -> None:
        target.parent.mkdir(mode=0o700)
        os.replace(self._file.name, target)
        sync(target.parent)
        sync(target.parent.parent)


def shown(name: str) -> str:
    """The last part of a name that a client chose, its end if it is long, without what cannot be printed."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(it if it.isprintable() else "\ufffd" for it in last[-MAX_NAME_CHARS:]) or "archive.zip"


def too_large(max_bytes: int) -> BodyTooLarge:
    """The error for an archive over the limit."""
    return BodyTooLarge(
        f"The archive has more than {_mib(max_bytes)}, the limit. Split one of pictures into several, or have the "
        "operator raise GLIMT_MAX_ZIP_BYTES."
    )


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f} MiB"
