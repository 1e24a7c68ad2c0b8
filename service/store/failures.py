"""What the drivers raise -> the service's own errors, for SQLite and PostgreSQL. Knows codes, never words."""

import sqlite3

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.errors import StoreBusy, StoreFull

_PRIMARY_CODE = 0xFF
"""The low byte of an extended SQLite result code (sqlite.org/rescode.html)."""
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_SQLITE_FULL = {sqlite3.SQLITE_FULL}
_POSTGRES_BUSY = ("08", "40", "53", "55P03", "57P")
"""Connection lost, serialisation, resources, lock not available, shutting down (PostgreSQL appendix A)."""
_POSTGRES_FULL = "53100"


def public_error(error: Exception) -> Exception:
    """StoreBusy or StoreFull where the cause is known, else `error` itself, which is then a bug or a broken disk."""
    if isinstance(error, PoolTimeout):
        return StoreBusy("All connections to the database are in use; try again shortly.")
    if isinstance(error, OSError):
        return StoreBusy("The database cannot be reached; try again shortly.")
    if not isinstance(error, DBAPIError):
        return error
    if _is_full(error):
        return StoreFull("The database cannot grow: free space on its disk or raise its size limit, then retry.")
    if _is_busy(error):
        return StoreBusy("The database is locked by another process; try again shortly.")
    return error


def _is_full(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0)
    if code & _PRIMARY_CODE in _SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE:
        return True  # a quota or a file size limit shows as a failed write
    return getattr(error.orig, "sqlstate", None) == _POSTGRES_FULL


def _is_busy(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0)
    state = getattr(error.orig, "sqlstate", None) or ""
    return code & _PRIMARY_CODE in _SQLITE_BUSY or error.connection_invalidated or state.startswith(_POSTGRES_BUSY)
