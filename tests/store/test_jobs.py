"""Jobs and the answers to their pictures: counted once, owned by one, found by their index, removed in pieces."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import NotFound
from service.store import jobs
from service.store.database import Database
from service.store.job_rows import ItemFilter, Job, JobItem, items_table
from service.store.jobs import JobStore
from tests.world import make_database


def answer(position: int, label: str = "cat", truth: str | None = None, score: float = 0.5) -> JobItem:
    return JobItem(
        position=position, name=f"{position}.png", status="done", image_sha256="0" * 64, label=label, score=score,
        guesses=[(label, score), ("dog", 0.25)], truth=truth, model_version="1",
    )  # fmt: skip


def skipped(position: int) -> JobItem:
    return JobItem(position=position, name="a\N{SNOWMAN}.txt", status="skipped", code="not_a_picture", unsafe_name=True)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with make_database(tmp_path) as db:
        yield db


@pytest.fixture
def store(db: Database) -> JobStore:
    return JobStore(db)


async def now(store: JobStore, job: Job) -> Job:
    found = await store.get(job.id, job.owner)
    assert found is not None
    return found


async def test_a_jobs_way(store: JobStore) -> None:
    """Queued, running with a total, done: with the times, and counts that agree with the rows."""
    job = await store.add("ada", "photos.zip", 1234)
    assert (job.status, job.owner, job.file_name, job.bytes, job.total) == ("queued", "ada", "photos.zip", 1234, None)
    assert (job.started_at, job.ended_at, job.settled, job.is_over) == (None, None, 0, False)
    assert await store.begin(job.id, 3)
    failed = JobItem(position=1, name="b.png", status="failed", code="image_corrupt", detail="x" * 600)
    rows = [answer(0), failed, skipped(2)]
    await store.checkpoint(job.id, rows)
    assert await store.end(job.id, "done")
    over = await now(store, job)
    assert (over.status, over.total, over.done, over.failed, over.skipped) == ("done", 3, 1, 1, 1)
    assert (over.settled, over.is_over) == (3, True)
    assert over.started_at is not None
    assert over.ended_at is not None
    assert over.created_at <= over.started_at <= over.ended_at <= datetime.now(UTC)
    assert await store.items(job.id, ItemFilter()) == (rows[0], replace(failed, detail="x" * 500), rows[2])
    assert await store.settled(job.id) == {0, 1, 2}


async def test_what_is_stored_again_is_counted_once(store: JobStore) -> None:
    """A write that was given up and was committed all the same is repeated: the first answer stays."""
    job = await store.add(None, "a.zip", 1)
    await store.checkpoint(job.id, [answer(0), answer(1)])
    await store.checkpoint(job.id, [answer(1, "dog"), skipped(2), answer(0)])
    await store.checkpoint(job.id, [answer(1, "dog")])
    await store.checkpoint(job.id, [])
    current = await now(store, job)
    assert (current.done, current.skipped) == (2, 1)
    assert [item.label for item in await store.items(job.id, ItemFilter())] == ["cat", "cat", None]


async def test_the_first_end_stays(store: JobStore) -> None:
    """A job that is over ends no other way and does not begin again."""
    job = await store.add("ada", "a.zip", 1)
    assert await store.end(job.id, "failed", code="archive_invalid", detail="y" * 600)
    over = await now(store, job)
    assert (over.error_code, over.error_detail) == ("archive_invalid", "y" * 500)
    assert not await store.end(job.id, "cancelled")
    assert not await store.begin(job.id, 3)
    assert await now(store, job) == over
    assert not await store.begin(job.id + 1, 3)


async def test_beginning_again_keeps_the_first_start(store: JobStore) -> None:
    """After a restart it is queued, then it runs, and began when it began."""
    job, other = await store.add("ada", "a.zip", 1), await store.add("ada", "b.zip", 1)
    await store.begin(job.id, 3)
    await store.end(other.id, "cancelled")
    first = (await now(store, job)).started_at
    await store.requeue()
    assert [found.status for found in await store.list("ada")] == ["cancelled", "queued"]
    await store.begin(job.id, 3)
    again = await now(store, job)
    assert (again.status, again.started_at) == ("running", first)


async def test_bytes_that_are_kept(store: JobStore) -> None:
    """Of all the owner's archives, over or not, but for those nobody could read, which are gone."""
    for code in (None, "archive_unreadable", "archive_invalid", "archive_too_large"):
        job = await store.add("ada", "a.zip", 2**40)
        await store.end(job.id, "failed", code=code)
    await store.add("ada", "b.zip", 1)
    await store.add(None, "c.zip", 5)
    assert [await store.kept_bytes(owner) for owner in ("ada", None, "bo")] == [2 * 2**40 + 1, 5, 0]


async def test_others_do_not_see_it(store: JobStore) -> None:
    """Neither anybody nor another account; and of ids that cannot be there is none."""
    mine, anybodys = await store.add("7", "a.zip", 1), await store.add(None, "b.zip", 1)
    assert await store.get(mine.id, "8") is None
    assert await store.get(mine.id, None) is None
    assert await store.get(anybodys.id, "7") is None
    assert await store.get(2**40, "7") is None
    assert await store.list("7") == (mine,)
    assert await store.list(None) == (anybodys,)


async def test_lists(store: JobStore) -> None:
    """One's own newest first, in pages; those that are not over oldest first; their number."""
    made = [await store.add("ada", f"{n}.zip", 1) for n in range(5)]
    await store.end(made[1].id, "done")
    assert [job.id for job in await store.list("ada", limit=2)] == [made[4].id, made[3].id]
    assert [job.id for job in await store.list("ada", limit=9, before_id=made[2].id)] == [made[1].id, made[0].id]
    assert [job.id for job in await store.unfinished()] == [made[n].id for n in (0, 2, 3, 4)]
    assert await store.count_unfinished("ada") == 4
    assert await store.count_unfinished("bo") == 0
    assert await store.ids() == {job.id for job in made}


async def test_all_unfinished_jobs_are_found(store: JobStore) -> None:
    """However many there are, none is left lying after a start."""
    made = await asyncio.gather(*(store.add("ada", "a.zip", 1) for _ in range(jobs._CHUNK_ROWS + 1)))
    assert await store.unfinished() == tuple(made)


@pytest.fixture
async def filled(store: JobStore) -> Job:
    """Twelve entries: every third skipped; the others cat and dog in turns, ever more certain."""
    job, other = await store.add("ada", "a.zip", 1), await store.add("ada", "b.zip", 1)
    entries = [skipped(n) if n % 3 == 2 else answer(n, ("cat", "dog")[n % 2], "cat", n / 20) for n in range(12)]
    await store.checkpoint(job.id, entries)
    await store.checkpoint(other.id, [answer(n, "bird", "cat") for n in range(12)])
    return job


@pytest.mark.parametrize(
    ("chosen", "positions"),
    [
        (ItemFilter(), [*range(12)]),
        (ItemFilter(label="dog"), [1, 3, 7, 9]),
        (ItemFilter(status="skipped"), [2, 5, 8, 11]),
        (ItemFilter(most=0.15), [0, 1, 3]),
        (ItemFilter(label="dog", status="done", most=0.35), [1, 3, 7]),
        (ItemFilter(label="bird"), []),
        (ItemFilter(wrong=frozenset({"cat"})), [1, 3, 7, 9]),
        (ItemFilter(wrong=frozenset({"cat"}), most=0.2), [1, 3]),
        (ItemFilter(wrong=frozenset({"dog"})), []),
        (ItemFilter(wrong=frozenset()), []),
    ],
)
async def test_items_by_filter(store: JobStore, filled: Job, chosen: ItemFilter, positions: list[int]) -> None:
    """Those that meet all conditions, in the archive's order, in pages that join without a gap."""
    assert [item.position for item in await store.items(filled.id, chosen)] == positions
    paged, last = [], -1
    while page := await store.items(filled.id, chosen, after=last, limit=2):
        paged += [item.position for item in page]
        last = paged[-1]
    assert paged == positions


async def test_one_item(store: JobStore, filled: Job) -> None:
    """By its position; None where there is none."""
    item = await store.item(filled.id, 3)
    assert item is not None
    assert (item.position, item.label) == (3, "dog")
    assert await store.item(filled.id, 12) is None


async def test_all_items_over_several_chunks(store: JobStore, filled: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in order."""
    monkeypatch.setattr(jobs, "_CHUNK_ROWS", 5)
    assert [item.position async for item in store.all_items(filled.id)] == [*range(12)]


async def test_reading_what_is_removed_meanwhile(store: JobStore, filled: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download whose job was removed under way ended as if it were whole."""
    monkeypatch.setattr(jobs, "_CHUNK_ROWS", 5)
    assert len([item async for item in store.all_items(filled.id, least=12)]) == 12
    reading = store.all_items(filled.id, least=12)
    await anext(reading)
    await store.remove(filled.id)
    with pytest.raises(NotFound, match="removed while"):
        [item async for item in reading]


async def test_figures(store: JobStore, filled: Job) -> None:
    """How often each label came first, and what was taken for what."""
    await store.checkpoint(filled.id, [answer(20, "dog")])
    assert list((await store.labels(filled.id)).items()) == [("dog", 5), ("cat", 4)]
    assert await store.confusion(filled.id) == {("cat", "cat"): 4, ("cat", "dog"): 4}


async def test_removing_in_pieces(store: JobStore, db: Database, filled: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of the job and none of others, in several transactions, between which other writers go on."""
    monkeypatch.setattr(jobs, "_CHUNK_ROWS", 5)
    before = db.stats().commits
    removing = asyncio.create_task(store.remove(filled.id))
    await asyncio.gather(removing, *(store.add("bo", "c.zip", 1) for _ in range(3)))
    assert db.stats().commits - before >= 4
    assert await store.items(filled.id, ItemFilter()) == ()
    assert await store.get(filled.id, "ada") is None
    assert len(await store.items(filled.id + 1, ItemFilter())) == 12


async def test_an_id_never_comes_again(store: JobStore) -> None:
    """A folder that was not removed must not become another job's."""
    job = await store.add("ada", "a.zip", 1)
    await store.remove(job.id)
    assert (await store.add("ada", "a.zip", 1)).id > job.id


async def test_old_jobs(store: JobStore) -> None:
    """Those that ended before, the oldest first; never one that is not over."""
    made = [await store.add("ada", "a.zip", 1) for _ in range(3)]
    for job in made[:2]:
        await store.end(job.id, "done")
    moment = datetime.now(UTC) + timedelta(seconds=1)
    assert [job.id for job in await store.ended_before(moment)] == [job.id for job in made[:2]]
    assert await store.ended_before(moment - timedelta(hours=1)) == ()


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (ItemFilter(), "sqlite_autoindex_job_items_1 (job_id=? AND position>?)"),
        (ItemFilter(label="cat"), "job_items_by_label (job_id=? AND label=? AND position>?)"),
        (ItemFilter(status="failed"), "job_items_by_status (job_id=? AND status=? AND position>?)"),
        (ItemFilter(most=0.5), "sqlite_autoindex_job_items_1 (job_id=? AND position>?)"),
        (ItemFilter(wrong=frozenset({"cat", "dog"})), "sqlite_autoindex_job_items_1 (job_id=? AND position>?)"),
    ],
)
async def test_items_are_found_by_an_index(db: Database, filled: Job, chosen: ItemFilter, index: str) -> None:
    """No page of answers reads the table or sorts."""
    where = (items_table.c.job_id == filled.id, items_table.c.position > 3, *chosen.where())
    statement = select(items_table).where(*where).order_by(items_table.c.position).limit(60)

    async def plan(connection: AsyncConnection) -> list[Any]:
        compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
        values = tuple(compiled.params[name] for name in compiled.positiontup or ())
        return list(await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values))

    assert [row[3] for row in await db.write(plan)] == [f"SEARCH job_items USING INDEX {index}"]
