"""The shapes of what is said about jobs."""

import math
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from service.bulk.report import Accuracy
from service.bulk.run import Progress
from service.http.documents import SHA256, example
from service.store.job_rows import ItemStatus, Job, JobItem, JobStatus

Guess = Annotated[list[str | float], Field(min_length=2, max_length=2, description="[label, probability]")]
Pair = Annotated[list[str | list[Guess]], Field(min_length=2, max_length=2, description="[name, guesses]")]
"""As reference system E writes them. As tuples the schema would be stricter, and schemathesis 4 cannot read it."""


AN_ERROR = {"code": "image_corrupt", "detail": "The picture ends too early."}
A_JOB: dict[str, Any] = {
    "id": 7,
    "status": "running",
    "file_name": "holidays.zip",
    "folder": None,
    "bytes": 524_288_000,
    "total": 4000,
    "done": 1180,
    "failed": 1,
    "skipped": 3,
    "rate_per_s": 118.2,
    "eta_s": 23.8,
    "paused": None,
    "error": None,
    "created_at": "2026-11-21T09:00:00.123456Z",
    "started_at": "2026-11-21T09:00:00.234567Z",
    "ended_at": None,
}
AN_ITEM: dict[str, Any] = {
    "position": 0,
    "name": "dogs/dog.jpeg",
    "unsafe_name": False,
    "status": "done",
    "error": None,
    "label": "Eskimo_dog",
    "score": 0.934617,
    "guesses": [["Eskimo_dog", 0.934617], ["Siberian_husky", 0.031002]],
    "truth": "dogs",
    "image_sha256": SHA256,
    "model_version": "imagenet",
}


class JobError(BaseModel):
    """Why a job failed, or a picture has no answer."""

    model_config = example(AN_ERROR)

    code: str
    detail: str


class JobDocument(BaseModel):
    """A job and how it goes. The counts are of pictures that are stored; a running job is at most a second ahead."""

    model_config = example(A_JOB)

    id: int
    status: JobStatus
    file_name: str
    folder: str | None = Field(description="Where its pictures are on the service's disk; null of an archive.")
    bytes: int = Field(description="Of the archive; 0 of a folder.")
    total: int | None = Field(description="Files of the archive or folder; null until it was looked into.")
    done: int
    failed: int
    skipped: int = Field(description="Files that are no pictures or cannot be read, each with its reason.")
    rate_per_s: float | None = Field(description="Pictures per second in the last half minute, while it runs.")
    eta_s: float | None = Field(description="Seconds until it is done at this rate.")
    paused: str | None = Field(description="With status paused: why. It goes on by itself.")
    error: JobError | None = Field(description="With status failed: why.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ItemDocument(BaseModel):
    """What became of one entry of the archive or folder. Scores are probabilities with 6 decimals."""

    model_config = example(AN_ITEM)

    position: int = Field(description="In the archive's directory or the folder, from 0.")
    name: str
    unsafe_name: bool = Field(description="Whether the name in the archive was another: it could have done harm.")
    status: ItemStatus
    error: JobError | None
    label: str | None
    score: float | None = Field(ge=0, le=1)
    guesses: list[Guess] | None = Field(description="Labels and probabilities, at most ten, the best first.")
    truth: str | None = Field(description="The class its folder names; null where the archive has no folders.")
    image_sha256: str | None
    model_version: str | None


class LabelCount(BaseModel):
    """How many pictures have this label first."""

    label: str
    count: int


class ClassDocument(BaseModel):
    """One class: pictures in its folder, pictures taken for it, and both at once."""

    label: str
    support: int
    predicted: int
    hits: int
    precision: float | None = Field(description="hits / predicted; null where nothing was taken for it.")
    recall: float | None = Field(description="hits / support; null where it has no pictures.")
    f1: float


class ConfusionCell(BaseModel):
    """So many pictures of the class `truth` were taken for `label`."""

    truth: str
    label: str
    count: int


class AccuracyDocument(BaseModel):
    """The figures over the pictures that have an answer and whose folder names a class."""

    pictures: int
    unknown: int = Field(description="Pictures in folders that name no class of the model; they count nowhere else.")
    top_1: float | None
    top_5: float | None
    precision: float | None = Field(description="The mean over the classes that have pictures; so recall and f1.")
    recall: float | None
    f1: float | None
    classes: list[ClassDocument]
    confusion: list[ConfusionCell] = Field(description="The confusion matrix: its cells that are not 0.")


class ReportDocument(BaseModel):
    """A job in figures. `accuracy` is null where no picture came in a folder."""

    model_config = example(
        {
            "total": 3,
            "done": 2,
            "failed": 1,
            "skipped": 0,
            "labels": [{"label": "Eskimo_dog", "count": 2}],
            "accuracy": {
                "pictures": 2,
                "unknown": 0,
                "top_1": 0.5,
                "top_5": 1.0,
                "precision": 0.25,
                "recall": 0.5,
                "f1": 0.333333,
                "classes": [
                    {
                        "label": "Eskimo_dog",
                        "support": 1,
                        "predicted": 2,
                        "hits": 1,
                        "precision": 0.5,
                        "recall": 1.0,
                        "f1": 0.666667,
                    }
                ],
                "confusion": [{"truth": "Eskimo_dog", "label": "Eskimo_dog", "count": 1}],
            },
        }
    )

    total: int | None
    done: int
    failed: int
    skipped: int
    labels: list[LabelCount]
    accuracy: AccuracyDocument | None


def job_document(job: Job, progress: Progress | None) -> dict[str, Any]:
    """The job as it is now; `progress` is the runner's."""
    progress = progress if progress and not job.is_over else Progress()
    return {
        "id": job.id,
        "status": "paused" if progress.paused else job.status,
        "file_name": job.file_name,
        "folder": job.folder,
        "bytes": job.bytes,
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "skipped": job.skipped,
        "rate_per_s": _rounded(progress.rate_per_s, 1),
        "eta_s": _rounded(progress.eta_s, 1),
        "paused": progress.paused,
        "error": {"code": job.error_code, "detail": job.error_detail or ""} if job.error_code else None,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def item_document(item: JobItem) -> dict[str, Any]:
    """One entry's answer."""
    return {
        "position": item.position,
        "name": item.name,
        "unsafe_name": item.unsafe_name,
        "status": item.status,
        "error": {"code": item.code, "detail": item.detail or ""} if item.code else None,
        "label": item.label,
        "score": _rounded(item.score, 6),
        "guesses": item.guesses,
        "truth": item.truth,
        "image_sha256": item.image_sha256,
        "model_version": item.model_version,
    }


def report_document(job: Job, labels: dict[str, int], accuracy: Accuracy | None) -> dict[str, Any]:
    """The figures of a job."""
    return {
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "skipped": job.skipped,
        "labels": [{"label": label, "count": count} for label, count in labels.items()],
        "accuracy": _accuracy(accuracy) if accuracy else None,
    }


def _accuracy(accuracy: Accuracy) -> dict[str, Any]:
    means = ("top_1", "top_5", "precision", "recall", "f1")
    return {
        "pictures": accuracy.pictures,
        "unknown": accuracy.unknown,
        **{name: _rounded(getattr(accuracy, name), 6) for name in means},
        "classes": [
            {
                "label": figures.label,
                "support": figures.support,
                "predicted": figures.predicted,
                "hits": figures.hits,
                "precision": _rounded(figures.precision, 6),
                "recall": _rounded(figures.recall, 6),
                "f1": round(figures.f1, 6),
            }
            for figures in accuracy.classes
        ],
        "confusion": [
            {"truth": truth, "label": label, "count": count}
            for (truth, label), count in sorted(accuracy.confusion.items())
        ],
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)
