"""The rows of bulk jobs and of the answers to their pictures: values, tables, and what to choose answers by."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, String, Table

from service.store.schema import UtcDateTime, metadata

JobStatus = Literal["queued", "running", "paused", "done", "failed", "cancelled"]
ItemStatus = Literal["done", "failed", "skipped"]

OVER: frozenset[JobStatus] = frozenset({"done", "failed", "cancelled"})
MAX_CHARS = {"name": 1024, "detail": 500, "truth": 255}
"""Of a picture's texts that others choose: what an archive's names may have, and of a detail what is kept."""
MAX_FOLDER_CHARS = 4096
"""The longest path that Linux takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One archive to classify, or one folder of the service's disk. `total` is None until it was looked into; `bytes`
    is the archive's size, 0 of a folder."""

    id: int
    owner: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    file_name: str
    bytes: int
    status: JobStatus
    error_code: str | None
    error_detail: str | None
    total: int | None
    done: int
    failed: int
    skipped: int
    folder: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in OVER

    @property
    def settled(self) -> int:
        """Pictures that have their answer, or the reason why not."""
        return self.done + self.failed + self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class JobItem:
    """What became of one entry. `position` is its place in the archive's directory or the folder, from 0; `guesses` are
    pairs of label and probability, the most probable first; `truth` is the class its folder names, None without any."""

    position: int
    name: str
    unsafe_name: bool = False
    status: ItemStatus
    code: str | None = None
    detail: str | None = None
    image_sha256: str | None = None
    label: str | None = None
    score: float | None = None
    guesses: list[tuple[str, float]] | None = None
    truth: str | None = None
    model_version: str | None = None


jobs_table = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("file_name", String(255), nullable=False),
    Column("folder", String(MAX_FOLDER_CHARS)),
    Column("bytes", BigInteger, nullable=False),
    Column("status", String(9), nullable=False),
    Column("error_code", String(50)),
    Column("error_detail", String(500)),
    Column("total", Integer),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Index("jobs_by_owner", "owner", "id"),
    Index("jobs_by_end", "ended_at"),
    sqlite_autoincrement=True,  # a job's folder is named by its id, which must never come again
)
items_table = Table(
    "job_items",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", String(MAX_CHARS["name"]), nullable=False),
    Column("unsafe_name", Boolean, nullable=False),
    Column("status", String(7), nullable=False),
    Column("code", String(50)),
    Column("detail", String(MAX_CHARS["detail"])),
    Column("image_sha256", String(64)),
    Column("label", String(200)),
    Column("score", Double),
    Column("guesses", JSON(none_as_null=True)),
    Column("truth", String(MAX_CHARS["truth"])),
    Column("model_version", String(100)),
    Index("job_items_by_label", "job_id", "label", "position"),
    Index("job_items_by_status", "job_id", "status", "position"),
)


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which answers: of one label, of a status, with a score of at most `most`; `wrong`: of pictures in the folders of
    these classes, those that were taken for another."""

    label: str | None = None
    status: ItemStatus | None = None
    most: float | None = None
    wrong: frozenset[str] | None = None

    def where(self) -> list[Any]:
        """The conditions."""
        conditions: list[Any] = []
        if self.label is not None:
            conditions.append(items_table.c.label == self.label)
        if self.status is not None:
            conditions.append(items_table.c.status == self.status)
        if self.most is not None:
            conditions.append(items_table.c.score <= self.most)
        if self.wrong is not None:
            conditions += [items_table.c.truth.in_(sorted(self.wrong)), items_table.c.label != items_table.c.truth]
        return conditions
