"""What was handed out to be shown again: personal API tokens and the sessions of browsers. Only hashes are kept."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Column, ForeignKey, Index, Integer, Row, String, Table, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import Conflict
from service.store.database import Database
from service.store.feedback import MAX_ID
from service.store.schema import UtcDateTime, metadata
from service.store.users import User, change, users_table

Kind = Literal["session", "token"]

MAX_NAME_CHARS = 100
MAX_TOKENS = 50
"""Personal tokens of one account. Of its sessions, as many; there the oldest ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One secret, by its hash's row. `name` is what the owner called it, or the browser of a session."""

    id: int
    user_id: int
    kind: Kind
    name: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None


tokens_table = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(7), nullable=False),
    Column("name", String(MAX_NAME_CHARS), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Index("tokens_by_user", "user_id", "kind", "id"),
    sqlite_autoincrement=True,
)
_C = tokens_table.c
_PUBLIC = tuple(column for column in _C if column.name != "digest")


class TokenStore:
    """The tokens table. Reads and writes raise StoreBusy; writes also StoreFull and Draining."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, user: User, kind: Kind, name: str, digest: str, expires_at: datetime | None) -> Token:
        """Store one. Raises Conflict when the account has MAX_TOKENS personal tokens, is gone, or has had a new
        password since `user` was read."""

        async def job(connection: AsyncConnection) -> Token:
            await _check_unchanged(connection, user)
            await _make_room(connection, user.id, kind)
            values = {"user_id": user.id, "kind": kind, "name": name, "digest": digest, "expires_at": expires_at}
            statement = insert(tokens_table).values(created_at=datetime.now(UTC), **values)
            return _token((await connection.execute(statement.returning(*_PUBLIC))).one())

        return await self._db.write(job)

    async def find(self, digest: str, kind: Kind) -> tuple[Token, User] | None:
        """The one with this hash and its owner, unless it has expired."""
        statement = select(users_table, *(column.label(f"token_{column.name}") for column in _PUBLIC)).where(
            _C.digest == digest, _C.kind == kind, _C.user_id == users_table.c.id, _alive()
        )
        async with self._db.read() as connection:
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            return None
        values = row._mapping
        token = Token(**{column.name: values[f"token_{column.name}"] for column in _PUBLIC})
        return token, User(**{column.name: values[column.name] for column in users_table.c})

    async def used(self, token_id: int) -> None:
        """Note that it was used now."""

        async def job(connection: AsyncConnection) -> None:
            await connection.execute(
                update(tokens_table).where(_C.id == token_id).values(last_used_at=datetime.now(UTC))
            )

        await self._db.write(job)

    async def list(self, user_id: int, kind: Kind) -> tuple[Token, ...]:
        """The account's, newest first."""
        statement = select(*_PUBLIC).where(_C.user_id == user_id, _C.kind == kind, _alive()).order_by(_C.id.desc())
        async with self._db.read() as connection:
            return tuple(map(_token, await connection.execute(statement)))

    async def remove(self, token_id: int, user_id: int) -> bool:
        """Revoke one; False when it is not the account's."""
        if token_id > MAX_ID:
            return False
        return await self._remove(_C.id == token_id, _C.user_id == user_id) > 0

    async def end_all(
        self, user_id: int, *kinds: Kind, password_hash: str | None = None, seen: User | None = None
    ) -> User | None:
        """Revoke all of these kinds and every JWT, and store the new password, all at once or not at all.

        The account as it is then; None: no such account. Raises Conflict if it was changed since `seen` was read.
        """
        values = {"password_hash": password_hash} if password_hash else {}

        async def job(connection: AsyncConnection) -> User | None:
            if seen:
                await _check_unchanged(connection, seen)
            await connection.execute(delete(tokens_table).where(_C.user_id == user_id, _C.kind.in_(kinds)))
            return await change(connection, user_id, token_version=users_table.c.token_version + 1, **values)

        return await self._db.write(job)

    async def forget(self, digest: str, kind: Kind) -> None:
        """Revoke the one with this hash, if there is one."""
        await self._remove(_C.digest == digest, _C.kind == kind)

    async def remove_expired(self) -> int:
        """Tidy up; how many there were."""
        return await self._remove(_C.expires_at <= datetime.now(UTC))

    async def _remove(self, *where: Any) -> int:
        async def job(connection: AsyncConnection) -> int:
            return (await connection.execute(delete(tokens_table).where(*where))).rowcount

        return await self._db.write(job)


async def _check_unchanged(connection: AsyncConnection, user: User) -> None:
    """Who was let in by what has ended meanwhile gets nothing that lasts."""
    now = select(users_table.c.token_version).where(users_table.c.id == user.id)
    if await connection.scalar(now) != user.token_version:
        raise Conflict("This account was changed just now: sign in again.")


async def _make_room(connection: AsyncConnection, user_id: int, kind: Kind) -> None:
    newest_first = select(_C.id).where(_C.user_id == user_id, _C.kind == kind).order_by(_C.id.desc())
    too_many = (await connection.execute(newest_first.offset(MAX_TOKENS - 1))).scalars().all()
    if too_many and kind == "token":
        raise Conflict(f"An account may have {MAX_TOKENS} tokens. Revoke one that is not used any more.")
    if too_many:
        await connection.execute(delete(tokens_table).where(_C.id.in_(too_many)))


def _alive() -> Any:
    return or_(_C.expires_at.is_(None), _C.expires_at > datetime.now(UTC))


def _token(row: Row[Any]) -> Token:
    return Token(**row._mapping)
