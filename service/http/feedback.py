"""Feedback over HTTP: say it, list one's own, take it back. Knows JSON, no SQL.

Routes: POST /feedback and /feedback/, GET /feedback/, DELETE /feedback/{feedback_id:int}.
"""

import re
from dataclasses import fields

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from service.errors import Conflict, InvalidField, NotFound
from service.http.documents import FeedbackDocument, example
from service.http.json_answer import json_answer
from service.http.json_body import read_model
from service.http.operation import IDEMPOTENCY_KEY, JSON, WRITE_ERRORS, Operation
from service.http.query import read_query
from service.store.belongings import Belongings
from service.store.feedback import MAX_CHARS, MAX_ID, FeedbackDraft, FeedbackRow, FeedbackStore, Verdict
from service.store.pictures import PictureStore

MAX_BODY_BYTES = 64 * 1024
"""Every field at its longest, in four-byte characters, is 21 KB; escaped as \\uXXXX it is 60 KB."""
MAX_LIMIT = 200
_KEY = re.compile(r"[!-~]{1,200}")
_PRIVATE = {"owner", "idempotency_key", "reviewed"}
_PUBLIC_FIELDS = tuple(field.name for field in fields(FeedbackRow) if field.name not in _PRIVATE)
EXAMPLE = {
    "score": 0.9346,
    "predicted_class": "Eskimo_dog",
    "image_file_name": "dog.jpeg",
    "verdict": "wrong",
    "correct_label": "Siberian_husky",
}


SHA256 = (
    "As in the answer. JSON brings no picture: it can be reviewed and learned from when the service has kept it, as it "
    "does with GLIMT_KEEP_IMAGES=all, or when it came with feedback on the page."
)


class FeedbackBody(BaseModel):
    """The JSON of POST /feedback. Either `feedback` (free text) or `verdict` must be there."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False) | example(
        EXAMPLE, anyOf=[{"required": ["feedback"]}, {"required": ["verdict"]}]
    )

    score: float = Field(ge=0, le=1)
    predicted_class: str = Field(min_length=1, max_length=MAX_CHARS["predicted_class"])
    image_file_name: str = Field(max_length=MAX_CHARS["image_file_name"])
    feedback: str = Field("", max_length=MAX_CHARS["feedback"])
    verdict: Verdict | None = Field(None, description="What is learned from; free text is for people.")
    correct_label: str | None = Field(None, min_length=1, max_length=MAX_CHARS["correct_label"])
    comment: str | None = Field(None, max_length=MAX_CHARS["comment"])
    image_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description=SHA256)
    model_name: str | None = Field(None, max_length=MAX_CHARS["model_name"])
    model_version: str | None = Field(None, max_length=MAX_CHARS["model_version"])

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackBody":
        if not {"feedback", "verdict"} & self.model_fields_set:
            raise ValueError("feedback (free text) or verdict (right, wrong) is required")
        if self.correct_label is not None and self.verdict != "wrong":
            raise ValueError("correct_label goes only with verdict wrong")
        return self


class FeedbackQuery(BaseModel):
    """The query parameters of GET /feedback."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Rows in the answer.", examples=[10])
    before: int | None = Field(None, ge=1, le=MAX_ID, description="The id of the last row seen, for the next page.")


class FeedbackEndpoints:
    """The endpoints are its methods. The owner is `scope["owner"]`, None for whoever is not signed in."""

    def __init__(self, feedback: FeedbackStore, pictures: PictureStore, belongings: Belongings) -> None:
        self._feedback = feedback
        self._pictures = pictures
        self._belongings = belongings

    @Operation(
        "feedback",
        {201: {JSON: FeedbackDocument}, 200: {JSON: FeedbackDocument}},
        body={JSON: FeedbackBody},
        errors=(Conflict, *WRITE_ERRORS),
        takes=(IDEMPOTENCY_KEY,),
    )
    async def create(self, request: Request) -> Response:
        """Say whether an answer was right. 201 and the row; 200 and the earlier row for a repeated Idempotency-Key."""
        key = _idempotency_key(request)
        body = await read_model(request, FeedbackBody, max_bytes=MAX_BODY_BYTES, about="Feedback")
        kept = body.image_sha256 is not None and await self._has(body.image_sha256, _owner(request))
        draft = FeedbackDraft(**body.model_dump(), image_kept=kept)
        row, created = await self._feedback.add(draft, owner=_owner(request), idempotency_key=key)
        return json_answer(_public(row), 201 if created else 200)

    @Operation("feedback", {200: {JSON: list[FeedbackDocument]}}, query=FeedbackQuery)
    async def index(self, request: Request) -> Response:
        """List one's own feedback, newest first."""
        query = read_query(request, FeedbackQuery)
        rows = await self._feedback.list(_owner(request), limit=query.limit, before_id=query.before)
        return json_answer([_public(row) for row in rows])

    @Operation("feedback", {204: {}}, errors=WRITE_ERRORS)
    async def delete(self, request: Request) -> Response:
        """Take one's feedback back. 404 for a row that is not there or another's."""
        if not await self.undo(request.path_params["feedback_id"], _owner(request)):
            raise NotFound("There is no such feedback of yours.")
        return Response(status_code=204)

    async def undo(self, feedback_id: int, owner: str | None) -> bool:
        """Take one's feedback back, and with it the picture that was kept only because of it."""
        return feedback_id <= MAX_ID and await self._belongings.remove_feedback(feedback_id, owner)

    async def _has(self, sha256: str, owner: str | None) -> bool:
        """Whether the picture is kept, as far as it is theirs to know."""
        return await self._pictures.has(sha256) and await self._belongings.concerns(sha256, owner)

    async def forget_picture(self, sha256: str | None, owner: str | None) -> None:
        """Remove a picture that was kept for feedback of this owner's which then could not be stored."""
        await self._belongings.forget(sha256, owner)


def _owner(request: Request) -> str | None:
    owner: str | None = request.scope.get("owner")
    return owner


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidField("Idempotency-Key must be 1 to 200 printable ASCII characters without spaces.")
    return key


def _public(row: FeedbackRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in _PUBLIC_FIELDS}
