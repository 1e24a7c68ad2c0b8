"""The writer, its group commit and its errors, on real SQLite files."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import Conflict, Draining, StoreBusy, StoreFull, StoreUnusable
from service.store.database import READERS, Database

Insert = Callable[[AsyncConnection], Awaitable[None]]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "glimt.db") as database:
        await database.write(sql("CREATE TABLE words (word TEXT UNIQUE)"))
        yield database


def sql(statement: str) -> Insert:
    async def job(connection: AsyncConnection) -> None:
        await connection.execute(text(statement))

    return job


def word(name: str) -> Insert:
    return sql(f"INSERT INTO words VALUES ('{name}')")


async def words(db: Database) -> set[str]:
    async with db.read() as connection:
        return set((await connection.execute(text("SELECT word FROM words"))).scalars())


class Gate:
    """A job that holds the writer until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, connection: AsyncConnection) -> None:
        self.reached.set()
        await self.open.wait()


async def test_writes_that_wait_together_share_one_commit(db: Database) -> None:
    """N concurrent writes take far fewer commits than N: here the gate's and one more."""
    before = db.stats()
    gate = Gate()
    async with asyncio.TaskGroup() as group:
        group.create_task(db.write(gate))
        await gate.reached.wait()
        for number in range(50):
            group.create_task(db.write(word(f"w{number}")))
        await asyncio.sleep(0)
        assert db.stats().waiting == 50
        gate.open.set()
    assert len(await words(db)) == 50
    assert (db.stats().commits - before.commits, db.stats().writes - before.writes) == (2, 51)


async def test_a_batch_is_bounded(tmp_path: Path) -> None:
    """With at most 10 in a batch, 50 waiting writes take 5 commits."""
    async with Database(tmp_path / "glimt.db", max_batch=10) as db:
        await db.write(sql("CREATE TABLE words (word TEXT UNIQUE)"))
        before = db.stats().commits
        await asyncio.gather(*(db.write(word(f"w{number}")) for number in range(50)))
        assert db.stats().commits - before == 5


async def test_one_failing_job_does_not_harm_its_neighbours(db: Database) -> None:
    """The duplicate in the middle of a batch fails alone, and what it wrote before failing is undone."""

    async def writes_then_fails(connection: AsyncConnection) -> None:
        await word("half")(connection)
        await word("a")(connection)

    jobs = (word("a"), writes_then_fails, word("b"))
    results = await asyncio.gather(*map(db.write, jobs), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), IntegrityError, type(None)]
    assert await words(db) == {"a", "b"}


async def test_a_job_that_loses_the_transaction_fails_its_batch_and_acknowledges_nobody(db: Database) -> None:
    """When SQLite rolls the whole transaction back by itself, neighbours must not be told that they are stored."""
    results = await asyncio.gather(*map(db.write, (word("a"), sql("ROLLBACK"), word("b"))), return_exceptions=True)
    assert all(isinstance(result, DBAPIError) for result in results)
    assert await words(db) == set()
    await db.write(word("later"))
    assert await words(db) == {"later"}


async def test_the_reason_why_one_failed_is_not_its_neighbours(db: Database) -> None:
    """When the transaction goes with a job that fails, the others were told its own error: an address was taken that
    nobody had."""

    async def taken(connection: AsyncConnection) -> None:
        await sql("ROLLBACK")(connection)
        raise Conflict("taken")

    results = await asyncio.gather(*map(db.write, (word("a"), taken, word("b"))), return_exceptions=True)
    assert [type(result) for result in results] == [OperationalError] * 3


async def test_the_answer_comes_after_commit(db: Database, tmp_path: Path) -> None:
    """T15: at the moment a write returns, another connection to the file sees its row; before, it does not."""

    def seen() -> int:
        with closing(sqlite3.connect(tmp_path / "glimt.db")) as other:
            return int(other.execute("SELECT count(*) FROM words").fetchone()[0])

    seen_inside: list[int] = []

    async def job(connection: AsyncConnection) -> None:
        await word("a")(connection)
        seen_inside.append(seen())

    await db.write(job)
    assert (seen_inside, seen()) == ([0], 1)


async def test_the_writer_syncs_every_commit(db: Database) -> None:
    """T15: synchronous is FULL (2), the journal is a WAL, foreign keys are on."""

    async def pragmas(connection: AsyncConnection) -> list[object]:
        names = ("synchronous", "journal_mode", "foreign_keys")
        return [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names]

    assert await db.write(pragmas) == [2, "wal", 1]


async def test_readers_cannot_write(db: Database) -> None:
    """There is exactly one writing connection: the readers' are query_only."""
    async with db.read() as connection:
        with pytest.raises(DBAPIError, match="readonly"):
            await connection.execute(text("INSERT INTO words VALUES ('x')"))


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    """The third write finds two waiting: StoreBusy (503), and the two are still answered."""
    async with Database(tmp_path / "glimt.db", max_waiting=2) as db, asyncio.TaskGroup() as group:
        gate = Gate()
        group.create_task(db.write(gate))
        await gate.reached.wait()
        accepted = [group.create_task(db.write(sql("SELECT 1"))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy, match="2 writes are waiting"):
            await db.write(sql("SELECT 1"))
        gate.open.set()
        await asyncio.gather(*accepted)


async def test_a_job_cancelled_before_its_turn_is_not_run(db: Database) -> None:
    """Its caller has gone, so its row is not stored; the neighbour's is."""
    gate = Gate()
    blocker = asyncio.create_task(db.write(gate))
    await gate.reached.wait()
    gone = asyncio.create_task(db.write(word("gone")))
    stays = asyncio.create_task(db.write(word("stays")))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(blocker, stays)
    assert await words(db) == {"stays"}


async def test_leaving_drains_what_was_accepted(tmp_path: Path) -> None:
    """Writes accepted before the end are committed; later ones are refused with Draining."""
    async with Database(tmp_path / "glimt.db") as db:
        await db.write(sql("CREATE TABLE words (word TEXT UNIQUE)"))
        accepted = [asyncio.create_task(db.write(word(f"w{number}"))) for number in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(*accepted)
    with pytest.raises(Draining):
        await db.write(word("late"))
    assert not db.alive
    with closing(sqlite3.connect(tmp_path / "glimt.db")) as other:
        assert other.execute("SELECT count(*) FROM words").fetchone() == (20,)


async def test_leaving_leaves_no_thread(tmp_path: Path) -> None:
    """aiosqlite's threads are not daemons: one left behind would keep the process from ending. All there will ever be
    are there from the start, or the memory they take would come in some busy hour."""
    before = set(threading.enumerate())
    async with Database(tmp_path / "glimt.db") as db:
        await db.write(sql("SELECT 1"))
        made = set(threading.enumerate()) - before
        assert len(made) == 1 + READERS
        async with AsyncExitStack() as stack:
            for _ in range(READERS):
                connection = await stack.enter_async_context(db.read())
                await connection.execute(text("SELECT 1"))
        assert set(threading.enumerate()) - before == made
    for thread in made:
        thread.join(5)  # it has been told to end, and its last step may still be under way
        assert not thread.is_alive()


class _Fatal(BaseException):
    pass


async def test_a_dead_writer_is_visible_and_releases_everyone(tmp_path: Path) -> None:
    """A BaseException ends the writer: its batch and the queue get StoreBusy, `alive` is False, later writes fail."""

    async def deadly(connection: AsyncConnection) -> None:
        raise _Fatal

    async with Database(tmp_path / "glimt.db", max_batch=2) as db:
        jobs = (sql("SELECT 1"), deadly, sql("SELECT 2"), sql("SELECT 3"))
        results = await asyncio.gather(*map(db.write, jobs), return_exceptions=True)
        assert [type(result) for result in results] == [StoreBusy] * 4
        assert not db.alive
        with pytest.raises(StoreBusy, match="Restart"):
            await db.write(sql("SELECT 4"))


async def test_a_full_database_is_store_full_and_recovers(db: Database) -> None:
    """T16: max_page_count reached is 507 for what does not fit, not for its small neighbour; room made, all works."""
    await db.write(sql("PRAGMA max_page_count = 12"))
    big = sql("INSERT INTO words SELECT hex(randomblob(100000))")
    results = await asyncio.gather(*map(db.write, (word("a"), big, word("b"))), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StoreFull, type(None)]
    assert await words(db) == {"a", "b"}
    await db.write(sql("PRAGMA max_page_count = 100000"))
    await db.write(big)
    assert len(await words(db)) == 3


async def test_a_full_disk_that_takes_the_transaction_with_it_refuses_only_what_is_too_big(db: Database) -> None:
    """T16: SQLite may roll everything back on a full disk; the neighbours are then stored by themselves."""
    await db.write(sql("PRAGMA max_page_count = 12"))

    async def big(connection: AsyncConnection) -> None:
        await sql("ROLLBACK")(connection)
        await sql("INSERT INTO words SELECT hex(randomblob(100000))")(connection)

    results = await asyncio.gather(*map(db.write, (word("a"), big, word("b"))), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), StoreFull, type(None)]
    assert await words(db) == {"a", "b"}


async def test_data_is_private_to_its_user(tmp_path: Path) -> None:
    """The folder is 0700 and the files are 0600, whatever the umask."""
    before = os.umask(0)
    try:
        async with Database(tmp_path / "data" / "glimt.db") as db:
            await db.write(sql("CREATE TABLE words (word TEXT)"))
            files = sorted((tmp_path / "data").iterdir())
            assert {(file.stat().st_mode & 0o777) for file in files} == {0o600}
            assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("address", ["mysql://host/name", "://"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    """Only SQLite and PostgreSQL are spoken; anything else is a start error, not a stack trace."""
    with pytest.raises(StoreUnusable, match="must be a path"):
        Database(address)
