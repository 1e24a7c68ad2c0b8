"""Feedback over HTTP: say it, list one's own, take it back. Knows JSON, no SQL.

Routes: POST /feedback and /feedback/, GET /feedback/, DELETE /feedback/{feedback_id:int}.
"""

import re
from dataclasses import fields

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidField, NotFound
from service.http.json_body import read_json, reasons
from service.settings import KeepImages
from service.store.feedback import MAX_CHARS, MAX_ID, FeedbackDraft, FeedbackRow, FeedbackStore, Verdict
from service.store.pictures import PictureStore

MAX_BODY_BYTES = 64 * 1024
"""Every field at its longest, in four-byte characters, is 21 KB; escaped as \\uXXXX it is 60 KB."""
MAX_LIMIT = 200
_DEFAULT_LIMIT = 50
_KEY = re.compile(r"[!-~]{1,200}")
_PRIVATE = {"owner", "idempotency_key"}
_PUBLIC_FIELDS = tuple(field.name for field in fields(FeedbackRow) if field.name not in _PRIVATE)


class FeedbackBody(BaseModel):
    """The JSON of POST /feedback. Either `feedback` (free text) or `verdict` must be there."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    score: float = Field(ge=0, le=1)
    predicted_class: str = Field(min_length=1, max_length=MAX_CHARS["predicted_class"])
    image_file_name: str = Field(max_length=MAX_CHARS["image_file_name"])
    feedback: str = Field("", max_length=MAX_CHARS["feedback"])
    verdict: Verdict | None = None
    correct_label: str | None = Field(None, min_length=1, max_length=MAX_CHARS["correct_label"])
    comment: str | None = Field(None, max_length=MAX_CHARS["comment"])
    image_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    model_name: str | None = Field(None, max_length=MAX_CHARS["model_name"])
    model_version: str | None = Field(None, max_length=MAX_CHARS["model_version"])

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackBody":
        if not {"feedback", "verdict"} & self.model_fields_set:
            raise ValueError("feedback (free text) or verdict (right, wrong) is required")
        if self.correct_label is not None and self.verdict != "wrong":
            raise ValueError("correct_label goes only with verdict wrong")
        return self


class FeedbackEndpoints:
    """The endpoints are its methods. The owner is `scope["owner"]`, None while there are no accounts."""

    def __init__(self, feedback: FeedbackStore, pictures: PictureStore, keep_images: KeepImages) -> None:
        self._feedback = feedback
        self._pictures = pictures
        self._keep_images = keep_images

    async def create(self, request: Request) -> Response:
        """201 and the row; 200 and the earlier row when the Idempotency-Key is a repeat."""
        key = _idempotency_key(request)
        body = await _read_body(request)
        kept = body.image_sha256 is not None and await self._pictures.has(body.image_sha256)
        draft = FeedbackDraft(**body.model_dump(), image_kept=kept)
        row, created = await self._feedback.add(draft, owner=_owner(request), idempotency_key=key)
        return _json(_public(row), 201 if created else 200)

    async def index(self, request: Request) -> Response:
        """The caller's own rows, newest first. `?limit=` 1-200, `?before=` the id of the last row seen."""
        limit = _whole_number(request, "limit", MAX_LIMIT) or _DEFAULT_LIMIT
        before = _whole_number(request, "before", MAX_ID)
        rows = await self._feedback.list(_owner(request), limit=limit, before_id=before)
        return _json([_public(row) for row in rows], 200)

    async def delete(self, request: Request) -> Response:
        """204, or 404 for a row that is not there or another's."""
        if not await self.undo(request.path_params["feedback_id"], _owner(request)):
            raise NotFound("There is no such feedback of yours.")
        return Response(status_code=204)

    async def undo(self, feedback_id: int, owner: str | None) -> bool:
        """Take one's feedback back, and with it the picture that was kept only because of it."""
        row = await self._feedback.get(feedback_id, owner) if feedback_id <= MAX_ID else None
        if row is None or not await self._feedback.remove(feedback_id, owner):
            return False
        if row.image_kept:
            await self.forget_picture(row.image_sha256)
        return True

    async def forget_picture(self, sha256: str | None) -> None:
        """Remove a picture that was kept for feedback and that no feedback mentions any more."""
        # Should the same picture come with new feedback at this very moment, that row outlives its file: readers
        # of kept pictures must cope with a missing one, as they must when somebody tidies the folder.
        if self._keep_images == "feedback" and sha256 and not await self._feedback.mentions(sha256):
            await self._pictures.remove(sha256)


def _owner(request: Request) -> str | None:
    owner: str | None = request.scope.get("owner")
    return owner


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidField("Idempotency-Key must be 1 to 200 printable ASCII characters without spaces.")
    return key


async def _read_body(request: Request) -> FeedbackBody:
    content = await read_json(request, max_bytes=MAX_BODY_BYTES, about="Feedback")
    try:
        return FeedbackBody.model_validate(content)
    except ValidationError as error:
        raise InvalidField(reasons(error)) from error


def _whole_number(request: Request, name: str, most: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= most:
        raise InvalidField(f"{name} must be a whole number from 1 to {most}.")
    return int(text)


def _public(row: FeedbackRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in _PUBLIC_FIELDS}


def _json(content: object, status: int) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), status, media_type="application/json")
