"""T30: kill -9 in the middle of bulk jobs. Each picture is counted once, and the end is that of a clean run."""

import asyncio
import os
import random
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from service.store.database import Database
from service.store.job_rows import Job, JobItem
from service.store.jobs import JobStore
from tests.bulk.workshop import zipped
from tests.world import png

KILLS = 20
PICTURES = 500
LONGEST_LIFE_S = 0.25
"""Counted from when it goes on with the jobs. All together, that is less than what they take."""


def archive(red: int) -> bytes:
    """Pictures in three folders, with some that are damaged or none."""
    pictures = [(f"class_{n % 3}/{n}.png", png(red + n)) for n in range(PICTURES)]
    damaged = [(f"class_0/bad{n}.png", png(n)[:60]) for n in range(50)]
    return zipped(pictures[: PICTURES // 2] + damaged + [("class_1/notes.txt", b"-")] + pictures[PICTURES // 2 :])


async def filled(folder: Path) -> None:
    """Two jobs that nobody has begun."""
    async with Database(folder / "glimt.db") as db:
        for red in (0, 10_000):
            data = archive(red)
            job = await JobStore(db).add(None, "photos.zip", len(data))
            path = folder / "jobs" / str(job.id) / "archive.zip"
            path.parent.mkdir(parents=True)
            path.write_bytes(data)


async def results(folder: Path) -> list[tuple[Job, list[JobItem]]]:
    async with Database(folder / "glimt.db") as db:
        store = JobStore(db)
        jobs = await store.list(None)
        return [(job, [item async for item in store.all_items(job.id)]) for job in jobs]


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("bulk_service.py")), str(folder),
        stdin=PIPE, stdout=PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def begin(process: Process) -> int:
    """A new life; its pid."""
    assert process.stdin is not None
    process.stdin.write(b"live\n")
    return int(await told(process))


async def told(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


def stored(folder: Path) -> int:
    """Rows after a kill: the file is sound, and each job has counted what it has."""
    with closing(sqlite3.connect(f"{(folder / 'glimt.db').as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        counted = "SELECT id, done + failed + skipped FROM jobs ORDER BY id"
        rows = "SELECT jobs.id, count(job_id) FROM jobs LEFT JOIN job_items ON job_id = jobs.id GROUP BY 1 ORDER BY 1"
        found = connection.execute(rows).fetchall()
        assert connection.execute(counted).fetchall() == found
    return sum(count for _, count in found)


@pytest.mark.slow
async def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    """Two jobs, killed at 20 random moments and gone on with: the same rows as of a clean run, none twice, no gap."""
    chance = random.Random(30)
    clean, killed = tmp_path / "clean", tmp_path / "killed"
    await filled(clean)
    await filled(killed)
    async with service(clean) as process:
        await begin(process)
        assert await told(process) == "over"
    grown, before = 0, 0
    async with service(killed) as process:
        for _ in range(KILLS):
            pid = await begin(process)
            await asyncio.sleep(chance.uniform(0, LONGEST_LIFE_S))
            os.kill(pid, signal.SIGKILL)
            assert await told(process) == "dead"
            now = stored(killed)
            assert now >= before
            grown, before = grown + (now > before), now
        assert 0 < before < 2 * (PICTURES + 51), "the kills came too early or too late: the test has lost its teeth"
        await begin(process)
        assert await told(process) == "over"
    print(f"{grown} of {KILLS} lives brought it on, to {before} rows")
    assert grown > KILLS / 3
    for (expected, expected_rows), (job, rows) in zip(await results(clean), await results(killed), strict=True):
        assert [row.position for row in rows] == [*range(PICTURES + 51)]
        assert rows == expected_rows
        assert (job.status, job.total, job.done, job.failed, job.skipped) == ("done", PICTURES + 51, PICTURES, 50, 1)
        assert job.settled == expected.settled
