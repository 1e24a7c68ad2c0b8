"""Accounts. Knows SQL and who is the last admin; no passwords, only their hashes."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Column, Integer, Row, String, Table, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import Conflict, EmailTaken
from service.store.database import Database
from service.store.feedback import MAX_ID, feedback_table
from service.store.schema import UtcDateTime, metadata

Role = Literal["user", "admin"]

MAX_EMAIL_CHARS = 254
"""RFC 5321, erratum 1690."""
MAX_NAME_CHARS = 50
UNUSABLE = "!"
"""In the place of a password's hash: no password is right."""
_CHUNK_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account as it is stored. `email` is in lower case; every JWT names the `token_version` it was made for."""

    id: int
    created_at: datetime
    email: str
    name: str
    password_hash: str
    role: Role
    token_version: int

    @property
    def owner(self) -> str:
        """What its rows say in their `owner` column."""
        return str(self.id)


users_table = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("email", String(MAX_EMAIL_CHARS), nullable=False, unique=True),
    Column("name", String(MAX_NAME_CHARS), nullable=False),
    Column("password_hash", String(200), nullable=False),
    Column("role", String(5), nullable=False),
    Column("token_version", Integer, nullable=False),
    sqlite_autoincrement=True,  # a deleted account's id, which others' rows and tokens may name, is never given again
)
_C = users_table.c
_ADMINS = (_C.role == "admin", _C.password_hash != UNUSABLE)
"""Those who could administer the service: an admin who cannot sign in is none."""


class UserStore:
    """The users table. Reads and writes raise StoreBusy; writes also StoreFull and Draining."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, *, email: str, name: str, password_hash: str, role: Role) -> User:
        """Store a new account. Raises EmailTaken."""
        values = {"email": email, "name": name, "password_hash": password_hash, "role": role, "token_version": 1}

        async def job(connection: AsyncConnection) -> User:
            statement = insert(users_table).values(created_at=datetime.now(UTC), **values)
            return _user((await connection.execute(statement.returning(*_C))).one())

        try:
            return await self._db.write(job)
        except IntegrityError as error:
            raise EmailTaken(f"There is an account of {email} already. Sign in, or take another address.") from error

    async def get(self, user_id: int) -> User | None:
        """The account with this id."""
        return await self._one(_C.id == user_id) if user_id <= MAX_ID else None

    async def by_email(self, email: str) -> User | None:
        """The account with this address, in lower case."""
        return await self._one(_C.email == email)

    async def has_admin(self) -> bool:
        """Whether anybody could administer the service."""
        return await self._one(*_ADMINS) is not None

    async def list(self, after: int = 0) -> AsyncGenerator[User, None]:
        """All accounts with an id above `after`, the oldest first, read in bounded chunks."""
        last = after
        while True:
            statement = select(users_table).where(_C.id > last).order_by(_C.id).limit(_CHUNK_ROWS)
            async with self._db.read() as connection:
                rows = (await connection.execute(statement)).all()
            for row in rows:
                yield _user(row)
            if len(rows) < _CHUNK_ROWS:
                return
            last = rows[-1].id

    async def set_role(self, user_id: int, role: Role) -> User | None:
        """Make somebody an admin or a user. Raises Conflict when no admin would be left. None: no such account."""

        async def job(connection: AsyncConnection) -> User | None:
            if role != "admin":
                await _keep_an_admin(connection, user_id)
            return await change(connection, user_id, role=role)

        return await self._db.write(job)

    async def rehash(self, user_id: int, old_hash: str, new_hash: str) -> None:
        """The same password, hashed with today's parameters. Nothing happens when it was changed meanwhile."""

        async def job(connection: AsyncConnection) -> None:
            same = (_C.id == user_id, _C.password_hash == old_hash)
            await connection.execute(update(users_table).where(*same).values(password_hash=new_hash))

        await self._db.write(job)

    async def remove(self, user_id: int) -> bool:
        """Delete the account with its tokens, history and feedback. Raises Conflict when no admin would be left."""

        async def job(connection: AsyncConnection) -> bool:
            await _keep_an_admin(connection, user_id)
            await connection.execute(delete(feedback_table).where(feedback_table.c.owner == str(user_id)))
            return (await connection.execute(delete(users_table).where(_C.id == user_id))).rowcount > 0

        return await self._db.write(job)

    async def _one(self, *where: Any) -> User | None:
        async with self._db.read() as connection:
            row = (await connection.execute(select(users_table).where(*where).limit(1))).one_or_none()
        return None if row is None else _user(row)


async def change(connection: AsyncConnection, user_id: int, **values: Any) -> User | None:
    """In a writer's transaction: the account as it is then, None if there is none."""
    statement = update(users_table).where(_C.id == user_id).values(**values).returning(*_C)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _user(row)


async def _keep_an_admin(connection: AsyncConnection, user_id: int) -> None:
    """In the writer's transaction: two admins that leave at the same time cannot both be the last but one."""
    admins = (await connection.execute(select(_C.id).where(*_ADMINS).limit(2))).scalars().all()
    if admins == [user_id]:
        raise Conflict("This is the last admin: make somebody else an admin first.")


def _user(row: Row[Any]) -> User:
    return User(**row._mapping)
