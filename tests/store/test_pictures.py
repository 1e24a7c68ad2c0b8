"""Kept pictures: named by hash, whole or not there, forgotten on request."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import StoreBusy, StoreFull
from service.store.pictures import PictureStore


@pytest.fixture
async def pictures(tmp_path: Path) -> AsyncIterator[PictureStore]:
    async with PictureStore(tmp_path / "pictures") as store:
        yield store


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_picture_is_kept_under_its_hash(pictures: PictureStore) -> None:
    """The file holds the bytes and its name is their SHA-256."""
    sha256 = await pictures.keep(b"picture")
    assert sha256 == hashlib.sha256(b"picture").hexdigest()
    assert pictures.path(sha256).read_bytes() == b"picture"
    assert await pictures.has(sha256)


async def test_keeping_twice_is_keeping_once(pictures: PictureStore, tmp_path: Path) -> None:
    """Concurrent keeps of the same bytes leave one file and nothing unfinished."""
    assert len(set(await asyncio.gather(*(pictures.keep(b"same") for _ in range(10))))) == 1
    assert len(files(tmp_path)) == 1


async def test_a_removed_picture_is_gone_and_removing_again_is_nothing(pictures: PictureStore) -> None:
    """remove is idempotent, like undo."""
    sha256 = await pictures.keep(b"picture")
    await pictures.remove(sha256)
    await pictures.remove(sha256)
    assert not await pictures.has(sha256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""])
def test_only_a_hash_is_a_name(name: str, tmp_path: Path) -> None:
    """Nothing a client could send as a name reaches the file system."""
    with pytest.raises(ValueError, match="SHA-256"):
        PictureStore(tmp_path).path(name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_a_full_disk_is_store_full_and_leaves_nothing(
    pictures: PictureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """T16: 507, no half-written file; with room again the same picture is kept."""

    def no_room(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", no_room)
        with pytest.raises(StoreFull):
            await pictures.keep(b"picture")
        assert files(tmp_path) == []
    assert await pictures.has(await pictures.keep(b"picture"))


async def test_what_a_crash_left_unfinished_is_swept_at_the_start(tmp_path: Path) -> None:
    """A temporary file of a killed process is gone after the next start; kept pictures stay."""
    async with PictureStore(tmp_path) as first:
        sha256 = await first.keep(b"picture")
    (tmp_path / "unfinished" / "tmp1234").write_bytes(b"half")
    async with PictureStore(tmp_path) as second:
        assert await second.has(sha256)
    assert len(files(tmp_path)) == 1


async def test_too_many_waiting_pictures_are_refused_at_once(
    pictures: PictureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk hangs, the 65th picture gets StoreBusy; the 64 are kept when it goes on."""
    gate = threading.Event()
    fsync = os.fsync

    def hanging(descriptor: int) -> None:
        gate.wait()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", hanging)
    accepted = [asyncio.ensure_future(pictures.keep(b"%d" % number)) for number in range(64)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(StoreBusy, match="64 pictures"):
            await pictures.keep(b"one more")
    finally:
        gate.set()
    assert len(set(await asyncio.gather(*accepted))) == 64


async def test_the_end_waits_for_what_was_accepted(tmp_path: Path) -> None:
    """A picture accepted before the end is on disk after it, and the thread has ended."""
    before = set(threading.enumerate())
    async with PictureStore(tmp_path) as pictures:
        assert set(threading.enumerate()) - before
        accepted = asyncio.ensure_future(pictures.keep(b"picture"))
        await asyncio.sleep(0)
    assert pictures.path(await accepted).exists()
    assert set(threading.enumerate()) <= before


async def test_many_are_asked_for_and_removed_at_once(pictures: PictureStore) -> None:
    """kept names those that are there, read gives their bytes, remove passes over what is not."""
    first, second = await pictures.keep(b"one"), await pictures.keep(b"two")
    assert await pictures.kept([first, second, "0" * 64]) == {first, second}
    assert [await pictures.read(name) for name in (first, "0" * 64)] == [b"one", None]
    await pictures.remove(first, "0" * 64)
    assert await pictures.kept([first, second]) == {second}
