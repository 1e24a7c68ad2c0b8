"""POST /model/predict: one picture, asked and answered as reference system A does it, for clients written for that."""

import hashlib
from asyncio import to_thread
from os.path import splitext

from starlette.requests import Request
from starlette.responses import Response

from service.errors import BadRequest
from service.http.classify import Note, note_nothing, server_timing
from service.http.departure import unless_client_leaves
from service.http.documents import ReferencePrediction, ReferenceRefusal
from service.http.forms import OnePictureForm
from service.http.json_answer import json_answer
from service.http.multipart import Upload
from service.http.operation import JSON, MULTIPART, PICTURE_ERRORS, SERVER_TIMING, Operation
from service.http.uploads import announced, read_form
from service.inference.admission import Share
from service.inference.classifier import Classifier
from service.settings import Settings

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".gif"})
NOT_SUPPORTED = {"detail": "File type is not supported."}
"""The whole body of that 400: clients of reference A compare it."""


class _NotSupported(BadRequest):
    """The name's extension is none of EXTENSIONS. Answered here, with NOT_SUPPORTED."""


class ReferenceA:
    """The endpoint and what it needs."""

    def __init__(self, classifier: Classifier, settings: Settings, note: Note = note_nothing) -> None:
        self._classifier = classifier
        self._max_bytes = settings.max_image_bytes
        self._note = note

    @Operation(
        "predict",
        {200: {JSON: ReferencePrediction}, 400: {JSON: ReferenceRefusal}},
        body={MULTIPART: OnePictureForm},
        errors=PICTURE_ERRORS,
        sends=(SERVER_TIMING,),
    )
    async def predict(self, request: Request) -> Response:
        """Classify the part `file`: label, score and the name feedback gives the picture. Always the keras profile."""
        size = announced(request.scope["headers"], self._max_bytes)
        with self._classifier.admission(announced=size) as share:
            try:
                picture = await self._picture(request, share)
            except _NotSupported as error:
                return json_answer(NOT_SUPPORTED, error.status)
            work = self._classifier.classify(picture.data, profile="keras", top=1)
            prediction = await unless_client_leaves(request, work)
            self._note(request, picture, prediction)
        best = prediction.labels[0]
        document = {
            "success": True,
            "prediction": best.label,
            "score": round(best.score, 4),
            "image_file_name": await to_thread(stored_name, picture),
        }
        notice = {"notice": prediction.notice} if prediction.notice else {}
        return json_answer(document | notice, headers={"Server-Timing": server_timing(prediction.receipt)})

    async def _picture(self, request: Request, share: Share) -> Upload:
        form = await read_form(request, max_files=1, max_file_bytes=self._max_bytes, check_name=_check, share=share)
        if not form.files:
            raise BadRequest("There is no picture. Send it as multipart/form-data, in a part named `file`.")
        _check(form.files[0].filename)
        return form.files[0]


def stored_name(picture: Upload) -> str:
    """The MD5 of the bytes and the lower-cased extension. A name, no protection: the store has its own SHA-256."""
    return hashlib.md5(picture.data, usedforsecurity=False).hexdigest() + _extension(picture.filename)


def _check(filename: str) -> None:
    if _extension(filename) not in EXTENSIONS:
        raise _NotSupported()


def _extension(filename: str) -> str:
    return splitext(filename)[1].lower()
