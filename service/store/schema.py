"""The tables' common ground, and bringing a database up to the newest revision at start."""

import asyncio
from datetime import UTC, datetime

from sqlalchemy import URL, Connection, DateTime, Dialect, MetaData, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeDecorator

from service.errors import StoreUnusable
from service.store.engines import check_sqlite_file, reading_engine, sqlite_path, writing_engine

metadata = MetaData()
NEWEST = "0004"
"""The revision of the last of `migrations/versions`."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime everywhere; SQLite keeps no zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC)


def prepare(url: URL, *, busy_timeout_ms: int) -> None:
    """Check and migrate the database. Blocking, with an event loop of its own: call it in a thread.

    Raises StoreUnusable when it is damaged, locked, out of reach, another program's, or newer than this program.
    """
    path = sqlite_path(url)
    try:
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_sqlite_file(path, busy_timeout_ms=busy_timeout_ms)
            if not path.exists():
                path.touch(mode=0o600)  # SQLite gives its log files the same permissions
        asyncio.run(_migrate(url, busy_timeout_ms))
    except (SQLAlchemyError, OSError) as error:
        reason = getattr(error, "orig", None) or error
        raise StoreUnusable(f"The database {_shown(url)} cannot be opened: {reason}") from error


def _shown(url: URL) -> str:
    return str(sqlite_path(url) or url.render_as_string(hide_password=True))


async def _migrate(url: URL, busy_timeout_ms: int) -> None:
    reader = reading_engine(url, busy_timeout_ms=busy_timeout_ms, connections=1)
    writer = writing_engine(url, busy_timeout_ms=busy_timeout_ms)
    try:
        async with reader.connect() as connection:
            if await connection.run_sync(_is_newest):
                return  # the usual start needs neither a write lock nor Alembic
            from service.store import migrating

            await connection.run_sync(migrating.is_current, _shown(url))
        async with writer.begin() as connection:
            await connection.run_sync(migrating.upgrade, _shown(url))
    finally:
        await reader.dispose()
        await writer.dispose()


def _is_newest(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [NEWEST]
