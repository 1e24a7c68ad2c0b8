"""Feedback: what people said about an answer. Knows SQL, not HTTP."""

import re
from collections.abc import AsyncIterator, Collection
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    Row,
    String,
    Table,
    UniqueConstraint,
    case,
    delete,
    distinct,
    false,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import Conflict, InvalidField, StoreBusy
from service.store.database import Database
from service.store.schema import UtcDateTime, metadata

Verdict = Literal["right", "wrong"]

MAX_CHARS = {
    "owner": 200,
    "idempotency_key": 200,
    "image_sha256": 64,
    "image_file_name": 255,
    "predicted_class": 200,
    "feedback": 2000,
    "correct_label": 200,
    "comment": 2000,
    "model_name": 100,
    "model_version": 100,
}
"""Longest text of each column, in characters. 255 is what file systems allow; the rest is generous for people."""

MAX_ID = 2**31 - 1
"""An id is a 32-bit integer in PostgreSQL."""

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""PostgreSQL takes no NUL, and half a surrogate pair has no UTF-8."""

_EXPORT_CHUNK_ROWS = 500
"""Rows held in memory at once, and the longest a reader's connection is kept from others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackDraft:
    """Feedback as it comes in. `feedback` is free text, `score` a probability, `image_kept`: the picture is stored.

    `reviewed`: a reviewer's decision, which overrules what was said before. No picture is kept for its sake."""

    predicted_class: str
    score: float
    image_file_name: str
    feedback: str = ""
    verdict: Verdict | None = None
    correct_label: str | None = None
    comment: str | None = None
    image_sha256: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    image_kept: bool = False
    reviewed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackRow(FeedbackDraft):
    """Feedback as it is stored. `owner` None is the anonymous one."""

    id: int
    created_at: datetime
    owner: str | None
    idempotency_key: str | None


def _text(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, String(MAX_CHARS[name]), nullable=nullable)


feedback_table = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    _text("owner", nullable=False),  # '' is anonymous: two NULLs would not be equal to a unique constraint
    _text("idempotency_key"),
    _text("image_sha256"),
    _text("image_file_name", nullable=False),
    _text("predicted_class", nullable=False),
    Column("score", Double, nullable=False),
    _text("feedback", nullable=False),
    Column("verdict", String(5)),
    _text("correct_label"),
    _text("comment"),
    _text("model_name"),
    _text("model_version"),
    Column("image_kept", Boolean, nullable=False),
    Column("reviewed", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("owner", "idempotency_key", name="feedback_once"),
    Index("feedback_by_owner", "owner", "id"),
    Index("feedback_by_image", "image_sha256"),
    sqlite_autoincrement=True,  # an id that was undone is never given again
)
_C = feedback_table.c


class FeedbackStore:
    """The feedback table. Reads and writes raise StoreBusy; writes also StoreFull and Draining."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(
        self, draft: FeedbackDraft, *, owner: str | None, idempotency_key: str | None
    ) -> tuple[FeedbackRow, bool]:
        """Store and return the row, True after COMMIT; a repeat of the owner's key returns the earlier row, False.

        Raises InvalidField for text too long or not storable, Conflict when the key came with other content.
        """
        values = asdict(draft) | {"owner": owner or "", "idempotency_key": idempotency_key}
        _check(values)

        async def job(connection: AsyncConnection) -> FeedbackRow:
            statement = insert(feedback_table).values(created_at=datetime.now(UTC), **values)
            return _row((await connection.execute(statement.returning(*_C))).one())

        try:
            return await self._db.write(job), True
        except IntegrityError:
            return await self._repeated(draft, owner, idempotency_key), False

    async def _repeated(self, draft: FeedbackDraft, owner: str | None, key: str | None) -> FeedbackRow:
        statement = select(feedback_table).where(_C.owner == (owner or ""), _C.idempotency_key == key)
        async with self._db.read() as connection:
            found = (await connection.execute(statement)).one_or_none()
        if found is None:
            raise StoreBusy("The earlier feedback with this Idempotency-Key was undone just now; send it again.")
        row = _row(found)
        if _content(row) != _content(draft):
            raise Conflict("This Idempotency-Key was used for other feedback: take a new key for new content.")
        return row

    async def get(self, feedback_id: int, owner: str | None) -> FeedbackRow | None:
        """The row if it is the owner's, else None."""
        async with self._db.read() as connection:
            found = (await connection.execute(select(feedback_table).where(*_own(feedback_id, owner)))).one_or_none()
        return None if found is None else _row(found)

    async def list(
        self, owner: str | None, *, limit: int = 50, before_id: int | None = None
    ) -> tuple[FeedbackRow, ...]:
        """The owner's rows, newest first, at most `limit`, those older than `before_id` if given."""
        statement = select(feedback_table).where(_C.owner == (owner or "")).order_by(_C.id.desc()).limit(limit)
        if before_id is not None:
            statement = statement.where(_C.id < before_id)
        async with self._db.read() as connection:
            return tuple(map(_row, await connection.execute(statement)))

    async def remove(self, feedback_id: int, owner: str | None) -> bool:
        """Undo: delete the row if it is the owner's. False when there is none."""

        async def job(connection: AsyncConnection) -> bool:
            return (await connection.execute(delete(feedback_table).where(*_own(feedback_id, owner)))).rowcount > 0

        return await self._db.write(job)

    async def mentioned(self, sha256s: Collection[str]) -> set[str]:
        """Those of these pictures that are kept for any row of anybody."""
        statement = select(_C.image_sha256).where(_C.image_sha256.in_(sha256s), _C.image_kept).distinct()
        async with self._db.read() as connection:
            return set((await connection.execute(statement)).scalars())

    async def owners(self, sha256: str) -> set[str | None]:
        """Whose rows this picture is kept for."""
        statement = select(_C.owner).where(_C.image_sha256 == sha256, _C.image_kept).distinct()
        async with self._db.read() as connection:
            return {owner or None for owner in (await connection.execute(statement)).scalars()}

    async def latest(self, owner: str | None, sha256s: Collection[str]) -> dict[str, FeedbackRow]:
        """What the owner said last about each of these pictures, if anything."""
        last = (
            select(func.max(_C.id))
            .where(_C.image_sha256.in_(sha256s), _C.owner == (owner or ""))
            .group_by(_C.image_sha256)
        )
        async with self._db.read() as connection:
            rows = map(_row, await connection.execute(select(feedback_table).where(_C.id.in_(last))))
            return {row.image_sha256: row for row in rows if row.image_sha256}

    async def count_labelled(self, *, since: datetime | None = None) -> int:
        """Pictures of which somebody said (since then) what they show."""
        named = or_(_C.verdict == "right", _C.correct_label.is_not(None))
        new = (_C.created_at > since,) if since else ()
        counted = select(func.count(distinct(_C.image_sha256))).where(named, *new)
        async with self._db.read() as connection:
            return int((await connection.execute(counted)).scalar_one())

    async def contested(self, limit: int) -> tuple[FeedbackRow, ...]:
        """What was said, by rising id, about pictures on which people may disagree, or where an answer was called wrong
        and nobody said what is right; not about those that a reviewer has decided since. Of `limit` pictures, those
        that were spoken of last."""
        answer = case((_C.verdict == "right", _C.predicted_class), else_=func.coalesce(_C.correct_label, ""))
        by_people = func.max(case((_C.reviewed, 0), else_=_C.id))
        by_reviewers = func.max(case((_C.reviewed, _C.id), else_=0))
        unclear = (func.count(distinct(answer)) > 1) | (func.min(func.length(answer)) == 0)
        pictures = (
            select(_C.image_sha256)
            .where(_C.image_sha256.is_not(None), or_(_C.verdict.is_not(None), _C.reviewed))
            .group_by(_C.image_sha256)
            .having(func.max(case((_C.image_kept, 1), else_=0)) > 0, by_people > by_reviewers, unclear)
            .order_by(func.max(_C.id).desc())
            .limit(limit)
        )
        async with self._db.read() as connection:
            chosen = (await connection.execute(pictures)).scalars().all()
            statement = select(feedback_table).where(_C.image_sha256.in_(chosen), _C.verdict.is_not(None))
            return tuple(map(_row, await connection.execute(statement.order_by(_C.id))))

    async def decided(self, sha256s: Collection[str]) -> set[str]:
        """Those of these pictures about which somebody, or a reviewer in any words, has said what they are."""
        said = (_C.image_sha256.in_(sha256s), or_(_C.verdict.is_not(None), _C.reviewed))
        async with self._db.read() as connection:
            return set((await connection.execute(select(_C.image_sha256).where(*said).distinct())).scalars())

    async def export(self) -> AsyncIterator[FeedbackRow]:
        """Every row there is at the start, by rising id, read in bounded chunks between which writers go on."""
        async with self._db.read() as connection:
            newest = (await connection.execute(select(func.coalesce(func.max(_C.id), 0)))).scalar_one()
        last = 0
        while last < newest:
            statement = select(feedback_table).where(_C.id > last, _C.id <= newest).order_by(_C.id)
            async with self._db.read() as connection:
                rows = (await connection.execute(statement.limit(_EXPORT_CHUNK_ROWS))).all()
            for row in rows:
                yield _row(row)
            last = rows[-1].id if rows else newest


def _own(feedback_id: int, owner: str | None) -> tuple[Any, ...]:
    return (_C.id == feedback_id, _C.owner == (owner or ""))


def _row(row: Row[Any]) -> FeedbackRow:
    values = dict(row._mapping)
    return FeedbackRow(**values | {"owner": values["owner"] or None})


def _content(draft: FeedbackDraft) -> dict[str, Any]:
    """What the client said; `image_kept` is our doing and may differ between two tries."""
    return {field.name: getattr(draft, field.name) for field in fields(FeedbackDraft) if field.name != "image_kept"}


def _check(values: dict[str, Any]) -> None:
    for name, limit in MAX_CHARS.items():
        text = values[name] or ""
        if len(text) > limit:
            raise InvalidField(f"{name} has {len(text)} characters; at most {limit} are allowed.")
        if UNSTORABLE.search(text):
            raise InvalidField(f"{name} holds a character that cannot be stored (NUL or half a surrogate pair).")
