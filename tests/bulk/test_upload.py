"""Archives on their way in: limits while reading, room on the disk, and nothing left of what does not arrive whole."""

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, TypeVar, cast

import pytest

from service.bulk import upload
from service.bulk.runner import BulkRunner
from service.bulk.upload import BLOCK_BYTES, MIB, RESERVE_BYTES, Body, Inbox, Take
from service.errors import (
    BadRequest,
    BodyTooLarge,
    ClientGone,
    Draining,
    Forbidden,
    GlimtError,
    StoreFull,
    TooManyRequests,
)
from service.store.job_rows import Job
from service.store.jobs import JobStore
from tests.world import make_database

T = TypeVar("T")

MAX_BYTES = 3 * BLOCK_BYTES


class Starts:
    """A runner that only notes what it is given."""

    def __init__(self, folder: Path, store: JobStore) -> None:
        self.folder = folder
        self.store = store
        self.started: list[Job] = []
        self.full = False

    def archive(self, job_id: int) -> Path:
        return self.folder / str(job_id) / "archive.zip"

    def start(self, job: Job) -> None:
        assert self.archive(job.id).exists() or self.full or job.folder
        self.started.append(job)

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    async def forget(self, job: Job) -> None:
        if self.full:
            raise StoreFull("There is no room.")
        await self.store.remove(job.id)


class World:
    """An inbox over a real store and a real disk."""

    def __init__(self, folder: Path, store: JobStore, **changes: Any) -> None:
        self.folder = folder
        self.store = store
        self.starts = Starts(folder, store)
        self.draining = asyncio.Event()
        limits = {"max_bytes": MAX_BYTES, "max_kept_bytes": 4 * MAX_BYTES, "max_jobs": 2} | changes
        self.inbox = Inbox(store, cast(BulkRunner, self.starts), folder, self.draining, **limits)

    def files(self) -> list[str]:
        """What is on the disk."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@asynccontextmanager
async def a_world(folder: Path, **changes: Any) -> AsyncIterator[World]:
    async with make_database(folder) as database:
        world = World(folder / "jobs", JobStore(database), **changes)
        async with world.inbox:
            yield world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


def body(*chunks: bytes, name: str = "", error: GlimtError | None = None) -> Body:
    """Chunks, and perhaps an error then."""

    async def give(take: Take) -> str:
        for chunk in chunks:
            await take(chunk)
        if error:
            raise error
        return name

    return give


async def test_what_comes_is_what_is_kept(world: World) -> None:
    """Across the borders of blocks; then the job is there, and begins."""
    chunks = [os.urandom(size) for size in (1, BLOCK_BYTES, 5, BLOCK_BYTES - 7, 100)]
    job = await world.inbox.take_in("1", body(*chunks, name="C:\\photos\\beach.zip"))
    assert world.starts.archive(job.id).read_bytes() == b"".join(chunks)
    assert (job.file_name, job.bytes, job.status) == ("beach.zip", sum(map(len, chunks)), "queued")
    assert world.starts.started == [job]
    assert world.files() == [f"{job.id}/archive.zip"]
    assert await world.store.list("1") == (job,)


@pytest.mark.parametrize(
    ("given", "asked", "shown"),
    [
        ("", "", "archive.zip"),
        ("", "asked.zip", "asked.zip"),
        ("part.zip", "asked.zip", "part.zip"),
        ("../../etc/passwd", "", "passwd"),
        ("a\0b\r\nc.zip", "", "a\ufffdb\ufffd\ufffdc.zip"),
        ("x" * 300 + ".zip", "", "x" * 251 + ".zip"),
    ],
)
async def test_a_name_is_only_shown(world: World, given: str, asked: str, shown: str) -> None:
    """The part's name first; its end, cut; never a path."""
    job = await world.inbox.take_in(None, body(b"zip", name=given), name=asked)
    assert job.file_name == shown
    assert world.files() == [f"{job.id}/archive.zip"]


@pytest.mark.parametrize("announced", [None, MAX_BYTES + 1])
async def test_over_the_limit(world: World, announced: int | None) -> None:
    """Refused with the limit while it is read, or before when it says so; nothing is left."""
    taken: list[int] = []

    async def give(take: Take) -> str:
        for _ in range(100):
            await take(bytes(BLOCK_BYTES))
            taken.append(1)
        return ""

    with pytest.raises(BodyTooLarge, match=r"more than 3\.0 MiB, the limit.*GLIMT_MAX_ZIP_BYTES"):
        await world.inbox.take_in("1", give, announced=announced)
    assert len(taken) == (0 if announced else 3)
    assert world.files() == []
    assert await world.store.list("1") == ()


@pytest.mark.parametrize("error", [ClientGone(), BadRequest()])
async def test_a_sender_that_leaves(world: World, error: GlimtError) -> None:
    """Nothing is left, and its place is free."""
    for _ in range(5):
        with pytest.raises(type(error)):
            await world.inbox.take_in("1", body(bytes(BLOCK_BYTES + 1), error=error))
    assert world.files() == []


async def test_cancelled(world: World) -> None:
    """As at the end of the grace time: nothing is left."""
    begun = asyncio.Event()

    async def hang(take: Take) -> str:
        await take(bytes(BLOCK_BYTES))
        begun.set()
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(world.inbox.take_in("1", hang))
    await begun.wait()
    assert len(world.files()) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.files() == []


async def test_a_sender_that_stands_still(tmp_path: Path) -> None:
    """It does not hold its place for ever."""

    async def hang(take: Take) -> str:
        await take(b"zip")
        await asyncio.Event().wait()
        return ""

    async with a_world(tmp_path, patience_s=0.01) as world:
        with pytest.raises(BadRequest, match="Nothing more came"):
            await world.inbox.take_in("1", hang)
        assert world.files() == []


async def test_nothing_at_all(world: World) -> None:
    """An empty body is no archive."""
    with pytest.raises(BadRequest, match="There is no archive"):
        await world.inbox.take_in("1", body(b""))
    assert world.files() == []


async def test_too_many_at_once(world: World) -> None:
    """Jobs that are not over and archives under way count together, for each owner apart."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow(take: Take) -> str:
        await take(b"zip")
        began.set()
        await go_on.wait()
        return ""

    first = await world.inbox.take_in("1", body(b"zip"))
    second = asyncio.create_task(world.inbox.take_in("1", slow))
    await began.wait()
    with pytest.raises(TooManyRequests, match="2 of your jobs are not over yet, the limit"):
        await world.inbox.take_in("1", body(b"zip"))
    await world.inbox.take_in("2", body(b"zip"))
    go_on.set()
    await second
    await world.store.end(first.id, "done")
    await world.inbox.take_in("1", body(b"zip"))


async def test_no_room_for_what_is_announced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a byte is read, with what is needed and what is free, above what is kept for answers."""
    usage = SimpleNamespace(free=RESERVE_BYTES + BLOCK_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StoreFull, match=r"2\.0 MiB are needed, 1\.0 MiB are free"):
        await world.inbox.take_in("1", body(), announced=2 * BLOCK_BYTES)
    await world.inbox.take_in("1", body(b"zip"), announced=BLOCK_BYTES)


async def test_the_disk_runs_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others write too: it is looked at again at each block, and what has come is removed."""
    usage = SimpleNamespace(free=RESERVE_BYTES + 2 * BLOCK_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    async def give(take: Take) -> str:
        await take(bytes(BLOCK_BYTES))
        usage.free = RESERVE_BYTES
        await take(bytes(BLOCK_BYTES))
        return ""

    with pytest.raises(StoreFull, match="There is no room"):
        await world.inbox.take_in("1", give)
    assert world.files() == []


async def test_a_full_disk_while_writing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own word for it becomes ours, with the way out."""

    def full(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match=r"disk is full\. Remove jobs"):
        await world.inbox.take_in("1", body(b"zip"))
    assert world.files() == []
    assert await world.store.list("1") == ()


async def test_a_move_that_fails(world: World) -> None:
    """No job is left without its archive."""
    (world.folder / "1").write_bytes(b"in the way")
    with pytest.raises(FileExistsError):
        await world.inbox.take_in("1", body(b"zip"))
    assert await world.store.list("1") == ()
    assert world.files() == ["1"]


@pytest.mark.parametrize("full", [False, True])
async def test_no_room_for_the_move(world: World, monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    """A disk that was full at the very end left a job that was queued until the next start, and took one of its
    owner's places. It is removed; where even that has no room, it is run, to fail for want of its archive."""

    def no_room(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", no_room)
    world.starts.full = full
    with pytest.raises(StoreFull, match="disk is full"):
        await world.inbox.take_in("1", body(b"zip"))
    left = await world.store.list("1")
    assert len(left) == full
    assert world.starts.started == [*left]
    assert world.files() == []


async def test_while_the_service_shuts_down(world: World) -> None:
    """What is new is refused, and what is under way at its next bytes."""

    async def give(take: Take) -> str:
        await take(b"zip")
        world.draining.set()
        await take(b"zip")
        return ""

    with pytest.raises(Draining):
        await world.inbox.take_in("1", give)
    with pytest.raises(Draining):
        await world.inbox.take_in("1", body(b"zip"))
    assert world.files() == []


async def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    """At the next start; the archives of jobs stay."""
    async with a_world(tmp_path) as world:
        job = await world.inbox.take_in("1", body(b"zip"))
        (world.folder / "unfinished/left").write_bytes(b"half")
    async with a_world(tmp_path) as world:
        assert world.files() == [f"{job.id}/archive.zip"]


async def test_the_loop_never_writes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block is written in the inbox's own thread, about a mebibyte at a time."""
    writes: list[tuple[str, int]] = []
    write = upload.Arrival._write

    def noted(self: upload.Arrival, block: bytearray) -> None:
        writes.append((threading.current_thread().name, len(block)))
        write(self, block)

    monkeypatch.setattr(upload.Arrival, "_write", noted)
    await world.inbox.take_in("1", body(*[bytes(64 * 1024)] * 40))
    assert [size for _, size in writes] == [BLOCK_BYTES, BLOCK_BYTES, BLOCK_BYTES // 2]
    assert all(name.startswith("glimt-inbox") for name, _ in writes)


# All that one owner keeps


@pytest.mark.parametrize("announced", [None, 2 * MIB])
async def test_more_than_one_may_keep(tmp_path: Path, announced: int | None) -> None:
    """Refused, before it is read when it says how large it is, with the limit and the way out; others have theirs."""
    read: list[int] = []

    async def give(take: Take) -> str:
        read.append(1)
        await take(bytes(2 * MIB))
        return ""

    async with a_world(tmp_path, max_kept_bytes=3 * MIB, max_jobs=9) as world:
        first = await world.inbox.take_in("1", give, announced=announced)
        with pytest.raises(
            BodyTooLarge, match=r"have 2\.0 MiB; .* 3\.0 MiB, the limit.*remove=true.*GLIMT_MAX_JOB_BYTES"
        ):
            await world.inbox.take_in("1", give, announced=announced)
        assert len(read) == (1 if announced else 2)
        assert world.files() == [f"{first.id}/archive.zip"]
        await world.inbox.take_in("2", give)
        await world.store.remove(first.id)
        await world.inbox.take_in("1", give)


async def test_two_at_once_for_the_last_room(tmp_path: Path) -> None:
    """One of them finds it."""
    async with a_world(tmp_path, max_kept_bytes=3 * MIB) as world:
        ends = await asyncio.gather(
            *(world.inbox.take_in("1", body(bytes(2 * MIB))) for _ in range(2)), return_exceptions=True
        )
        assert sum(isinstance(end, BodyTooLarge) for end in ends) == 1
        assert await world.store.kept_bytes("1") == 2 * MIB


# A folder of this machine


async def test_a_folder_becomes_a_job(tmp_path: Path) -> None:
    """By its real path; nothing of it is copied, and it does not count among what is kept."""
    (tmp_path / "photos/cats").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    async with a_world(tmp_path, allowed=[tmp_path / "photos"]) as world:
        job = await world.inbox.take_folder("1", str(tmp_path / "link/cats"))
        assert (job.file_name, job.folder, job.bytes) == ("cats", str(tmp_path / "photos/cats"), 0)
        assert world.starts.started == [job]
        assert world.files() == []


async def test_a_folder_that_is_refused(tmp_path: Path) -> None:
    """It is no job; nor is one too many, or any while the service shuts down."""
    async with a_world(tmp_path, allowed=[tmp_path]) as world:
        with pytest.raises(Forbidden):
            await world.inbox.take_folder("1", "/")
        for _ in range(2):
            await world.inbox.take_folder("1", str(tmp_path))
        with pytest.raises(TooManyRequests):
            await world.inbox.take_folder("1", str(tmp_path))
        world.draining.set()
        with pytest.raises(Draining):
            await world.inbox.take_folder("2", str(tmp_path))
        assert len(await world.store.list("1")) == 2
