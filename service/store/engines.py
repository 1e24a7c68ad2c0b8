"""Connections: which driver an address means, and how each connection is set up. The only file with pragmas."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.errors import StoreUnusable

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_WAL_KEPT_BYTES = 64 * 1024 * 1024
"""A long reader can let the log grow; it is cut back to this at the next checkpoint."""
_CACHE_KIB = 128
"""Of pages, for each connection: the system keeps them as well, and SQLite's own 2 MiB fill for hours. Nothing that was
measured is slower with so few (perf/RESULTS.md)."""


def database_url(url_or_path: str | Path) -> URL:
    """A path is an SQLite file; a URL may be sqlite or postgresql, with or without our driver's name."""
    if isinstance(url_or_path, Path) or "://" not in url_or_path:
        return URL.create(_DRIVERS["sqlite"], database=str(Path(url_or_path).expanduser().absolute()))
    try:
        url = make_url(url_or_path)
        return url.set(drivername=_DRIVERS[url.get_backend_name()])
    except (ArgumentError, KeyError) as error:
        raise StoreUnusable("The database address must be a path, sqlite:///… or postgresql://…") from error


def sqlite_path(url: URL) -> Path | None:
    """The file behind `url`, None when it is not SQLite."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def writing_engine(url: URL, *, busy_timeout_ms: int) -> AsyncEngine:
    """One connection, never two: every transaction takes the write lock at its start, so it cannot fail midway."""
    if sqlite_path(url) is None:
        return _engine(url, 1, busy_timeout_ms, ())
    log_limit = f"journal_size_limit={_WAL_KEPT_BYTES}"
    engine = _engine(url, 1, busy_timeout_ms, ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", log_limit))

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(url: URL, *, busy_timeout_ms: int, connections: int) -> AsyncEngine:
    """Connections that cannot write; each statement sees the last commit before it."""
    if sqlite_path(url) is None:
        return _engine(url, connections, busy_timeout_ms, (), postgresql_readonly=True)
    return _engine(url, connections, busy_timeout_ms, ("query_only=ON",))


def check_sqlite_file(path: Path, *, busy_timeout_ms: int) -> None:
    """Blocking. Refuse what is not a sound SQLite file, before anything could write to it.

    A missing or empty file passes: it will be created. Raises StoreUnusable.
    """
    try:
        if not path.exists() or path.stat().st_size == 0:
            return
        uri = f"{path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=busy_timeout_ms / 1000)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except (sqlite3.Error, OSError) as error:
        raise StoreUnusable(f"{path} cannot be used as the database: {error}. {_WAY_OUT}") from error
    if verdict != "ok":
        raise StoreUnusable(f"{path} is damaged: {verdict}. {_WAY_OUT}")


_WAY_OUT = "It was left as it is: restore a backup, move it away to start empty, or name another data folder."


def _engine(url: URL, size: int, busy_timeout_ms: int, pragmas: tuple[str, ...], **options: Any) -> AsyncEngine:
    is_sqlite = sqlite_path(url) is not None
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=busy_timeout_ms / 1000,
        hide_parameters=True,  # what clients wrote belongs neither in the log nor in a stack trace
        connect_args={"isolation_level": None} if is_sqlite else {},  # we say BEGIN; the driver must not
        execution_options=options,
    )
    if not is_sqlite:
        return engine

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={busy_timeout_ms}", f"cache_size=-{_CACHE_KIB}", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
