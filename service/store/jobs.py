"""Bulk jobs and the answers to their pictures. Knows SQL; no archives, no HTTP.

A picture's answer and the job's counts change in one transaction, and a picture has one row: after a crash nothing is
counted twice and nothing is missing.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import ArchiveInvalid, ArchiveTooLarge, NotFound
from service.store.database import Database
from service.store.feedback import MAX_ID
from service.store.job_rows import MAX_CHARS, OVER, ItemFilter, Job, JobItem, JobStatus, items_table, jobs_table

_CHUNK_ROWS = 500
"""Rows read or deleted at once: others wait no longer than that takes."""
_J, _I = jobs_table.c, items_table.c
_IS_OVER = _J.status.in_(OVER)
_HAS_NO_ARCHIVE = _J.error_code.in_((ArchiveInvalid.code, ArchiveTooLarge.code))
"""Of a job that failed so, the archive is not kept: nobody can read it."""
_ITEM = [_I[field.name] for field in fields(JobItem)]
_NAMES = [column.name for column in _ITEM]


class JobStore:
    """The jobs' tables. Reads and writes raise StoreBusy; writes also StoreFull and Draining."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, owner: str | None, file_name: str, size: int, folder: str | None = None) -> Job:
        """A new job, queued."""
        values = {"owner": owner or "", "file_name": file_name, "bytes": size, "folder": folder, "status": "queued"}

        async def job(connection: AsyncConnection) -> Job:
            counts = {"done": 0, "failed": 0, "skipped": 0}
            statement = insert(jobs_table).values(created_at=datetime.now(UTC), **values, **counts)
            return _job((await connection.execute(statement.returning(*_J))).one())

        return await self._db.write(job)

    async def get(self, job_id: int, owner: str | None) -> Job | None:
        """The job if it is the owner's, else None."""
        found = await self._jobs(_J.id == job_id, _J.owner == (owner or "")) if job_id <= MAX_ID else ()
        return found[0] if found else None

    async def list(self, owner: str | None, *, limit: int = 50, before_id: int | None = None) -> tuple[Job, ...]:
        """The owner's jobs, newest first."""
        older = () if before_id is None else (_J.id < before_id,)
        return await self._jobs(_J.owner == (owner or ""), *older, limit=limit)

    async def unfinished(self) -> tuple[Job, ...]:
        """Everybody's jobs that are not over, the oldest first."""
        return await self._jobs(~_IS_OVER, limit=None, oldest_first=True)

    async def ids(self) -> frozenset[int]:
        """Everybody's jobs."""
        async with self._db.read() as connection:
            return frozenset((await connection.execute(select(_J.id))).scalars())

    async def count_unfinished(self, owner: str | None) -> int:
        """How many of the owner's are not over."""
        statement = select(func.count()).where(_J.owner == (owner or ""), ~_IS_OVER)
        async with self._db.read() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def kept_bytes(self, owner: str | None) -> int:
        """Of the archives of all the owner's jobs."""
        kept = or_(_J.error_code.is_(None), ~_HAS_NO_ARCHIVE)
        statement = select(func.coalesce(func.sum(_J.bytes), 0)).where(_J.owner == (owner or ""), kept)
        async with self._db.read() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def requeue(self) -> None:
        """None runs: those that did when the service stopped wait for their turn again."""
        await self._set(_J.status == "running", status="queued")

    async def begin(self, job_id: int, total: int) -> bool:
        """It runs; so many entries there are. A job that begins again keeps the time of its first start.

        False when it is over, or removed.
        """
        started = func.coalesce(_J.started_at, datetime.now(UTC))
        return await self._set(_J.id == job_id, ~_IS_OVER, status="running", total=total, started_at=started)

    async def checkpoint(self, job_id: int, items: Sequence[JobItem]) -> None:
        """Store these answers and count them, but for those that are stored already."""

        async def job(connection: AsyncConnection) -> None:
            wanted = [item.position for item in items]
            found = await connection.execute(select(_I.position).where(_I.job_id == job_id, _I.position.in_(wanted)))
            there = set(found.scalars())
            new = [item for item in items if item.position not in there]
            if new:
                added = Counter(item.status for item in new)
                await connection.execute(insert(items_table), [_values(job_id, item) for item in new])
                counts = {name: _J[name] + added[name] for name in ("done", "failed", "skipped")}
                await connection.execute(update(jobs_table).where(_J.id == job_id).values(**counts))

        await self._db.write(job)

    async def end(self, job_id: int, status: JobStatus, *, code: str | None = None, detail: str | None = None) -> bool:
        """It is over, and why when it failed. False when it was over before, which stays as it is, or is removed."""
        values = {"status": status, "error_code": code, "error_detail": _cut(detail)}
        return await self._set(_J.id == job_id, ~_IS_OVER, ended_at=datetime.now(UTC), **values)

    async def settled(self, job_id: int) -> frozenset[int]:
        """The positions that have their row."""
        statement = select(_I.position).where(_I.job_id == job_id)
        async with self._db.read() as connection:
            return frozenset((await connection.execute(statement)).scalars())

    async def item(self, job_id: int, position: int) -> JobItem | None:
        """One answer."""
        found = await self._items(job_id, ItemFilter(), after=position - 1, limit=1)
        return found[0] if found and found[0].position == position else None

    async def items(self, job_id: int, chosen: ItemFilter, *, after: int = -1, limit: int = 60) -> tuple[JobItem, ...]:
        """Answers in the archive's order, those behind the position `after`."""
        return await self._items(job_id, chosen, after=after, limit=limit)

    async def all_items(self, job_id: int, *, least: int = 0) -> AsyncIterator[JobItem]:
        """Every answer in the archive's order, read in bounded chunks. Raises NotFound at the end when there were fewer
        than `least`: the job was removed while it was read."""
        count, last = 0, -1
        while rows := await self._items(job_id, ItemFilter(), after=last, limit=_CHUNK_ROWS):
            for row in rows:
                yield row
            count, last = count + len(rows), rows[-1].position
        if count < least:
            raise NotFound("The job was removed while its answers were read.")

    async def labels(self, job_id: int) -> dict[str, int]:
        """How often each label was the first, the most frequent first."""
        statement = (
            select(_I.label, func.count())
            .where(_I.job_id == job_id, _I.label.is_not(None))
            .group_by(_I.label)
            .order_by(func.count().desc(), _I.label)
        )
        async with self._db.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(statement)}

    async def confusion(self, job_id: int) -> dict[tuple[str, str], int]:
        """(true label, first label) -> pictures, of those whose folder names a class."""
        statement = (
            select(_I.truth, _I.label, func.count())
            .where(_I.job_id == job_id, _I.truth.is_not(None), _I.label.is_not(None))
            .group_by(_I.truth, _I.label)
        )
        async with self._db.read() as connection:
            return {(row[0], row[1]): row[2] for row in await connection.execute(statement)}

    async def in_first(self, job_id: int, places: int) -> dict[str, int]:
        """Class -> pictures whose folder names it and that have it among their first guesses."""
        among = or_(*(_I.guesses[(place, 0)].as_string() == _I.truth for place in range(places)))
        statement = select(_I.truth, func.count()).where(_I.job_id == job_id, among).group_by(_I.truth)
        async with self._db.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(statement)}

    async def ended_before(self, when: datetime) -> tuple[Job, ...]:
        """Jobs to be tidied away."""
        return await self._jobs(_J.ended_at < when, oldest_first=True)

    async def remove(self, job_id: int) -> None:
        """Forget the job and its answers, these first and in pieces: who is interrupted can begin again."""
        chunk = select(_I.position).where(_I.job_id == job_id).limit(_CHUNK_ROWS)

        async def some(connection: AsyncConnection) -> int:
            statement = delete(items_table).where(_I.job_id == job_id, _I.position.in_(chunk))
            return (await connection.execute(statement)).rowcount

        while await self._db.write(some):
            pass

        async def job(connection: AsyncConnection) -> None:
            await connection.execute(delete(jobs_table).where(_J.id == job_id))

        await self._db.write(job)

    async def _set(self, *where: Any, **values: Any) -> bool:
        async def job(connection: AsyncConnection) -> bool:
            return (await connection.execute(update(jobs_table).where(*where).values(**values))).rowcount > 0

        return await self._db.write(job)

    async def _jobs(self, *where: Any, limit: int | None = _CHUNK_ROWS, oldest_first: bool = False) -> tuple[Job, ...]:
        order = _J.id if oldest_first else _J.id.desc()
        async with self._db.read() as connection:
            rows = await connection.execute(select(jobs_table).where(*where).order_by(order).limit(limit))
            return tuple(map(_job, rows))

    async def _items(self, job_id: int, chosen: ItemFilter, *, after: int, limit: int) -> tuple[JobItem, ...]:
        where = (_I.job_id == job_id, _I.position > after, *chosen.where())
        async with self._db.read() as connection:
            rows = await connection.execute(select(*_ITEM).where(*where).order_by(_I.position).limit(limit))
            return tuple(map(_item, rows))


def _job(row: Row[Any]) -> Job:
    return Job(**row._mapping)


def _item(row: Row[Any]) -> JobItem:
    item = JobItem(**row._mapping)
    return replace(item, guesses=[(label, score) for label, score in item.guesses]) if item.guesses else item


def _values(job_id: int, item: JobItem) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _NAMES} | {"job_id": job_id, "detail": _cut(item.detail)}


def _cut(detail: str | None) -> str | None:
    return detail and detail[: MAX_CHARS["detail"]]
