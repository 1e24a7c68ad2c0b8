"""The shapes of answers, for the OpenAPI document only: answers are made as plain dicts, for speed.

Tests hold real answers against them.
"""

from dataclasses import fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import SkipJsonSchema

from service.errors import ClientGone, GlimtError, StartError
from service.inference.batches import Stats
from service.inference.predictions import ImageInfo, Label, ModelInfo, Receipt
from service.store.feedback import FeedbackRow

Status = Literal["ready", "loading", "failed", "draining"]
Absent = SkipJsonSchema[None]
EMAIL: dict[str, Any] = {"format": "email"}
"""For `json_schema_extra`: what is one is decided in accounts/emails.py."""

SHA256 = "7d1dfe6d7ca1e8ba4d8bbfe3f6cd1a1ff4a9ba1ed5a5fb8a4d0f9ab9f2ba8d28"
AN_IMAGE = {"sha256": SHA256, "width": 12, "height": 12, "format": "PNG"}
A_MODEL = {"name": "resnet50", "version": "imagenet", "engine": "openvino", "weights": "imagenet"}
A_PREDICTION: dict[str, Any] = {
    "success": True,
    "prediction": "Eskimo_dog",
    "score": 0.934617,
    "predictions": [{"label": "Eskimo_dog", "wnid": "n02109961", "index": 248, "score": 0.934617}],
    "model": A_MODEL,
    "image": {"sha256": SHA256, "width": 640, "height": 480, "format": "JPEG"},
    "receipt": {
        "decode_ms": 6.2,
        "queue_ms": 4.1,
        "infer_ms": 24.9,
        "total_ms": 35.4,
        "batch_size": 8,
        "released_by": "full",
        "cached": False,
    },
}
A_QUEUE: dict[str, Any] = {
    "alive": True,
    "pending": 0,
    "announced": 0,
    "running": 0,
    "running_s": 0.0,
    "max_batch": 16,
    "max_wait_ms": 5.0,
    "max_pending": 256,
    "places": 256,
    "items_per_s": 118.0,
    "overloaded": False,
    "totals": {"completed": 120, "failed": 0, "cancelled": 1, "expired": 0, "refused": 0},
}
A_PROBLEM: dict[str, Any] = {
    "type": "urn:glimt:image_corrupt",
    "title": "The picture is damaged",
    "status": 422,
    "detail": "The picture ends too early.",
    "code": "image_corrupt",
    "request_id": "0b6f1c3a",
}


def example(*values: Any, **schema: Any) -> ConfigDict:
    """A model's configuration that gives examples of it, and what else its JSON Schema shall say."""
    return ConfigDict(json_schema_extra={"examples": list(values), **schema})


def codes(error: type[GlimtError] = GlimtError) -> list[str]:
    """The code of this error and of those below it that an answer can have, in the tree's order."""
    if error in (StartError, ClientGone):
        return []
    below = [code for kind in error.__subclasses__() for code in codes(kind)]
    return list(dict.fromkeys([error.code, *below]))


class Problem(BaseModel):
    """What is wrong, as RFC 9457 says it. `detail` names the reason, the limit and the way out."""

    model_config = example(A_PROBLEM)

    type: str = Field(description="urn:glimt: and the code.")
    title: str = Field(description="The same words for the same code.")
    status: int = Field(description="The HTTP status; inside a stream, what it would have been.")
    detail: str
    code: str = Field(description="Stable: what programs decide by.", json_schema_extra={"enum": list(codes())})
    request_id: str = Field(description="Finds it in the log.")


class PredictionDocument(BaseModel):
    """The answer for one picture. Scores are probabilities with 6 decimals, durations milliseconds with 2."""

    model_config = example(A_PREDICTION)

    success: Literal[True]
    prediction: str = Field(description="The best label.")
    score: float = Field(ge=0, le=1, description="Its probability.")
    predictions: list[Label] = Field(min_length=1, description="The best labels, the best first.")
    model: ModelInfo
    image: ImageInfo
    receipt: Receipt
    notice: str | Absent = Field(None, description="Only where the model is not the real one: what to know of it.")


class PictureAnswer(PredictionDocument):
    """A line of the stream: one picture's answer."""

    model_config = example({"index": 0, "filename": "dog.jpeg"} | A_PREDICTION)

    index: int = Field(ge=0, description="Which picture of the upload, from 0.")
    filename: str


class PictureFailure(BaseModel):
    """A line of the stream: why one picture has no answer."""

    model_config = example({"index": 1, "filename": "torn.png", "error": A_PROBLEM})

    index: int = Field(ge=0)
    filename: str
    error: Problem


class StreamEnd(BaseModel):
    """The last line of the stream. Without it, or with `done` false, pictures may lack an answer: those behind one of
    more than a MiB over the limit, behind the last that one form may have, or while the service shut down."""

    model_config = example({"done": True, "ok": 2, "failed": 1})

    done: bool
    ok: int = Field(ge=0)
    failed: int = Field(ge=0)
    code: str | Absent = Field(None, description="With `done` false: `interrupted` by a shutdown, else the error's.")
    detail: str | Absent = Field(None, description="With `done` false: the error's.")
    error: Problem | Absent = Field(None, description="With `done` false: why.")


StreamLine = PictureAnswer | PictureFailure | StreamEnd


class ReferencePrediction(BaseModel):
    """The answer of POST /model/predict: the score has 4 decimals."""

    model_config = example(
        {
            "success": True,
            "prediction": "Eskimo_dog",
            "score": 0.9346,
            "image_file_name": "0a7c757a80f2c5b13fa7a2a47a683593.jpeg",
        }
    )

    success: Literal[True]
    prediction: str
    score: float = Field(ge=0, le=1)
    image_file_name: str = Field(description="The MD5 of the picture and its extension.")
    notice: str | Absent = None


class ReferenceRefusal(BaseModel):
    """What POST /model/predict says of a file whose name ends in nothing it knows."""

    model_config = example({"detail": "File type is not supported."})

    detail: str


class HealthModel(BaseModel):
    """The model and whether it is ready."""

    status: Status
    classes: int
    name: str
    version: str
    engine: str
    weights: str


class HealthDocument(BaseModel):
    """How the service is. `notice` says when the model is not the real one."""

    model_config = example(
        {
            "status": "ok",
            "version": "0.1.0",
            "uptime_s": 12.3,
            "model": {"status": "ready", "classes": 1000} | A_MODEL,
            "queue": A_QUEUE,
            "notice": None,
        }
    )

    status: Literal["ok", "loading", "failed", "draining"]
    version: str
    uptime_s: float
    model: HealthModel
    queue: Stats
    notice: str | None


class CurvePoint(BaseModel):
    """What a batch of this size costs, as measured."""

    batch: int
    ms: float
    per_s: float


class BatchingDocument(BaseModel):
    """The limits of batches, what the engine was measured at, and the queue now."""

    model_config = example(
        {
            "max_batch": 16,
            "max_wait_ms": 5.0,
            "max_pending": 256,
            "auto": True,
            "engine": "openvino",
            "curve": [{"batch": 1, "ms": 11.4, "per_s": 87.7}, {"batch": 16, "ms": 135.2, "per_s": 118.3}],
            "queue": A_QUEUE,
        }
    )

    max_batch: int
    max_wait_ms: float
    max_pending: int
    auto: bool = Field(description="Whether max_batch and max_wait_ms are what the calibration chose.")
    engine: str
    curve: list[CurvePoint]
    queue: Stats


_PRIVATE = {"owner", "idempotency_key", "reviewed"}
_public: dict[str, Any] = {row.name: (row.type, ...) for row in fields(FeedbackRow) if row.name not in _PRIVATE}
FeedbackDocument: Any = create_model(
    "FeedbackDocument",
    __doc__="Feedback as it is stored.",
    __config__=example(
        {
            "predicted_class": "Eskimo_dog",
            "score": 0.9346,
            "image_file_name": "dog.jpeg",
            "feedback": "",
            "verdict": "wrong",
            "correct_label": "Siberian_husky",
            "comment": None,
            "image_sha256": SHA256,
            "model_name": "resnet50",
            "model_version": "imagenet",
            "image_kept": False,
            "id": 7,
            "created_at": "2026-11-21T09:00:00.123456Z",
        }
    ),
    **_public,
)
