"""Answers that the model was least sure of, whose pictures are kept for a person to look at. Knows SQL, not HTTP."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, Double, ForeignKey, Index, Integer, Row, String, Table, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.feedback import UNSTORABLE, feedback_table
from service.store.schema import UtcDateTime, metadata

CHUNK_ROWS = 500
"""Deleted in one transaction at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An answer of which the model was not sure. `user_id` None: nobody who was signed in.

    `labels`: the first five with their probabilities; `margin` between the first two; `entropy` of all, in nats.
    """

    user_id: int | None
    image_sha256: str
    image_file_name: str
    labels: tuple[tuple[str, float], ...]
    margin: float
    entropy: float
    model_name: str
    model_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRow(Doubt):
    """It as it is stored."""

    id: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Added:
    """What came of storing a doubt: the pictures that had to make room for it, and whose they were; and the margin that
    the next one must be below, None while there is room."""

    evicted: Sequence[tuple[str, int | None]]
    limit: float | None


review_table = Table(
    "review",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("image_sha256", String(64), nullable=False),
    Column("image_file_name", String(255), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("margin", Double, nullable=False),
    Column("entropy", Double, nullable=False),
    Column("model_name", String(100), nullable=False),
    Column("model_version", String(100), nullable=False),
    Index("review_by_image", "image_sha256"),
    Index("review_by_user", "user_id"),
    Index("review_by_margin", "margin"),
    sqlite_autoincrement=True,
)
_C = review_table.c
_F = feedback_table.c
_SETTLED = select(_F.id).where(_F.image_sha256 == _C.image_sha256, _F.reviewed | _F.verdict.is_not(None)).exists()
"""Somebody has said what it is, or that it cannot be told. Such a picture is kept to learn from, and not counted."""


class ReviewStore:
    """The review table. Reads and writes raise StoreBusy; writes also StoreFull and Draining."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, doubt: Doubt, *, most: int) -> Added:
        """Store it instead of an earlier one about this person's picture, and of what is then more than `most` open
        ones, the most certain first. Raises IntegrityError when the account is gone."""
        values = asdict(doubt) | {"image_file_name": UNSTORABLE.sub("\ufffd", doubt.image_file_name)[-255:]}
        open_ones = select(_C.id).where(~_SETTLED).order_by(_C.margin, _C.id)

        async def job(connection: AsyncConnection) -> Added:
            same = (_C.image_sha256 == doubt.image_sha256, _C.user_id.is_not_distinct_from(doubt.user_id))
            await connection.execute(delete(review_table).where(*same))
            await connection.execute(insert(review_table).values(created_at=datetime.now(UTC), **values))
            over = (await connection.execute(open_ones.offset(most).limit(CHUNK_ROWS))).scalars().all()
            gone = delete(review_table).where(_C.id.in_(over)).returning(_C.image_sha256, _C.user_id)
            evicted = [(sha256, user_id) for sha256, user_id in await connection.execute(gone)] if over else []
            last = select(_C.margin).where(~_SETTLED).order_by(_C.margin, _C.id).offset(most - 1).limit(1)
            return Added(evicted, (await connection.execute(last)).scalar_one_or_none())

        return await self._db.write(job)

    async def least_certain(self, limit: int) -> tuple[ReviewRow, ...]:
        """The open ones, the least certain first."""
        statement = select(review_table).where(~_SETTLED).order_by(_C.margin, _C.id).limit(limit)
        async with self._db.read() as connection:
            return tuple(map(_row, await connection.execute(statement)))

    async def of(self, user_id: int) -> tuple[ReviewRow, ...]:
        """The account's, newest first."""
        statement = select(review_table).where(_C.user_id == user_id).order_by(_C.id.desc())
        async with self._db.read() as connection:
            return tuple(map(_row, await connection.execute(statement)))

    async def mentioned(self, sha256s: Collection[str]) -> set[str]:
        """Those of these pictures that are kept for review, whosever they are."""
        statement = select(_C.image_sha256).where(_C.image_sha256.in_(sha256s)).distinct()
        async with self._db.read() as connection:
            return set((await connection.execute(statement)).scalars())

    async def users(self, sha256: str) -> set[int | None]:
        """Whose picture it is, as far as it is kept for review."""
        statement = select(_C.user_id).where(_C.image_sha256 == sha256).distinct()
        async with self._db.read() as connection:
            return set((await connection.execute(statement)).scalars())

    async def remove(self, user_id: int, sha256s: Collection[str]) -> None:
        """Delete what there is of the account's about these pictures, decided or not."""

        async def job(connection: AsyncConnection) -> None:
            mine = (_C.user_id == user_id, _C.image_sha256.in_(sha256s))
            await connection.execute(delete(review_table).where(*mine))

        await self._db.write(job)

    async def remove_some_before(self, moment: datetime) -> Sequence[str]:
        """Delete CHUNK_ROWS open rows that are older; whose pictures. Empty: none is left."""
        chunk = select(_C.id).where(_C.created_at < moment, ~_SETTLED).limit(CHUNK_ROWS)

        async def job(connection: AsyncConnection) -> Sequence[str]:
            statement = delete(review_table).where(_C.id.in_(chunk)).returning(_C.image_sha256)
            return (await connection.execute(statement)).scalars().all()

        return await self._db.write(job)


def _row(row: Row[Any]) -> ReviewRow:
    values = dict(row._mapping)
    return ReviewRow(**values | {"labels": tuple((label, score) for label, score in values["labels"])})
