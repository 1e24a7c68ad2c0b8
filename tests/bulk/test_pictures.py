"""Single pictures out of what jobs read: read by position, a few archives kept open, none for ever."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

import pytest

from service.bulk.archive import open_archive
from service.bulk.directory import ArchiveLimits
from service.bulk.pictures import OPEN, JobPictures
from service.bulk.runner import BulkRunner
from service.bulk.source import Source
from service.errors import ImageCorrupt
from service.store.job_rows import Job
from tests.faults.archives import DEFLATED, Part, pack
from tests.world import until

T = TypeVar("T")


class Threads:
    """A runner with nothing but its archives and its threads. `opened` are those that were, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[int] = []

    def source(self, job: Job) -> AbstractContextManager[Source]:
        self.opened.append(job.id)
        return open_archive(self.folder / f"{job.id}.zip", ArchiveLimits(max_member_bytes=1000))

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)


@pytest.fixture
async def pictures(tmp_path: Path) -> AsyncIterator[JobPictures]:
    for job_id in range(OPEN + 2):
        path = tmp_path / f"{job_id}.zip"
        path.write_bytes(pack(Part(b"a.png", b"picture %d" % job_id), Part(b"b.txt", b"no picture")))
    async with JobPictures(cast(BulkRunner, Threads(tmp_path))) as pictures:
        yield pictures


def job(number: int) -> Job:
    return Job(
        id=number, owner="", created_at=datetime.now(UTC), started_at=None, ended_at=None, file_name="a.zip", bytes=1,
        status="done", error_code=None, error_detail=None, total=2, done=1, failed=0, skipped=1,
    )  # fmt: skip


async def test_a_picture_by_its_position(pictures: JobPictures) -> None:
    """Of each job its own; what is skipped or not there is None."""
    assert await pictures.use(job(0), 0, bytes.upper) == b"PICTURE 0"
    assert await pictures.use(job(1), 0, len) == 9
    assert await pictures.use(job(0), 1, len) is None
    assert await pictures.use(job(0), 2, len) is None


async def test_an_archive_that_is_gone(pictures: JobPictures, tmp_path: Path) -> None:
    """Removed in time, or no archive at all: None, and the next one can be read."""
    (tmp_path / "1.zip").write_bytes(b"nonsense")
    assert await pictures.use(job(99), 0, len) is None
    assert await pictures.use(job(1), 0, len) is None
    assert await pictures.use(job(0), 0, len) == 9


async def test_a_damaged_picture(pictures: JobPictures, tmp_path: Path) -> None:
    """It is said, and the archive can be read on."""
    (tmp_path / "1.zip").write_bytes(
        pack(Part(b"a.png", method=DEFLATED, packed=b"\xff" * 9), Part(b"b.png", b"whole"))
    )
    with pytest.raises(ImageCorrupt):
        await pictures.use(job(1), 0, len)
    assert await pictures.use(job(1), 1, len) == 5


async def test_an_archive_is_opened_once(pictures: JobPictures) -> None:
    """For picture after picture; with more archives than may be open, the one that rested longest is closed."""
    opened = cast(Threads, pictures._runner).opened
    await asyncio.gather(*(pictures.use(job(0), 0, len) for _ in range(5)))
    assert opened == [0]
    for number in (1, 0, 2, 0, 1):
        await pictures.use(job(number), 0, len)
    assert opened == [0, 1, 2, 1]


async def test_an_archive_that_is_removed_is_closed(pictures: JobPictures, tmp_path: Path) -> None:
    """It was kept open for a minute: so long its room on the disk was not free, and its pictures could be read."""
    assert await pictures.use(job(0), 0, bytes) == b"picture 0"
    (tmp_path / "0.zip").unlink()
    await pictures.close(0)
    await pictures.close(1)  # was not open
    assert await pictures.use(job(0), 0, bytes) is None


async def test_an_archive_at_rest_is_closed(pictures: JobPictures, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory is memory, and its file room on the disk, also when its job is removed."""
    monkeypatch.setattr("service.bulk.pictures.IDLE_S", 0.0)
    await pictures.use(job(0), 0, len)
    await until(lambda: not pictures._open)
