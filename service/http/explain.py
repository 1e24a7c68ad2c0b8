"""POST /api/explain: what the model looked at when it took a picture for a class."""

import asyncio
from collections.abc import Callable, Coroutine
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from service.counting import counted
from service.errors import BadRequest, Conflict, InvalidField
from service.http.departure import unless_client_leaves
from service.http.operation import MULTIPART, PICTURE, PICTURE_ERRORS, Operation
from service.http.presentation import words
from service.http.query import read_query
from service.http.sessions import NOT_STORED
from service.http.uploads import announced, read_form, read_raw
from service.inference import images
from service.inference.admission import Share
from service.inference.classifier import Classifier
from service.inference.labels import ClassTable
from service.settings import Profile, Settings
from service.training.explaining import Question

NAMED = 10
"""Classes, to one that there is none of."""


class ExplainQuery(BaseModel):
    """About which class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str | None = Field(
        None, min_length=1, max_length=200, description="A class by its name or its index; the most probable if absent."
    )
    preprocess: Profile | None = Field(None, description="Preprocessing profile; the server's default if absent.")


class ExplainForm(BaseModel):
    """One picture."""

    file: bytes = Field(description="Any part with a file name is taken, whatever its field name.")


class Explain:
    """The endpoint and what it needs. `ask` finds the answer, a PNG, in another process."""

    def __init__(
        self, classifier: Classifier, ask: Callable[[Question], Coroutine[Any, Any, bytes]], settings: Settings
    ) -> None:
        self._classifier = classifier
        self._ask = ask
        self._settings = settings
        self._limits = images.Limits(settings.max_image_bytes, settings.max_image_pixels)

    @Operation(
        "predict",
        {200: {"image/png": bytes}},
        query=ExplainQuery,
        body={MULTIPART: ExplainForm, PICTURE: bytes},
        errors=(Conflict, InvalidField, *PICTURE_ERRORS),
    )
    async def explain(self, request: Request) -> Response:
        """See what the model looked at. The picture as the model gets it, in grey, with the places in colour that speak
        for the class (Grad-CAM). Takes some seconds. 409 when the model that answers cannot be looked into."""
        query = read_query(request, ExplainQuery)
        size = announced(request.scope["headers"], self._settings.max_image_bytes)
        with self._classifier.admission(announced=size) as share:
            question = await self._question(await self._picture(request, share), query)
        png = await unless_client_leaves(request, self._ask(question))
        return Response(png, 200, NOT_STORED, "image/png")

    async def _picture(self, request: Request, share: Share) -> bytes:
        limit = self._settings.max_image_bytes
        if request.headers.get("content-type", "").lower().startswith("multipart/"):
            form = await read_form(request, max_files=1, max_file_bytes=limit, share=share)
            data = form.files[0].data if form.files else b""
        else:
            data = await read_raw(request, max_bytes=limit, share=share)
        if not data:
            raise BadRequest("There is no picture. Send a multipart part named `file`, or the picture as the body.")
        return data

    async def _question(self, data: bytes, query: ExplainQuery) -> Question:
        serving, profile = self._classifier.serving, query.preprocess or self._settings.preprocess
        label = None if query.label is None else _index(query.label, serving.classes)
        if serving.keras is None:
            raise Conflict(
                f"{serving.model.name} has no Keras weights, as int8 has none: nobody can look into it. Ask while the "
                "float32 model that it was made from answers."
            )
        if label is None:
            prediction = await self._classifier.classify(data, profile=profile, top=1)
            if prediction.model != serving.model:
                raise Conflict("Another model has taken over just now. Ask again.")
            label = prediction.labels[0].index
        pixels, _ = await asyncio.to_thread(images.read, data, self._limits, profile, serving.input)
        return Question(serving.keras.build, serving.keras.weights, serving.input, pixels, label)


def _index(label: str, classes: ClassTable) -> int:
    """The class that is meant. Raises InvalidField."""
    wanted = words(label).casefold()
    for index, name in enumerate(classes.labels):
        if words(name).casefold() == wanted:
            return index
    if label.isascii() and label.isdecimal() and int(label) < len(classes):
        return int(label)
    known = classes.search(label) or get_close_matches(label, classes.labels, NAMED) or classes.labels[:NAMED]
    raise InvalidField(
        f"label: the model has no class {label!r}. Among its {counted(len(classes), 'class', 'classes')}: "
        f"{', '.join(known)}. Give a name, or an index below {len(classes):,}."
    )
