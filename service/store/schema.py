"""The tables' common ground, and bringing a database up to the newest revision at start."""

import asyncio
import logging
from datetime import UTC, datetime

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, DateTime, Dialect, MetaData, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import TypeDecorator

from service.errors import StoreUnusable
from service.store.engines import check_sqlite_file, reading_engine, sqlite_path, writing_engine

metadata = MetaData()
log = logging.getLogger(__name__)

_MIGRATION_LOCK = 0x676C696D74
"""Key of the PostgreSQL advisory lock: two processes that start together must not both migrate. "glimt" in ASCII."""


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
            if await connection.run_sync(_is_current, _shown(url)):
                return  # the usual start needs no write lock
        async with writer.begin() as connection:
            await connection.run_sync(_upgrade, _shown(url))
    finally:
        await reader.dispose()
        await writer.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "service.store:migrations")
    config.set_main_option("path_separator", "os")
    return config


def _is_current(connection: Connection, shown: str) -> bool:
    scripts = ScriptDirectory.from_config(_config())
    found = set(MigrationContext.configure(connection).get_current_heads())
    known = {script.revision for script in scripts.walk_revisions()}
    if found - known:
        raise StoreUnusable(
            f"The database {shown} has schema {', '.join(sorted(found - known))}, which this version does not know: "
            "it was written by a newer Glimt. Start that version, or name another data folder."
        )
    if not found and set(inspect(connection).get_table_names()) - {"alembic_version"}:
        raise StoreUnusable(f"The database {shown} belongs to another program: name another data folder.")
    return found == set(scripts.get_heads())


def _upgrade(connection: Connection, shown: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
    if _is_current(connection, shown):
        return  # another process was faster
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.info("the schema of %s is now %s", shown, ", ".join(ScriptDirectory.from_config(config).get_heads()))
