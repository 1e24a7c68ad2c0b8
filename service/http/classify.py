"""POST /predict: one picture to JSON, many to a stream of NDJSON lines."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from service.errors import BadRequest
from service.http.departure import ReadAhead, unless_client_leaves
from service.http.documents import PredictionDocument, StreamLine
from service.http.forms import PictureForm
from service.http.multipart import Upload
from service.http.operation import JSON, MULTIPART, NDJSON, PICTURE, PICTURE_ERRORS, SERVER_TIMING, Operation
from service.http.query import read_query
from service.http.stream import PredictionStream
from service.http.uploads import announced, read_parts, read_raw, too_many
from service.inference.admission import Share
from service.inference.classifier import Classifier
from service.inference.predictions import Prediction, Receipt
from service.settings import Profile, Settings

Note = Callable[[Request, Upload, Prediction], None]
"""Told of each answer, with its picture, before it goes out. Must neither wait nor raise."""


DEADLINE = (
    "Give up so long after the picture is here. More than the server's own limit is cut to that; in a stream, where "
    "pictures wait for their turn, there is no other limit than this one."
)


class PredictOptions(BaseModel):
    """The query parameters of POST /predict."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top: int = Field(5, ge=1, le=1000, description="Labels in the answer.", examples=[3])
    preprocess: Profile | None = Field(None, description="Preprocessing profile; the server's default if absent.")
    deadline_ms: int | None = Field(None, ge=1, description=DEADLINE)


def note_nothing(_request: Request, _picture: Upload, _prediction: Prediction) -> None:
    """A `Note` where nothing is kept."""


def noting_all(*notes: Note) -> Note:
    """All of these, one after the other."""

    def note(request: Request, picture: Upload, prediction: Prediction) -> None:
        for one in notes:
            one(request, picture, prediction)

    return note


class Classify:
    """The endpoint and what it needs."""

    def __init__(self, classifier: Classifier, settings: Settings, note: Note = note_nothing) -> None:
        self._classifier = classifier
        self._settings = settings
        self._note = note

    @Operation(
        "predict",
        {200: {JSON: PredictionDocument, NDJSON: StreamLine}},
        query=PredictOptions,
        body={MULTIPART: PictureForm, PICTURE: bytes},
        errors=PICTURE_ERRORS,
        sends=(SERVER_TIMING,),
    )
    async def predict(self, request: Request) -> ASGIApp:
        """Classify pictures. One picture: a JSON document. Several parts, or Accept: application/x-ndjson: a stream of
        lines, each as soon as its picture is done, while the upload is still going on."""
        options = read_query(request, PredictOptions)
        wants_stream = NDJSON in request.headers.get("accept", "")
        with ExitStack() as hold:
            size = announced(request.scope["headers"], self._settings.max_image_bytes)  # of several pictures the first
            share = hold.enter_context(self._classifier.admission(patient=wants_stream, announced=size))
            body = ReadAhead(request.receive)
            pictures = self._pictures(Request(request.scope, body.receive), share)
            seen = [picture async for picture in _first(1 if wants_stream else 2, pictures)]
            if not seen:
                raise BadRequest("There is no picture. Send a multipart part named `file`, or the picture as the body.")
            if len(seen) == 1 and not wants_stream:
                return self.answer(await self.predict_one(request, options, seen[0]))
            limit = math.inf if wants_stream else self._settings.max_images_per_request
            share.stream()
            return self._stream(request, options, body, _all(seen, pictures, limit), share, hold.pop_all())

    async def predict_one(self, request: Request, options: PredictOptions, picture: Upload) -> Prediction:
        """The labels of a picture that is here; to be called while an admission is held. Raises as `classify`."""
        if picture.error:
            raise picture.error
        return await unless_client_leaves(request, self._classify(request, picture, options, patient=False))

    def answer(self, prediction: Prediction) -> Response:
        """One picture's labels as POST /predict says them."""
        headers = {"Server-Timing": server_timing(prediction.receipt)}
        return Response(orjson.dumps(self._document(prediction)), headers=headers, media_type="application/json")

    async def _classify(
        self, request: Request, picture: Upload, options: PredictOptions, *, patient: bool
    ) -> Prediction:
        prediction = await self._classifier.classify(
            picture.data, profile=options.preprocess, top=options.top, deadline_ms=options.deadline_ms, patient=patient
        )
        self._note(request, picture, prediction)
        return prediction

    def _stream(
        self,
        request: Request,
        options: PredictOptions,
        body: ReadAhead,
        pictures: AsyncIterator[Upload],
        share: Share,
        hold: ExitStack,
    ) -> PredictionStream:
        async def answer(picture: Upload) -> dict[str, Any]:
            return self._document(await self._classify(request, picture, options, patient=True))

        window = self._settings.max_images_per_request
        return PredictionStream(request, body, pictures, answer, self._classifier.draining, window, share, hold)

    def _document(self, prediction: Prediction) -> dict[str, Any]:
        document = prediction_document(prediction)
        return document | {"notice": prediction.notice} if prediction.notice else document

    async def _pictures(self, request: Request, share: Share) -> AsyncIterator[Upload]:
        limit = self._settings.max_image_bytes
        if not request.headers.get("content-type", "").lower().startswith("multipart/"):
            if data := await read_raw(request, max_bytes=limit, share=share):
                yield Upload("file", "", data)
            return
        async for part in read_parts(request, max_file_bytes=limit, share=share):
            if isinstance(part, Upload):
                yield part


async def _first(count: int, pictures: AsyncIterator[Upload]) -> AsyncIterator[Upload]:
    """At most `count` of them; the rest can be read on."""
    while count and (picture := await anext(pictures, None)) is not None:
        count -= 1
        yield picture


async def _all(seen: list[Upload], rest: AsyncIterator[Upload], limit: float) -> AsyncIterator[Upload]:
    """What was read already and then the rest. Raises BodyTooLarge when there are more than `limit`."""
    count = len(seen)
    while seen:
        yield seen.pop(0)
    async for picture in rest:
        count += 1
        if count > limit:
            raise too_many(limit)
        yield picture


def prediction_document(prediction: Prediction) -> dict[str, Any]:
    """The JSON answer for one picture. Scores with 6 decimals, durations in milliseconds with 2."""
    best, model, image, receipt = prediction.labels[0], prediction.model, prediction.image, prediction.receipt
    return {
        "success": True,
        "prediction": best.label,
        "score": round(best.score, 6),
        "predictions": [
            {"label": label.label, "wnid": label.wnid, "index": label.index, "score": round(label.score, 6)}
            for label in prediction.labels
        ],
        "model": {"name": model.name, "version": model.version, "engine": model.engine, "weights": model.weights},
        "image": {"sha256": image.sha256, "width": image.width, "height": image.height, "format": image.format},
        "receipt": {
            "decode_ms": round(receipt.decode_ms, 2),
            "queue_ms": round(receipt.queue_ms, 2),
            "infer_ms": round(receipt.infer_ms, 2),
            "total_ms": round(receipt.total_ms, 2),
            "batch_size": receipt.batch_size,
            "released_by": receipt.released_by,
            "cached": receipt.cached,
        },
    }


def server_timing(receipt: Receipt) -> str:
    """The Server-Timing header of the answer; durations in milliseconds."""
    return (
        f"decode;dur={receipt.decode_ms:.2f}, queue;dur={receipt.queue_ms:.2f}, "
        f"infer;dur={receipt.infer_ms:.2f}, total;dur={receipt.total_ms:.2f}"
    )
