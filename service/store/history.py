"""History: the answers each account was given. Knows SQL, not HTTP."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from types import TracebackType
from typing import Any

from sqlalchemy import Column, Double, ForeignKey, Index, Integer, Row, String, Table, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.feedback import MAX_ID, UNSTORABLE
from service.store.recorder import Recorder
from service.store.schema import UtcDateTime, metadata
from service.store.users import users_table

MAX_CHARS = {
    "image_sha256": 64,
    "image_file_name": 255,
    "label": 200,
    "model_name": 100,
    "model_version": 100,
}
"""Longest text of each column, in characters. What is longer loses its beginning: the end of a name says its type."""
MAX_ROWS = 100_000
"""Of one account; then the oldest go first. A program that never stops asking must not fill the disk: some 25 MB."""
CHUNK_ROWS = 500
"""Deleted in one transaction at most: other writers wait no longer than that takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryDraft:
    """One answer to one account. `label` is the most probable one, `score` its probability."""

    user_id: int
    created_at: datetime
    image_sha256: str
    image_file_name: str
    label: str
    score: float
    model_name: str
    model_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow(HistoryDraft):
    """The answer as it is stored."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which rows of an account: those older than the row `before_id`, whose label contains `label` (in any case, a
    space and an underscore being the same), from the beginning of the day `since` to the end of `until`, in UTC."""

    before_id: int | None = None
    label: str = ""
    since: date | None = None
    until: date | None = None


def _text(name: str) -> Column[Any]:
    return Column(name, String(MAX_CHARS[name]), nullable=False)


predictions_table = Table(
    "predictions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    _text("image_sha256"),
    _text("image_file_name"),
    _text("label"),
    Column("score", Double, nullable=False),
    _text("model_name"),
    _text("model_version"),
    Index("predictions_by_user", "user_id", "id"),
    Index("predictions_by_image", "image_sha256"),
    Index("predictions_by_time", "created_at"),
    sqlite_autoincrement=True,
)
_C = predictions_table.c
_DRAFTED = tuple(field.name for field in fields(HistoryDraft))


class HistoryStore:
    """`async with HistoryStore(db) as history`. Every read and removal knows all that was recorded before it.

    Reads and removals raise StoreBusy; removals also StoreFull and Draining.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._recorder = Recorder(self._add)

    async def __aenter__(self) -> "HistoryStore":
        await self._recorder.__aenter__()
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._recorder.__aexit__(type_, error, trace)

    @property
    def lost(self) -> int:
        """Answers that could not be recorded, since the start."""
        return self._recorder.lost

    def record(self, draft: HistoryDraft) -> None:
        """Have it stored soon. Never waits, never raises: an answer must not depend on its being remembered."""
        self._recorder.record(draft)

    async def _add(self, drafts: Sequence[HistoryDraft]) -> None:
        """Store all but those of accounts that are gone."""

        async def job(connection: AsyncConnection) -> None:
            users = select(users_table.c.id).where(users_table.c.id.in_({draft.user_id for draft in drafts}))
            locked = users.with_for_update(read=True, key_share=True)  # where others than this writer can delete them
            there = set((await connection.execute(locked)).scalars())
            rows = [_values(draft) for draft in drafts if draft.user_id in there]
            if rows:
                await connection.execute(insert(predictions_table), rows)

        await self._db.write(job)

    async def get(self, row_id: int, user_id: int) -> HistoryRow | None:
        """The row if it is the account's, else None."""
        if row_id > MAX_ID:
            return None
        await self._recorder.flush()
        statement = select(predictions_table).where(_C.id == row_id, _C.user_id == user_id)
        async with self._db.read() as connection:
            found = (await connection.execute(statement)).one_or_none()
        return None if found is None else _row(found)

    async def list(self, user_id: int, *, limit: int = 50, only: Filter | None = None) -> tuple[HistoryRow, ...]:
        """The account's rows, newest first."""
        await self._recorder.flush()
        mine = (_C.user_id == user_id, *_conditions(only or Filter()))
        statement = select(predictions_table).where(*mine).order_by(_C.id.desc()).limit(limit)
        async with self._db.read() as connection:
            return tuple(map(_row, await connection.execute(statement)))

    async def mentioned(self, sha256s: Collection[str]) -> set[str]:
        """Those of these pictures that any row of anybody is about."""
        await self._recorder.flush()
        statement = select(_C.image_sha256).where(_C.image_sha256.in_(sha256s)).distinct()
        async with self._db.read() as connection:
            return set((await connection.execute(statement)).scalars())

    async def users(self, sha256: str) -> set[int]:
        """The accounts with an answer to this picture."""
        await self._recorder.flush()
        statement = select(_C.user_id).where(_C.image_sha256 == sha256).distinct()
        async with self._db.read() as connection:
            return set((await connection.execute(statement)).scalars())

    async def remove(self, row_id: int, user_id: int) -> str | None:
        """Delete the account's row; the SHA-256 of its picture. None when there is no such row of the account."""
        if row_id > MAX_ID:
            return None
        return next(iter(await self._remove(_C.id == row_id, _C.user_id == user_id)), None)

    async def remove_some(self, user_id: int, newest_id: int) -> Sequence[str]:
        """Delete CHUNK_ROWS rows of the account, none newer than this one; whose pictures. Empty: none is left."""
        return await self._remove(_C.user_id == user_id, _C.id <= newest_id)

    async def remove_some_before(self, moment: datetime) -> Sequence[str]:
        """Delete CHUNK_ROWS rows of anybody that are older; whose pictures. Empty: none is left."""
        return await self._remove(_C.created_at < moment)

    async def too_many(self) -> Sequence[tuple[int, int]]:
        """The accounts with more than MAX_ROWS, and for each the newest row that is too much."""
        inner = predictions_table.alias()
        newest = select(inner.c.id).where(inner.c.user_id == _C.user_id).order_by(inner.c.id.desc()).offset(MAX_ROWS)
        statement = select(_C.user_id, newest.limit(1).scalar_subquery()).group_by(_C.user_id)
        async with self._db.read() as connection:
            found = await connection.execute(statement.having(func.count() > MAX_ROWS))
            return [(user_id, newest_id) for user_id, newest_id in found]

    async def _remove(self, *where: Any) -> Sequence[str]:
        await self._recorder.flush()
        chunk = select(_C.id).where(*where).limit(CHUNK_ROWS)

        async def job(connection: AsyncConnection) -> Sequence[str]:
            statement = delete(predictions_table).where(_C.id.in_(chunk)).returning(_C.image_sha256)
            return (await connection.execute(statement)).scalars().all()

        return await self._db.write(job)


def _conditions(only: Filter) -> list[Any]:
    label = func.replace(_C.label, " ", "_")
    wanted = only.label.strip().replace(" ", "_")
    return [
        *([_C.id < only.before_id] if only.before_id is not None else ()),
        *([label.icontains(wanted, autoescape=True)] if wanted else ()),
        *([_C.created_at >= datetime.combine(only.since, time.min, UTC)] if only.since else ()),
        *([_C.created_at <= datetime.combine(only.until, time.max, UTC)] if only.until else ()),
    ]


def _values(draft: HistoryDraft) -> dict[str, Any]:
    values = {name: getattr(draft, name) for name in _DRAFTED}
    return values | {name: UNSTORABLE.sub("\ufffd", values[name])[-most:] for name, most in MAX_CHARS.items()}


def _row(row: Row[Any]) -> HistoryRow:
    return HistoryRow(**row._mapping)
