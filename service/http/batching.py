"""GET and PATCH /api/batching: read and change how batches are made, while the service runs."""

from dataclasses import asdict
from typing import Any, Literal, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response

from service.errors import Conflict, InvalidField
from service.http.access import name_of
from service.http.documents import BatchingDocument, example
from service.http.json_answer import json_answer
from service.http.json_body import read_json, reasons
from service.http.operation import JSON, Operation
from service.inference.classifier import Classifier

MAX_BODY_BYTES = 4096
LIMITS = (
    "max_batch is a whole number from 1 to 256, max_wait_ms a number from 0 to 1000, max_pending a whole number from "
    "1 to 65536, auto is true for what the calibration chose; what is left out stays as it is."
)
EXAMPLE = (
    "curl -X PATCH -H 'Content-Type: application/json' -d '{\"max_batch\": 16}' http://localhost:8000/api/batching"
)

log = structlog.get_logger()


class BatchingChange(BaseModel):
    """The JSON of PATCH /api/batching. What is absent or null stays as it is. The ranges are those of Settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False) | example({"max_batch": 16})

    max_batch: int | None = Field(None, ge=1, le=256)
    max_wait_ms: float | None = Field(None, ge=0, le=1000)
    max_pending: int | None = Field(None, ge=1, le=65536)
    auto: Literal[True] | None = Field(None, description="Back to the batch and window that the calibration chose.")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.auto and (self.max_batch is not None or self.max_wait_ms is not None):
            raise ValueError("auto chooses max_batch and max_wait_ms; give it alone or with max_pending")
        return self

    @classmethod
    def of(cls, content: object, *, strict: bool = True) -> "BatchingChange":
        """Check it; a form's text is not `strict`. Raises InvalidField naming the field and what it may be."""
        try:
            return cls.model_validate(content, strict=strict)
        except ValidationError as error:
            raise InvalidField(f"{reasons(error)}. {LIMITS}") from error


class Batching:
    """The endpoint and what it needs."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    @Operation("operations", {200: {JSON: BatchingDocument}})
    async def read(self, request: Request) -> Response:
        """Read the limits of batches in force, the measured curve and the queue."""
        return json_answer(batching_document(self._classifier))

    @Operation("operations", {200: {JSON: BatchingDocument}}, body={JSON: BatchingChange}, errors=(Conflict,))
    async def change(self, request: Request) -> Response:
        """Change the limits of batches; the next one obeys. The same document as for reading, after the change."""
        content = await read_json(
            request, max_bytes=MAX_BODY_BYTES, about="A change", way_out=f"Right is: {EXAMPLE}. {LIMITS}"
        )
        configure(self._classifier, BatchingChange.of(content), name_of(request))
        return await self.read(request)


def configure(classifier: Classifier, change: BatchingChange, who: str) -> None:
    """Give the change to the batcher, and write down who did it and what was before."""
    before = limits(classifier)
    classifier.configure(**change.model_dump())
    after = limits(classifier)
    if after != before:
        log.info("batching changed", who=who, before=before, after=after)


def limits(classifier: Classifier) -> dict[str, Any]:
    """What can be changed, as it is now, and whether the calibration chose it."""
    stats = classifier.stats()
    return {
        "max_batch": stats.max_batch,
        "max_wait_ms": round(stats.max_wait_ms, 6),  # it is kept in seconds, and 1.1 must come back as 1.1
        "max_pending": stats.max_pending,
        "auto": classifier.auto,
    }


def batching_document(classifier: Classifier) -> dict[str, Any]:
    """Durations in milliseconds, rates per second."""
    curve = [
        {"batch": point.batch, "ms": round(point.ms, 2), "per_s": round(point.per_s, 1)} for point in classifier.curve
    ]
    about = {"engine": classifier.model.engine, "curve": curve, "queue": asdict(classifier.stats())}
    return limits(classifier) | about
