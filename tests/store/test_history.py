"""The history of accounts: recorded on the side, listed, filtered, deleted in pieces."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import StoreBusy
from service.store import history
from service.store.database import Database
from service.store.feedback import MAX_ID
from service.store.history import Filter, HistoryDraft, HistoryStore
from service.store.users import UserStore
from tests.world import make_database

CAT = HistoryDraft(
    user_id=1,
    created_at=datetime(2026, 11, 21, 9, 0, 0, 123456, UTC),
    image_sha256="a" * 64,
    image_file_name="föto 🐈.png",
    label="tabby_cat",
    score=0.9346,
    model_name="resnet50",
    model_version="imagenet",
)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    """With two accounts, 1 and 2."""
    async with make_database(tmp_path) as db:
        for name in ("ada", "bo"):
            await UserStore(db).add(email=f"{name}@example.org", name=name, password_hash="!", role="user")
        yield db


@pytest.fixture
async def store(db: Database) -> AsyncIterator[HistoryStore]:
    async with HistoryStore(db) as store:
        yield store


async def labels(store: HistoryStore, only: Filter, user_id: int = 1) -> list[str]:
    """Of the rows that fit, newest first."""
    return [row.label for row in await store.list(user_id, only=only)]


async def test_a_row_comes_back_as_it_was_recorded(store: HistoryStore) -> None:
    """Every column survives the trip; a read sees what was recorded just before it."""
    store.record(CAT)
    (row,) = await store.list(1)
    assert {name: value for name, value in asdict(row).items() if name != "id"} == asdict(CAT)
    assert await store.get(row.id, 1) == row


async def test_what_a_database_cannot_hold_is_made_to_fit(store: HistoryStore) -> None:
    """NUL and half a surrogate pair are replaced; a name that is too long keeps its end, which says its type."""
    store.record(replace(CAT, image_file_name="a\0\ud800" + "b" * 300 + ".png"))
    store.record(replace(CAT, image_file_name="a\0\ud800b.png"))
    short, long = (row.image_file_name for row in await store.list(1))
    assert short == "a\ufffd\ufffdb.png"
    assert (len(long), long[-5:]) == (255, "b.png")


async def test_rows_of_others_are_not_there(store: HistoryStore) -> None:
    """get, list and remove see only the account's rows."""
    store.record(CAT)
    (row,) = await store.list(1)
    assert await store.get(row.id, 2) is None
    assert await store.list(2) == ()
    assert await store.remove(row.id, 2) is None
    assert await store.list(1) == (row,)


async def test_an_account_that_is_gone_does_not_cost_others_their_rows(db: Database, store: HistoryStore) -> None:
    """Rows of a deleted account, recorded in one batch with another's, are left out; nothing is lost or fails."""
    store.record(replace(CAT, user_id=2))
    await store.list(2)
    store.record(replace(CAT, user_id=2))
    store.record(CAT)
    store.record(replace(CAT, user_id=77))
    await UserStore(db).remove(2)
    assert len(await store.list(1)) == 1
    assert await store.list(2) == ()
    assert store.lost == 0


async def test_a_locked_database_costs_the_rows_and_nothing_else(
    db: Database, store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails is counted; the next one succeeds."""

    async def busy(_job: Any) -> None:
        raise StoreBusy("locked")

    with monkeypatch.context() as broken:
        broken.setattr(db, "write", busy)
        store.record(CAT)
        assert await store.list(1) == ()
    store.record(CAT)
    assert (len(await store.list(1)), store.lost) == (1, 1)


async def test_the_end_writes_what_was_recorded(db: Database) -> None:
    """A row recorded just before the end is there after the next start."""
    async with HistoryStore(db) as first:
        first.record(CAT)
    async with HistoryStore(db) as second:
        assert len(await second.list(1)) == 1


async def test_list_is_newest_first_in_pages(store: HistoryStore) -> None:
    """before_id continues where the last page ended."""
    for number in range(5):
        store.record(replace(CAT, label=str(number)))
    first = await store.list(1, limit=3)
    rest = await store.list(1, only=Filter(before_id=first[-1].id))
    assert [row.label for row in first + rest] == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("cat", ["tabby_cat", "Siamese cat"]),
        ("y c", ["tabby_cat"]),
        ("se_c", ["Siamese cat"]),
        ("SIAM", ["Siamese cat"]),
        (" dog ", ["dog"]),
        ("%", ["100% wool"]),
        ("0%_w", ["100% wool"]),
        ("o%g", []),
        ("d?g", []),
        ("/", []),
        ("\\", []),
        ("' OR 1=1 --", []),
        ("Ån", ["Ångström"]),
        ("", ["Ångström", "100% wool", "dog", "tabby_cat", "Siamese cat"]),
    ],
)
async def test_the_label_filter_means_what_was_typed(store: HistoryStore, wanted: str, found: list[str]) -> None:
    """Part of a label in any case, spaces and underscores alike; % and quotes are only text."""
    for label in ("Siamese cat", "tabby_cat", "dog", "100% wool", "Ångström"):
        store.record(replace(CAT, label=label))
    store.record(replace(CAT, user_id=2))
    assert await labels(store, Filter(label=wanted)) == found


async def test_days_include_both_ends(store: HistoryStore) -> None:
    """since from its first moment, until to its last, in UTC."""
    for moment in ("20T23:59:59.999999", "21T00:00:00", "21T23:59:59.999999", "22T00:00:00"):
        store.record(replace(CAT, created_at=datetime.fromisoformat(f"2026-11-{moment}+00:00"), label=moment))
    day = date(2026, 11, 21)
    assert await labels(store, Filter(since=day, until=day)) == ["21T23:59:59.999999", "21T00:00:00"]
    assert len(await labels(store, Filter(since=date.min, until=date.max))) == 4


async def test_remove_gives_the_picture_once(store: HistoryStore) -> None:
    """The first time the SHA-256, the second time None; an id no row can have is none."""
    store.record(CAT)
    (row,) = await store.list(1)
    assert [await store.remove(row.id, 1) for _ in range(2)] == ["a" * 64, None]
    assert await store.remove(MAX_ID + 1, 1) is None
    assert await store.get(MAX_ID + 1, 1) is None


async def test_remove_some_takes_a_chunk_of_the_accounts_and_nothing_newer(
    store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is empty; a row that came later stays, and so do others'."""
    monkeypatch.setattr(history, "CHUNK_ROWS", 2)
    for user_id in (1, 2, 1, 1, 1):
        store.record(replace(CAT, user_id=user_id))
    later, newest = await store.list(1, limit=2)
    assert [len(await store.remove_some(1, newest.id)) for _ in range(3)] == [2, 1, 0]
    assert await store.list(1) == (later,)
    assert len(await store.list(2)) == 1


async def test_remove_some_before_takes_everybodys_old_rows(store: HistoryStore) -> None:
    """A row exactly as old as the limit stays."""
    for user_id, hours in ((1, 0), (1, 1), (2, 2)):
        store.record(replace(CAT, user_id=user_id, created_at=CAT.created_at - timedelta(hours=hours)))
    assert len(await store.remove_some_before(CAT.created_at)) == 2
    assert len(await store.list(1)) == 1


async def test_too_many_names_the_newest_row_that_is_too_much(
    store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only accounts above the limit; removing up to that row leaves as many as are allowed."""
    monkeypatch.setattr(history, "MAX_ROWS", 2)
    for user_id in (2, 1, 1, 2, 1, 1):
        store.record(replace(CAT, user_id=user_id))
    rows = await store.list(1)
    assert await store.too_many() == [(1, rows[2].id)]
    await store.remove_some(1, rows[2].id)
    assert await store.list(1) == rows[:2]
    assert await store.too_many() == []


async def test_mentioned_are_everybodys_pictures(store: HistoryStore) -> None:
    """Also what was recorded just before."""
    store.record(replace(CAT, user_id=2))
    assert await store.mentioned({"a" * 64, "b" * 64}) == {"a" * 64}


async def test_every_question_uses_an_index(db: Database, store: HistoryStore) -> None:
    """With ten thousand rows nothing is sorted and no list is read from end to end (EXPLAIN QUERY PLAN)."""
    for start in range(0, 10_000, 1000):
        for number in range(start, start + 1000):
            store.record(replace(CAT, user_id=1 + number % 2, image_sha256=f"{number:064x}"))
        await store.mentioned([])
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        asked.append((statement, parameters))

    event.listen(db._reader.sync_engine, "before_cursor_execute", note)
    event.listen(db._writer.sync_engine, "before_cursor_execute", note)
    newest = (await store.list(1, limit=1))[0].id
    day = date(2026, 11, 21)
    await store.list(1, only=Filter(before_id=newest, label="cat", since=day, until=day))
    await store.mentioned([f"{number:064x}" for number in range(500)])
    await store.remove_some(1, newest)
    await store.remove_some_before(CAT.created_at)
    event.remove(db._reader.sync_engine, "before_cursor_execute", note)
    event.remove(db._writer.sync_engine, "before_cursor_execute", note)

    async def explain(connection: AsyncConnection) -> list[str]:
        plans = []
        for statement, parameters in asked:
            if "predictions" in statement:
                plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans += [row.detail for row in plan]
        return plans

    async with db.read() as connection:
        plans = await explain(connection)
    assert len(plans) >= 5
    assert [plan for plan in plans if plan.startswith("SCAN") or "TEMP B-TREE FOR ORDER" in plan] == []


async def test_many_records_at_once_are_all_there(store: HistoryStore) -> None:
    """Recording while a batch is written loses and repeats nothing."""
    for number in range(300):
        store.record(replace(CAT, label=str(number)))
        if number % 50 == 0:
            await asyncio.sleep(0)
            await store.mentioned([])
    assert await labels(store, Filter()) == [str(number) for number in range(299, 249, -1)]
    assert len(await store.list(1, limit=1000)) == 300
