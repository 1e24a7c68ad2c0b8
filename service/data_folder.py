"""One service per data folder: two would write one SQLite database, which its write-ahead log may not survive
(sqlite.org/wal.html, the WAL-reset bug), and each would count and remember as if it were alone.

Whoever writes holds a lock on `service.lock`, whose content says who that is. The system releases it when the process
ends, however it ends. The file stays: one that comes and goes cannot be locked.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import FolderTaken, StartError

_WAIT_S, _EVERY_S = 1.0, 0.05
"""A service that is just ending, and a command that only looks, shall not make a start fail."""
_MAX_BYTES = 4096


class Holder(BaseModel):
    """Who works in a data folder. `url` is where this machine reaches it; None while it starts or is `ending`, and for
    a command."""

    model_config = ConfigDict(frozen=True)

    pid: int | None = None
    url: str | None = None
    ending: bool = False


class Claim:
    """The held lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._write()

    def announce(self, url: str) -> None:
        """Say where the service answers. On a full disk nobody is told, and the service serves all the same."""
        with suppress(OSError):
            self._write(url)

    def withdraw(self) -> None:
        """Say that it ends, while nobody else can listen there yet: a command shows the key to whoever answers."""
        try:
            self._write(ending=True)
        except OSError:
            os.ftruncate(self._descriptor, 0)  # needs no room

    def _write(self, url: str | None = None, *, ending: bool = False) -> None:
        content = orjson.dumps({"pid": os.getpid(), "url": url, "ending": ending})
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))


@contextmanager
def claimed(data_path: Path, *, wait_s: float = _WAIT_S) -> Iterator[Claim]:
    """The folder, made if need be, for this process alone. Blocking.

    Raises FolderTaken when another still has it after `wait_s`, StartError when nobody can have it.
    """
    path = lock_file(data_path)
    try:
        data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        yield _claim(descriptor, data_path, wait_s)
    finally:
        os.close(descriptor)


def _claim(descriptor: int, data_path: Path, wait_s: float) -> Claim:
    until = time.monotonic() + wait_s
    try:
        while not _locked(descriptor, fcntl.LOCK_EX):
            if time.monotonic() >= until:
                raise _taken(data_path, _read(descriptor))
            time.sleep(_EVERY_S)
        return Claim(descriptor)
    except OSError as error:
        raise _unusable(lock_file(data_path), error) from error


def holder(data_path: Path) -> Holder | None:
    """Who works in the folder now; None when nobody does, or it is not for us to know. Blocking."""
    try:
        descriptor = os.open(lock_file(data_path), os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else _read(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def is_served(data_path: Path) -> bool:
    """Whether a service answers from the folder. Blocking."""
    found = holder(data_path)
    return found is not None and found.url is not None


def lock_file(data_path: Path) -> Path:
    """Where the lock is."""
    return data_path / "service.lock"


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Holder:
    """Nobody in particular in the instant in which it is written."""
    try:
        return Holder.model_validate_json(os.pread(descriptor, _MAX_BYTES, 0))
    except ValidationError:
        return Holder()


def _taken(data_path: Path, by: Holder) -> FolderTaken:
    who = f"process {by.pid}" if by.pid else "another process"
    if by.url is None:
        doing = "which is shutting down" if by.ending else "which is starting, or a command at work"
        return FolderTaken(
            f"The data folder {data_path} is in use by {who}, {doing}: try again when it is done, or name a folder of "
            "its own with --data-dir."
        )
    return FolderTaken(
        f"The data folder {data_path} is in use by the service at {by.url}, {who}. Use that one, stop it (kill "
        f"{by.pid}), or name a folder of its own with --data-dir (GLIMT_DATA_DIR)."
    )


def _unusable(path: Path, error: OSError) -> StartError:
    return StartError(
        f"{path} cannot be locked: {error.strerror or error}. The data folder must be writable, on a disk that knows "
        "locks: name one with --data-dir (GLIMT_DATA_DIR)."
    )
