"""Kept pictures: files named by the SHA-256 of their bytes, never by anything a client sent. Knows no SQL."""

import asyncio
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from service.errors import StoreBusy, StoreFull
from service.files import NO_ROOM, sync

T = TypeVar("T")

log = logging.getLogger(__name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_WAITING = 64
"""Each waiting picture may be 20 MiB: more than this should be refused, not hoarded."""


class PictureStore:
    """`async with PictureStore(folder) as pictures`. File work happens in the one thread it owns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / "unfinished"
        self._waiting = 0

    async def __aenter__(self) -> "PictureStore":
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="glimt-pictures")
        await self._run(self._open)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with suppress(StoreBusy):
            await self._run(lambda: None)  # behind everything that was accepted
        self._thread.shutdown(wait=True)

    def path(self, sha256: str) -> Path:
        """Where the picture with this hash is, if it is kept. Raises ValueError for anything but 64 hex digits."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError("a SHA-256 is 64 lower-case hexadecimal digits")
        return self._folder / sha256[:2] / f"{sha256}.bin"

    async def keep(self, data: bytes) -> str:
        """Store the bytes and return their SHA-256; safe on disk when this returns. Keeping twice is keeping once.

        Raises StoreFull when the disk has no room, StoreBusy at once when too many pictures wait. Cancelled, the
        picture may still be kept.
        """
        return await self._run(lambda: self._keep(data))

    async def keep_quietly(self, data: bytes) -> None:
        """Keep a picture whose answer must not depend on the disk: trouble goes to the log."""
        try:
            await self.keep(data)
        except (StoreFull, StoreBusy) as error:
            log.warning("a picture was not kept: %s", error.detail)

    async def has(self, sha256: str) -> bool:
        """Whether the picture is kept."""
        return await self._run(self.path(sha256).exists)

    async def kept(self, sha256s: Collection[str]) -> set[str]:
        """Those of these pictures that are kept."""
        paths = {sha256: self.path(sha256) for sha256 in sha256s}
        return await self._run(lambda: {sha256 for sha256, path in paths.items() if path.exists()})

    async def read(self, sha256: str) -> bytes | None:
        """The picture's bytes, None when it is not kept."""
        return await self._run(lambda: _read(self.path(sha256)))

    async def remove(self, *sha256s: str) -> None:
        """Forget these pictures; nothing happens for one that is not kept."""
        paths = [self.path(sha256) for sha256 in sha256s]
        await self._run(lambda: _remove(paths))

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise StoreBusy(f"{self._waiting} pictures are waiting for the disk already; try again shortly.")
        self._waiting += 1
        task = asyncio.get_running_loop().run_in_executor(self._thread, work)
        task.add_done_callback(self._done)
        return await task

    def _done(self, _task: object) -> None:
        self._waiting -= 1

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(self._unfinished, ignore_errors=True)  # what a crash left half written
        self._unfinished.mkdir(mode=0o700)

    def _keep(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        target = self.path(sha256)
        if target.exists():
            return sha256
        try:
            self._write(target, data)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise StoreFull("There is no room on the disk to keep this picture.") from error
        return sha256

    def _write(self, target: Path, data: bytes) -> None:
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._unfinished, delete=False) as file:  # made with mode 0600
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
        sync(target.parent)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
