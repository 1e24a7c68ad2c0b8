"""The page and its fragments. Knows no pixels, no SQL: it reads forms, asks once, renders."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from markupsafe import Markup
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.errors import BadRequest, ClientGone, Conflict, GlimtError, InvalidField
from service.http.classify import Note, note_nothing, prediction_document
from service.http.departure import unless_client_leaves
from service.http.feedback import FeedbackBody, FeedbackEndpoints
from service.http.forms import CardAbout, CardFeedback, LabelsQuery, PageForm
from service.http.json_body import reasons
from service.http.multipart import Upload
from service.http.operation import MULTIPART, PAGE, PICTURE_ERRORS, URLENCODED, WRITE_ERRORS, Operation
from service.http.presentation import light, masthead, words
from service.http.problems import error_headers, problem
from service.http.uploads import Form, announced, read_form
from service.inference import images
from service.inference.admission import Share
from service.inference.classifier import Classifier
from service.inference.labels import ClassTable
from service.inference.predictions import Prediction
from service.settings import MIB, Settings
from service.store.feedback import FeedbackDraft, FeedbackRow, FeedbackStore
from service.store.pictures import PictureStore

MAX_PICTURES = 9  # at once on the page: a 3 x 3 grid
MAX_EMBEDDED_BYTES = 512 * 1024  # of a picture sent back inside the page for browsers without JavaScript
MAX_QUERY_CHARS = 100  # of the typeahead; the longest label has far fewer
SHOWN_FORMATS = frozenset({"JPEG", "PNG", "GIF", "WEBP", "BMP"})  # what every browser can draw
EXAMPLES = {
    "digit-3": "a handwritten 3",
    "digit-7": "a handwritten 7",
    "digit-8": "a handwritten 8",
    "digit-2": "a handwritten 2",
    "digit-0": "a handwritten 0",
    "object-balloon": "a balloon",
    "object-clock": "a clock",
    "object-daisy": "a daisy",
    "object-traffic-light": "a traffic light",
    "object-umbrella": "an umbrella",
}
"""Drawn by scripts/draw_examples.py. The demo model knows digits only, every other model objects."""

ABOUT = ("predicted_class", "score", "image_sha256", "image_file_name", "model_name", "model_version")
"""The hidden fields that say what a feedback form is about."""
WHERE = ("job", "position")
"""Those that say in which job's archive the picture is."""
SAID = (*ABOUT, "verdict", "correct_label", "comment")


OfJob = Callable[[Request, Mapping[str, str]], Awaitable[bytes | None]]
"""The picture of a job that a form names, if it is the caller's."""


async def of_no_job(_request: Request, _said: Mapping[str, str]) -> bytes | None:
    """An `OfJob` where there are no jobs."""
    return None


def about(prediction: Prediction, file_name: str) -> dict[str, str]:
    """What feedback on this answer must say; it travels through the page in hidden fields."""
    best = prediction.labels[0]
    return {
        "predicted_class": best.label,
        "score": f"{best.score:.6f}",
        "image_sha256": prediction.image.sha256,
        "image_file_name": file_name[-255:] or "picture",  # the store's limit; the end has the extension
        "model_name": prediction.model.name,
        "model_version": prediction.model.version,
    }


def draft(fields: Mapping[str, str], classes: ClassTable) -> FeedbackDraft:
    """The feedback a form holds. Raises InvalidField naming what is missing or wrong."""
    filled = {name: value for name in SAID if (value := fields.get(name, "").strip())}
    if filled.get("verdict") != "wrong":
        filled.pop("correct_label", None)
    elif "correct_label" in filled:
        filled["correct_label"] = _class_of(filled["correct_label"], classes)
    if "verdict" not in filled:
        raise InvalidField("verdict: say right or wrong.")
    try:
        score = float(filled.pop("score", ""))
        return FeedbackDraft(**FeedbackBody.model_validate({**filled, "score": score}).model_dump())
    except ValidationError as error:
        raise InvalidField(reasons(error)) from error
    except ValueError as error:
        raise InvalidField("score must be a probability from 0 to 1.") from error


def _class_of(typed: str, classes: ClassTable) -> str:
    """The model's own label if a person wrote one, else the person's word: it may be a class the model lacks."""
    wanted = words(typed).casefold()
    return next((label for label in classes.search(typed) if words(label).casefold() == wanted), typed)


@dataclass(frozen=True, slots=True)
class Card:
    """One picture of the page: its answer, or what was wrong with it. `picture` is a data: address."""

    file_name: str
    prediction: Prediction | None = None
    error: GlimtError | None = None
    picture: str | None = None


def embedded(data: bytes, image_format: str) -> str | None:
    """A data: address of a picture that is small enough and that browsers can draw."""
    if len(data) > MAX_EMBEDDED_BYTES or image_format not in SHOWN_FORMATS:
        return None
    return f"data:image/{image_format.lower()};base64,{base64.b64encode(data).decode()}"


class Pages:
    """The endpoints of the page and what they need. Without JavaScript each answers with a whole page."""

    def __init__(
        self,
        classifier: Classifier,
        feedback: FeedbackStore,
        notes: FeedbackEndpoints,
        pictures: PictureStore,
        templates: Jinja2Templates,
        settings: Settings,
        web_dir: Path,
        note: Note = note_nothing,
        of_job: OfJob = of_no_job,
    ) -> None:
        self._classifier = classifier
        self._of_job = of_job
        self._feedback = feedback
        self._notes = notes
        self._pictures = pictures
        self._templates = templates
        self._settings = settings
        self._limits = images.Limits(settings.max_image_bytes, settings.max_image_pixels)
        self._note = note
        self._examples = {name: (web_dir / f"static/examples/{name}.png").read_bytes() for name in EXAMPLES}

    @Operation("page", PAGE)
    async def index(self, request: Request) -> Response:
        """The page to classify on, empty."""
        return self._page(request)

    @Operation("page", PAGE, body={MULTIPART: PageForm}, errors=PICTURE_ERRORS)
    async def classify(self, request: Request) -> Response:
        """Classify up to nine pictures of a form (or one example by name): cards, or the whole page with cards."""
        try:
            with self._classifier.admission(announced=self._size(request)) as share:
                uploads = self._uploads(await self._form(request, MAX_PICTURES, share))
                cards = await unless_client_leaves(request, self._cards(request, uploads))
        except GlimtError as error:
            if _is_fragment(request) or isinstance(error, ClientGone):
                raise
            return self._page(request, error=error)
        if not _is_fragment(request):
            return self._page(request, cards=cards)
        if len(cards) == 1 and cards[0].error:
            raise cards[0].error
        return Response("".join(self._body(request, card) for card in cards), media_type="text/html")

    @Operation("page", PAGE, query=LabelsQuery)
    async def labels(self, request: Request) -> Response:
        """The typeahead: the labels that match what was typed so far."""
        query = request.query_params.get("q", "")[:MAX_QUERY_CHARS]
        return self._render(request, "_labels.html", labels=self._classifier.classes.search(query))

    @Operation(
        "page",
        PAGE,
        body={MULTIPART: CardFeedback},
        errors=(InvalidField, Conflict, *PICTURE_ERRORS, *WRITE_ERRORS),
    )
    async def feedback(self, request: Request) -> Response:
        """Say right or wrong on a card; it is stored, and can be undone."""
        with self._classifier.memory.share(self._size(request)) as share:
            form = await self._form(request, 1, share)
            given = draft(form.fields, self._classifier.classes)
            kept = await self._keep(request, form, given.image_sha256)
            form.files.clear()
        key = form.fields.get("idempotency_key") or None
        try:
            row, _ = await self._feedback.add(
                replace(given, image_kept=kept), owner=request.scope.get("owner"), idempotency_key=key
            )
        except GlimtError:  # without its row nobody would ever tidy the picture away
            await self._notes.forget_picture(given.image_sha256 if kept else None, request.scope.get("owner"))
            raise
        return self._feedback_answer(request, form, row)

    @Operation("page", PAGE, body={MULTIPART: CardAbout, URLENCODED: CardAbout}, errors=WRITE_ERRORS)
    async def undo(self, request: Request) -> Response:
        """Take a card's feedback back; undoing twice is the same as once."""
        form = await self._form(request, 0)
        await self._notes.undo(int(request.path_params["id"]), request.scope.get("owner"))
        return self._feedback_answer(request, form, None)

    @Operation("page", PAGE)
    async def health_light(self, request: Request) -> Response:
        """The health light, polled by the page."""
        return self._render(request, "_health.html", light=light(self._classifier))

    async def _form(self, request: Request, max_files: int, share: Share | None = None) -> Form:
        limit = self._settings.max_image_bytes
        return await read_form(request, max_files=max_files, max_file_bytes=limit, share=share)

    def _size(self, request: Request) -> int:
        return announced(request.scope["headers"], self._settings.max_image_bytes)

    def _uploads(self, form: Form) -> Sequence[Upload]:
        if form.files:
            return form.files
        name = form.fields.get("example", "")
        if name not in self._examples:
            raise BadRequest("There is no picture in the form. Choose one first.")
        return [Upload("example", f"{name}.png", self._examples[name])]

    async def _cards(self, request: Request, uploads: Sequence[Upload]) -> list[Card]:
        return await asyncio.gather(*(self._card(request, upload) for upload in uploads))

    async def _card(self, request: Request, upload: Upload) -> Card:
        try:
            prediction = await self._classifier.classify(upload.data)
        except GlimtError as error:
            return Card(upload.filename, error=error)
        self._note(request, upload, prediction)
        return Card(upload.filename, prediction, picture=embedded(upload.data, prediction.image.format))

    async def _keep(self, request: Request, form: Form, sha256: str | None) -> bool:
        """Keep the picture the feedback is about, if it was sent along or is in a job's archive, and pictures are kept
        at all."""
        if self._settings.keep_images == "none":
            return False
        data = form.files[0].data if form.files else await self._of_job(request, form.fields)
        if data is None:
            return False
        if await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()) != sha256:
            raise InvalidField("The picture is not the one the feedback is about: its SHA-256 differs.")
        await asyncio.to_thread(images.check, data, self._limits)
        return await self._pictures.keep(data) == sha256

    def _body(self, request: Request, card: Card) -> Markup:
        if card.prediction is None:
            context = problem(card.error or GlimtError(), request.scope.get("request_id", ""))
            return Markup(self._templates.get_template("_problem.html").render(context))
        document = orjson.dumps(prediction_document(card.prediction), option=orjson.OPT_INDENT_2).decode()
        context = {"prediction": card.prediction, "about": about(card.prediction, card.file_name), "raw": document}
        return Markup(self._templates.get_template("_card.html").render(context))

    def _page(self, request: Request, *, cards: Sequence[Card] = (), error: GlimtError | None = None) -> Response:
        failed = error or next((card.error for card in cards if card.error and len(cards) == 1), None)
        kind = "digit" if self._classifier.model.weights == "demo" else "object"
        return self._render(
            request,
            "index.html",
            status_code=failed.status if failed else 200,
            headers=error_headers(failed),
            cards=[(card, self._body(request, card)) for card in cards],
            problem=self._body(request, Card("", error=error)) if error else None,
            examples={name: said for name, said in EXAMPLES.items() if name.startswith(kind)},
            max_pictures=MAX_PICTURES,
            max_mib=self._settings.max_image_bytes // MIB,
            keep_images=self._settings.keep_images,
            reviews=self._settings.reviewed_pictures,
            explains=self._classifier.serving.keras is not None,
        )

    def _feedback_answer(self, request: Request, form: Form, given: FeedbackRow | None) -> Response:
        name = "_feedback.html" if _is_fragment(request) else "feedback.html"
        carried = {name: form.fields.get(name, "") for name in ABOUT}
        carried |= {name: form.fields[name] for name in WHERE if name in form.fields}
        return self._render(request, name, about=carried, given=given)

    def _render(
        self,
        request: Request,
        name: str,
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        **context: Any,
    ) -> Response:
        context = masthead(self._classifier, request) | context
        return self._templates.TemplateResponse(request, name, context, status_code=status_code, headers=headers)


def _is_fragment(request: Request) -> bool:
    return "hx-request" in request.headers
