"""A runner on a real store and real archives, with a classifier that answers when it is told to."""

import asyncio
import io
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from service.bulk.directory import ArchiveLimits
from service.bulk.runner import BulkRunner
from service.inference.labels import ClassTable
from service.inference.lanes import Lane
from service.inference.predictions import ImageInfo, Label, ModelInfo, Prediction, Receipt
from service.store.database import Database
from service.store.job_rows import ItemFilter, Job, JobItem
from service.store.jobs import JobStore
from tests.world import make_database, until

CLASSES = ClassTable(tuple(f"class_{n}" for n in range(10)), (None,) * 10, ("",) * 10)
LIMITS = ArchiveLimits(max_member_bytes=1024 * 1024)
_RECEIPT = Receipt(0, 0, 0, 0, 1, "idle", False)


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return data.getvalue()


def pictures(count: int, prefix: str = "") -> bytes:
    """An archive of so many pictures, each with its own bytes."""
    return zipped((f"{prefix}{n}.png", f"{prefix}{n}".encode()) for n in range(count))


class Answers:
    """In place of the classifier: a picture whose bytes end with 3 is class_3. Each answer takes one permit, if there
    are to be any; `asked` are all pictures in order, `flying` those without their answer yet."""

    def __init__(self) -> None:
        self.classes = CLASSES
        self.version = "1"
        self.permits: asyncio.Semaphore | None = None
        self.refusal: Exception | None = None
        self.errors: dict[bytes, Exception] = {}
        self.asked: list[bytes] = []
        self.flying = Counter[bytes]()
        self.most_flying = self.most_bytes = 0

    @contextmanager
    def admission(self, *, patient: bool) -> Iterator[None]:
        assert patient
        if self.refusal:
            raise self.refusal
        yield

    async def classify(self, data: bytes, *, top: int, lane: Lane, patient: bool) -> Prediction:
        assert (top, lane, patient) == (10, "bulk", True)
        self.asked.append(data)
        self.flying[data] += 1
        self.most_flying = max(self.most_flying, self.flying.total())
        self.most_bytes = max(self.most_bytes, sum(map(len, self.flying.elements())))
        try:
            await (self.permits.acquire() if self.permits else asyncio.sleep(0))
            if error := self.errors.get(data):
                raise error
        finally:
            self.flying -= Counter([data])
        index = data[-1] % 16 % 10
        labels = tuple(Label(f"class_{(index + n) % 10}", None, (index + n) % 10, 0.5 / 2**n) for n in range(10))
        model = ModelInfo("fake", self.version, "gated", "none")
        return Prediction(labels, model, ImageInfo("0" * 64, 1, 1, "PNG"), _RECEIPT)

    def hold(self) -> None:
        """From now on, no answer but those that are let."""
        self.permits = asyncio.Semaphore(0)

    def let(self, count: int) -> None:
        """So many more."""
        assert self.permits
        for _ in range(count):
            self.permits.release()

    def go(self) -> None:
        """Answer what waits and all that comes."""
        self.let(self.flying.total())
        self.permits = None


@dataclass(frozen=True)
class Workshop:
    """A place where jobs run."""

    folder: Path
    db: Database
    jobs: JobStore
    answers: Answers
    runner: BulkRunner

    async def job(self, archive: bytes | None, owner: str = "ada", *, start: bool = True) -> Job:
        """A job, under way."""
        job = await self.jobs.add(owner, "photos.zip", len(archive or b""))
        path = self.runner.archive(job.id)
        path.parent.mkdir(parents=True)
        if archive is not None:
            path.write_bytes(archive)
        if start:
            self.runner.start(job)
        return job

    async def now(self, job: Job) -> Job:
        found = await self.jobs.get(job.id, job.owner)
        assert found is not None
        return found

    async def over(self, job: Job) -> Job:
        """As it is when the runner has done with it."""
        await until(lambda: self.runner.progress(job.id) is None)
        return await self.now(job)

    async def rows(self, job: Job) -> list[JobItem]:
        """All its answers, after a check that the counts agree with them."""
        rows = [row async for row in self.jobs.all_items(job.id)]
        current, counts = await self.now(job), Counter(row.status for row in rows)
        assert (current.done, current.failed, current.skipped) == tuple(
            counts[status] for status in ("done", "failed", "skipped")
        )
        return rows

    async def page(self, job: Job, chosen: ItemFilter) -> list[int]:
        return [item.position for item in await self.jobs.items(job.id, chosen)]

    def paused(self, job: Job) -> str | None:
        progress = self.runner.progress(job.id)
        return progress.paused if progress else None

    async def limit_pages(self, more: int | None) -> None:
        """A database that can grow by so many pages; None: by any number."""

        async def job(connection: AsyncConnection) -> None:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
            most = 2**31 - 2 if more is None else pages + more
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

        await self.db.write(job)


@asynccontextmanager
async def workshop(folder: Path, answers: Answers | None = None, **options: Any) -> AsyncIterator[Workshop]:
    """Opened again on the same folder, it is the next start of the service."""
    answers = answers or Answers()
    options = {"retry_s": 0.01} | options
    async with make_database(folder) as db:
        jobs = JobStore(db)
        async with BulkRunner(jobs, answers, folder / "jobs", LIMITS, **options) as runner:
            yield Workshop(folder, db, jobs, answers, runner)
