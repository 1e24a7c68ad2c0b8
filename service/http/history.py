"""One's own history over HTTP, for programs and as a page; and what turns an answer into a row of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.errors import Conflict, NotFound
from service.http.access import identity_of, user_of
from service.http.classify import Classify, Note, PredictOptions
from service.http.documents import SHA256, PredictionDocument, example
from service.http.json_answer import json_answer
from service.http.multipart import Upload
from service.http.operation import (
    ETAG,
    GO,
    IF_NONE_MATCH,
    JSON,
    PAGE,
    PICTURE_ERRORS,
    SERVER_TIMING,
    WRITE_ERRORS,
    Operation,
)  # fmt: skip
from service.http.presentation import masthead
from service.http.query import read_query
from service.http.sessions import NOT_STORED, go
from service.http.thumbnails import Thumbnails
from service.inference.classifier import Classifier
from service.inference.images import Limits
from service.inference.predictions import Prediction
from service.settings import Settings
from service.store.belongings import Belongings
from service.store.feedback import MAX_CHARS, MAX_ID
from service.store.history import Filter, HistoryDraft, HistoryRow, HistoryStore
from service.store.pictures import PictureStore

MAX_LIMIT = 200
PAGE_ROWS = 24
WAYS_OUT = {
    "feedback": "Send it to POST /predict again. Here a picture is kept only with feedback on it.",
    "all": "It was deleted, or could not be stored: send it to POST /predict again.",
    "none": "Send it to POST /predict again. No picture is kept here (GLIMT_KEEP_IMAGES is none).",
}
_PUBLIC_FIELDS = tuple(field.name for field in fields(HistoryRow) if field.name != "user_id")


def _day(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError("must be a day as 2026-11-21")
    return date.fromisoformat(text)


Day = Annotated[date, BeforeValidator(_day)]


class HistoryQuery(BaseModel):
    """The query parameters of GET /api/history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="Rows in the answer.")
    before: int | None = Field(None, ge=1, le=MAX_ID, description="The id of the last row seen: older ones follow.")
    label: str = Field("", max_length=MAX_CHARS["predicted_class"], pattern=r"^[^\x00]*$", description="A part of it.")
    since: Day | None = Field(None, description="The first day, in UTC, as 2026-11-21.")
    until: Day | None = Field(None, description="The last day.")

    @property
    def filter(self) -> Filter:
        """As the store wants it."""
        return Filter(before_id=self.before, label=self.label, since=self.since, until=self.until)


class HistoryDocument(BaseModel):
    """An answer as it is remembered: the best label and its probability, and whether its picture is kept."""

    model_config = example(
        {
            "id": 7,
            "created_at": "2026-11-21T09:00:00.123456Z",
            "image_sha256": SHA256,
            "image_file_name": "dog.jpeg",
            "label": "Eskimo_dog",
            "score": 0.934617,
            "model_name": "resnet50",
            "model_version": "imagenet",
            "image_kept": False,
        }
    )

    id: int
    created_at: datetime
    image_sha256: str
    image_file_name: str
    label: str
    score: float = Field(ge=0, le=1)
    model_name: str
    model_version: str
    image_kept: bool


@dataclass(frozen=True, slots=True)
class Past:
    """A row as the page shows it. `again`: what the model of today says."""

    row: HistoryRow
    kept: bool
    again: Prediction | None = None


def noting(history: HistoryStore) -> Note:
    """What notes an answer in the history of the account that asked; nothing for anybody else."""

    def note(request: Request, picture: Upload, prediction: Prediction) -> None:
        identity = identity_of(request)
        if identity is None or identity.user is None:
            return
        best, model = prediction.labels[0], prediction.model
        draft = HistoryDraft(
            user_id=identity.user.id,
            created_at=datetime.now(UTC),
            image_sha256=prediction.image.sha256,
            image_file_name=picture.filename or "picture",
            label=best.label,
            score=round(best.score, 6),  # as it was answered
            model_name=model.name,
            model_version=model.version,
        )
        history.record(draft)

    return note


class HistoryEndpoints:
    """The endpoints and what they need. Without JavaScript each form of the page is answered with a whole page."""

    def __init__(
        self,
        history: HistoryStore,
        belongings: Belongings,
        pictures: PictureStore,
        classifier: Classifier,
        classify: Classify,
        templates: Jinja2Templates,
        settings: Settings,
    ) -> None:
        self._history = history
        self._belongings = belongings
        self._pictures = pictures
        self._classifier = classifier
        self._classify = classify
        self._templates = templates
        self._settings = settings
        self._thumbnails = Thumbnails(pictures, Limits(settings.max_image_bytes, settings.max_image_pixels))

    # For programs

    @Operation("history", {200: {JSON: list[HistoryDocument]}}, query=HistoryQuery)
    async def index(self, request: Request) -> Response:
        """List one's own earlier answers, newest first."""
        query = read_query(request, HistoryQuery)
        rows = await self._history.list(user_of(request).id, limit=query.limit, only=query.filter)
        kept = await self._kept(rows)
        content = [_public(row) | {"image_kept": row.image_sha256 in kept} for row in rows]
        return json_answer(content, headers=NOT_STORED)

    @Operation("history", {204: {}}, errors=WRITE_ERRORS)
    async def delete(self, request: Request) -> Response:
        """Delete one row, and its picture when nothing else needs it."""
        if not await self._belongings.remove_prediction(request.path_params["row_id"], user_of(request)):
            raise _no_such()
        return Response(status_code=204)

    @Operation("history", {204: {}}, errors=WRITE_ERRORS)
    async def delete_all(self, request: Request) -> Response:
        """Delete one's whole history, with the pictures that nothing else needs."""
        await self._belongings.remove_history(user_of(request))
        return Response(status_code=204)

    @Operation(
        "history",
        {200: {JSON: PredictionDocument}},
        query=PredictOptions,
        errors=(Conflict, *PICTURE_ERRORS),
        sends=(SERVER_TIMING,),
    )
    async def rerun(self, request: Request) -> Response:
        """Classify a kept picture again, by the model of today: answered, and noted, as POST /predict. 409 when the
        picture is not kept."""
        options = read_query(request, PredictOptions)
        return self._classify.answer(await self._again(request, await self._row(request), options))

    @Operation(
        "history", {200: {"image/jpeg": bytes}, 304: {}}, takes=(IF_NONE_MATCH,), sends=(ETAG,), errors=(NotFound,)
    )
    async def picture(self, request: Request) -> Response:
        """A kept picture, small: within 128 by 128 pixels. Its owner's browser asks each time whether it still may."""
        row = await self._row(request)
        return await self._thumbnails.answer(request, row.image_sha256)

    # The page

    @Operation("page", PAGE, query=HistoryQuery)
    async def page(self, request: Request) -> Response:
        """One's own answers, newest first, two dozen at a time."""
        query = read_query(request, HistoryQuery)
        return self._page(request, query, await self._past(request, query))

    @Operation("page", PAGE | GO, query=HistoryQuery, errors=WRITE_ERRORS)
    async def page_delete(self, request: Request) -> Response:
        """Delete one row; where it stands already, nothing is left of it."""
        query = read_query(request, HistoryQuery)
        await self._belongings.remove_prediction(request.path_params["row_id"], user_of(request))
        return Response(headers=NOT_STORED) if "hx-request" in request.headers else go(f"/history{_here(query)}")

    @Operation("page", GO, errors=WRITE_ERRORS)
    async def page_delete_all(self, request: Request) -> Response:
        """Delete the whole history."""
        await self._belongings.remove_history(user_of(request))
        return go("/history")

    @Operation("page", PAGE, query=HistoryQuery, errors=(Conflict, *PICTURE_ERRORS))
    async def page_rerun(self, request: Request) -> Response:
        """Classify again: what the picture is taken for today, beside what it was taken for then."""
        query, row = read_query(request, HistoryQuery), await self._row(request)
        before = await self._past(request, query) if "hx-request" not in request.headers else []
        again = Past(row, True, await self._again(request, row, PredictOptions()))
        if "hx-request" not in request.headers:
            return self._page(request, query, [again if past.row.id == row.id else past for past in before])
        return self._templates.TemplateResponse(request, "_history_again.html", {"past": again}, headers=NOT_STORED)

    async def _past(self, request: Request, query: HistoryQuery) -> list[Past]:
        """One row more than the page shows: then there are older ones."""
        rows = await self._history.list(user_of(request).id, limit=PAGE_ROWS + 1, only=query.filter)
        kept = await self._kept(rows)
        return [Past(row, row.image_sha256 in kept) for row in rows]

    def _page(self, request: Request, query: HistoryQuery, past: Sequence[Past]) -> Response:
        shown = past[:PAGE_ROWS]
        older = query.model_copy(update={"before": shown[-1].row.id}) if len(past) > PAGE_ROWS else None
        context = {
            **masthead(self._classifier, request),
            "shown": shown,
            "query": query,
            "here": _here(query),
            "older": _here(older) if older else None,
            "newest": _here(query.model_copy(update={"before": None})) if query.before else None,
            "days": self._settings.history_days,
            "keep_images": self._settings.keep_images,
        }
        return self._templates.TemplateResponse(request, "history.html", context, headers=NOT_STORED)

    async def _row(self, request: Request) -> HistoryRow:
        row = await self._history.get(request.path_params["row_id"], user_of(request).id)
        if row is None:
            raise _no_such()
        return row

    async def _kept(self, rows: Sequence[HistoryRow]) -> set[str]:
        return await self._pictures.kept({row.image_sha256 for row in rows})

    async def _again(self, request: Request, row: HistoryRow, options: PredictOptions) -> Prediction:
        with self._classifier.admission():
            data = await self._pictures.read(row.image_sha256)
            if data is None:
                raise Conflict(f"This picture is not kept. {WAYS_OUT[self._settings.keep_images]}")
            return await self._classify.predict_one(request, options, Upload("file", row.image_file_name, data))


def _no_such() -> NotFound:
    return NotFound("There is no such row in your history.")


def _here(query: HistoryQuery) -> str:
    """The page's own query, to come back to."""
    said = query.model_dump(mode="json", exclude_defaults=True, exclude={"limit"})
    return f"?{urlencode(said)}" if said else ""


def _public(row: HistoryRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _PUBLIC_FIELDS}
