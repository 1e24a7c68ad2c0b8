"""The page where an admin looks at one picture after the other and says what it is. Plain forms; keys press them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.counting import counted
from service.errors import BadRequest, ClientGone, Conflict, GlimtError, ImageError, InvalidField, NotFound
from service.http.access import name_of
from service.http.documents import SHA256, Absent, example
from service.http.operation import (
    ETAG,
    GO,
    IF_NONE_MATCH,
    PAGE,
    PICTURE_ERRORS,
    WRITE_ERRORS,
    Operation,
    form,
)  # fmt: skip
from service.http.pages import about, draft
from service.http.presentation import Wrong, masthead
from service.http.problems import error_headers
from service.http.query import read_query
from service.http.review_desk import Item, ReviewDesk
from service.http.sessions import NOT_STORED, go
from service.http.thumbnails import Thumbnails
from service.http.trainer_desk import TrainerDesk
from service.http.training_form import FEEDBACK, wanted_of
from service.http.uploads import digits, read_fields
from service.inference.classifier import Classifier
from service.inference.images import Limits
from service.inference.labels import ClassTable
from service.inference.predictions import Prediction
from service.settings import Settings
from service.store.belongings import REVIEW_DAYS, Belongings
from service.store.feedback import MAX_CHARS, MAX_ID, FeedbackDraft, FeedbackStore
from service.store.pictures import PictureStore
from service.training.sources import class_name

SIDE_PIXELS = 1024
"""Of a picture on the page, at most, across and down."""
CANNOT_TELL = "cannot tell"
"""What a reviewer says who gives no label."""
MAX_AT = 999

log = structlog.get_logger()


class ReviewQuery(BaseModel):
    """Where in the row one is, and what was said just now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: int = Field(0, ge=0, le=MAX_AT, description="So many are skipped.")
    done: int | None = Field(None, ge=1, le=MAX_ID, description="The id of what was said last, to be undone.")


class ReviewForm(BaseModel):
    """A decision on one picture: `pick` one of the labels that are offered, type `correct_label`, or `say` "cannot
    tell". The rest is what the model said."""

    model_config = example(
        {
            "image_sha256": SHA256,
            "image_file_name": "dog.jpeg",
            "predicted_class": "Eskimo_dog",
            "score": "0.41",
            "pick": "Siberian_husky",
        }
    )

    image_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    image_file_name: str = Field(min_length=1, max_length=MAX_CHARS["image_file_name"])
    predicted_class: str = Field(min_length=1, max_length=MAX_CHARS["predicted_class"])
    score: float = Field(ge=0, le=1)
    pick: str | Absent = Field(None, max_length=MAX_CHARS["correct_label"])
    correct_label: str | Absent = Field(None, max_length=MAX_CHARS["correct_label"])
    say: str | Absent = Field(None, description=f'"{CANNOT_TELL}".')
    at: str | Absent = None


class UndoForm(BaseModel):
    """Where in the row one was."""

    model_config = example({"at": "0"})

    at: str | Absent = None


class RetrainForm(BaseModel):
    """What the model will be called."""

    model_config = example({"name": "newts"})

    name: str


def decision(said: Mapping[str, str], classes: ClassTable) -> FeedbackDraft:
    """What a reviewer's form says. Raises InvalidField, and BadRequest for what cannot be a class's name."""
    if not said.get("image_sha256"):
        raise InvalidField("image_sha256: say which picture it is about.")
    if said.get("say") == CANNOT_TELL:
        return replace(draft({**said, "verdict": "right"}, classes), verdict=None, feedback=CANNOT_TELL, reviewed=True)
    label = (said.get("pick") or said.get("correct_label", "")).strip()
    if not label:
        raise InvalidField("correct_label: say what it is, or that it cannot be told.")
    wrong = draft({**said, "verdict": "wrong", "correct_label": class_name(label)}, classes)
    if wrong.correct_label == wrong.predicted_class:
        return replace(wrong, verdict="right", correct_label=None, reviewed=True)
    return replace(wrong, reviewed=True)


class ReviewPages:
    """The endpoints and what they need."""

    def __init__(
        self,
        desk: ReviewDesk,
        trainer: TrainerDesk,
        feedback: FeedbackStore,
        belongings: Belongings,
        pictures: PictureStore,
        classifier: Classifier,
        templates: Jinja2Templates,
        settings: Settings,
    ) -> None:
        self._desk = desk
        self._trainer = trainer
        self._feedback = feedback
        self._belongings = belongings
        self._pictures = pictures
        self._classifier = classifier
        self._templates = templates
        self._settings = settings
        limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
        self._large = Thumbnails(pictures, limits, SIDE_PIXELS)

    @Operation("page", PAGE, query=ReviewQuery, errors=PICTURE_ERRORS)
    async def page(self, request: Request) -> Response:
        """The picture that is most worth a look, and how far the next training is."""
        query = read_query(request, ReviewQuery)
        return await self._page(request, query.at, done=query.done)

    @Operation(
        "page", PAGE | GO, body=form(ReviewForm), errors=(InvalidField, Conflict, *PICTURE_ERRORS, *WRITE_ERRORS)
    )
    async def decide(self, request: Request) -> Response:
        """Say what a picture is: feedback that overrules what others said. Then the next picture."""
        said = await read_fields(request)
        at = _at(said)
        try:
            decided = decision(said, self._classifier.classes)
            key = said.get("idempotency_key") or None
            row, _ = await self._feedback.add(decided, owner=request.scope["owner"], idempotency_key=key)
        except (InvalidField, BadRequest) as error:
            return await self._page(request, at, wrong=Wrong("correct_label", error.detail, error))
        return go(f"/review?at={at}&done={row.id}")

    @Operation("page", GO, body=form(UndoForm), errors=WRITE_ERRORS)
    async def undo(self, request: Request) -> Response:
        """Take one's decision back; undoing twice is the same as once."""
        at, feedback_id = _at(await read_fields(request)), int(request.path_params["id"])
        if feedback_id <= MAX_ID:
            await self._belongings.remove_feedback(feedback_id, request.scope["owner"])
        return go(f"/review?at={at}")

    @Operation("page", PAGE | GO, body=form(RetrainForm), errors=(InvalidField, Conflict, NotFound, *WRITE_ERRORS))
    async def train(self, request: Request) -> Response:
        """Begin to train from feedback, with the pictures of the last run of that name."""
        name = (await read_fields(request)).get("name", "")
        try:
            progress = await self._desk.progress()
            if progress.missing:
                missing = counted(progress.missing, "more label")
                raise Conflict(f"It takes {missing} to be worth it (GLIMT_RETRAIN_AFTER).")
            run = await self._trainer.begin(wanted_of({"name": name, "data": FEEDBACK}))
        except ClientGone:
            raise
        except GlimtError as error:
            return await self._page(request, 0, wrong=Wrong("name", error.detail, error))
        log.info("training begun from review", who=name_of(request), run=run.id)
        return go(f"/training/{run.id}")

    @Operation("page", {200: {"image/jpeg": bytes}, 304: {}}, takes=(IF_NONE_MATCH,), sends=(ETAG,), errors=(NotFound,))
    async def picture(self, request: Request) -> Response:
        """A kept picture, within 1024 by 1024 pixels."""
        return await self._large.answer(request, request.path_params["sha256"])

    async def _page(
        self, request: Request, at: int, *, done: int | None = None, wrong: Wrong | None = None
    ) -> Response:
        items = await self._desk.items(self._classifier.classes)
        item = items[at] if at < len(items) else None
        prediction, trouble = await self._look(item) if item else (None, None)
        content: dict[str, Any] = {
            **masthead(self._classifier, request),
            "at": at,
            "item": item,
            "counts": {kind: sum(it.kind == kind for it in items) for kind in ("disputed", "differs", "unsure")},
            "prediction": prediction,
            "about": about(prediction, item.file_name) if prediction and item else {},
            "trouble": trouble,
            "done": done,
            "noted": await self._noted(request, done) if done else None,
            "wrong": wrong,
            "progress": await self._desk.progress(),
            "kept": self._settings.reviewed_pictures,
            "days": REVIEW_DAYS,
            "cannot_tell": CANNOT_TELL,
        }
        status, headers = (wrong.error.status, error_headers(wrong.error)) if wrong else (200, {})
        return self._templates.TemplateResponse(request, "review.html", content, status, headers | NOT_STORED)

    async def _noted(self, request: Request, done: int) -> str | None:
        """What one said; None once it is taken back."""
        row = await self._feedback.get(done, request.scope["owner"])
        if row is None:
            return None
        return CANNOT_TELL if row.verdict is None else row.correct_label or row.predicted_class

    async def _look(self, item: Item) -> tuple[Prediction | None, str | None]:
        """What the model of today says to it, or why it cannot."""
        with self._classifier.admission():
            data = await self._pictures.read(item.sha256)
            if data is None:
                return None, "It is not kept any more."
            try:
                return await self._classifier.classify(data), None
            except ImageError as error:
                return None, error.detail


def _at(said: Mapping[str, str]) -> int:
    return min(int(digits(said.get("at"))), MAX_AT)
