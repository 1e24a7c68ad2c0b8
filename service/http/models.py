"""Model versions over HTTP: list, compare, activate, roll back, try out, delete, carry in and out."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.bulk.upload import Inbox
from service.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    BadRequest,
    BodyTooLarge,
    Conflict,
    Draining,
    ModelUnusable,
    NotFound,
    StartError,
)
from service.http.access import name_of
from service.http.json_answer import json_answer
from service.http.json_body import read_model
from service.http.model_documents import (
    ActivationQuery,
    ComparisonDocument,
    ComparisonQuery,
    DifferenceDocument,
    ModelsDocument,
    TrialBody,
    TrialDocument,
    VersionDocument,
    difference_document,
    metrics_side_by_side,
    trial_document,
    version_document,
)
from service.http.operation import JSON, LOCATION, TAR, WRITE_ERRORS, Errors, Operation
from service.http.query import read_query
from service.http.uploads import digits, pass_file
from service.inference.classifier import Classifier
from service.models.activation import Activation
from service.models.exchange import export_version, import_version
from service.models.registry import Listed

IMPORT_ERRORS: Errors = (BadRequest, BodyTooLarge, ArchiveInvalid, ArchiveTooLarge, Conflict, *WRITE_ERRORS)
MAX_BODY_BYTES = 4096
PIECE_BYTES = 256 * 1024
TRIAL = 'Right is: {"model": "pets", "share": 0.1}. The share is a number over 0 and at most 1.'

log = structlog.get_logger()


class ModelEndpoints:
    """The endpoints are its methods."""

    def __init__(self, activation: Activation, classifier: Classifier, inbox: Inbox) -> None:
        self._activation = activation
        self._classifier = classifier
        self._inbox = inbox

    @Operation("models", {200: {JSON: ModelsDocument}})
    async def index(self, request: Request) -> Response:
        """See which model answers, which versions there are, and what is tried out."""
        return json_answer(await self.document())

    @Operation("models", {200: {JSON: VersionDocument}}, errors=(ModelUnusable,))
    async def read(self, request: Request) -> Response:
        """See one version. NAME alone is the one of them that is activated, else the newest."""
        return json_answer(self._shown(await self._listed(request.path_params["ref"])))

    @Operation("models", {200: {JSON: ComparisonDocument}}, query=ComparisonQuery, errors=(ModelUnusable,))
    async def compare(self, request: Request) -> Response:
        """See two versions side by side."""
        other = read_query(request, ComparisonQuery).other
        return json_answer(await self.comparison(request.path_params["ref"], other))

    @Operation(
        "models",
        {200: {JSON: ModelsDocument}},
        query=ActivationQuery,
        errors=(Conflict, ModelUnusable, *WRITE_ERRORS),
    )
    async def activate(self, request: Request) -> Response:
        """Serve a version from the next batch on. It is loaded and tried beside the old one, which goes on if that
        fails. 409 for one that was not better than what was served, unless overridden; for the one that answers; and
        for a second change while one is under way."""
        override = read_query(request, ActivationQuery).override
        info = await self._activation.activate(request.path_params["ref"], override=override)
        log.info("model activated", who=name_of(request), model=info.name, version=info.version, override=override)
        return await self.index(request)

    @Operation("models", {200: {JSON: ModelsDocument}}, errors=(Conflict, ModelUnusable, *WRITE_ERRORS))
    async def roll_back(self, request: Request) -> Response:
        """Serve again what was served before the last change. A second time is forward again: after a timeout, look
        which model answers before this is repeated."""
        info = await self._activation.roll_back()
        log.info("model rolled back", who=name_of(request), model=info.name, version=info.version)
        return await self.index(request)

    @Operation("models", {204: {}}, errors=(Conflict, ModelUnusable))
    async def delete(self, request: Request) -> Response:
        """Delete a version. 409 for the served one, and for what a roll-back would bring back."""
        await self.forget(request.path_params["ref"])
        log.info("model deleted", who=name_of(request), ref=request.path_params["ref"])
        return Response(status_code=204)

    @Operation("models", {200: {TAR: bytes}}, errors=(ModelUnusable, *WRITE_ERRORS))
    async def export(self, request: Request) -> Response:
        """Download a version as one tar file, for another machine."""
        return await self._sent(await self._listed(request.path_params["ref"]))

    @Operation(
        "models",
        {201: {JSON: VersionDocument}},
        body={TAR: bytes},
        errors=IMPORT_ERRORS,
        sends=(LOCATION,),
    )
    async def take_in(self, request: Request) -> Response:
        """Take in a version that was exported elsewhere. It is checked against its manifest, and not served yet."""
        version = await self.imported(request)
        log.info("model imported", who=name_of(request), ref=version)
        return json_answer(self._shown(await self._listed(version)), 201, {"Location": f"/api/models/{version}"})

    @Operation("models", {200: {JSON: TrialDocument}})
    async def trial(self, request: Request) -> Response:
        """See how the candidate does beside the model that answers."""
        return json_answer(trial_document(self._classifier.shadow))

    @Operation(
        "models",
        {200: {JSON: TrialDocument}},
        body={JSON: TrialBody},
        errors=(NotFound, Conflict, ModelUnusable, Draining),
    )
    async def begin_trial(self, request: Request) -> Response:
        """Try a version out beside the one that answers. It gets a share of the pictures that were answered, while
        nothing else waits, and where the two differ is listed. It takes the memory of a second model. 409 while
        another, or the same, is tried out."""
        wanted = await read_model(request, TrialBody, max_bytes=MAX_BODY_BYTES, about="A trial", way_out=TRIAL)
        await self._activation.try_out(wanted.model, wanted.share)
        return await self.trial(request)

    @Operation("models", {204: {}})
    async def end_trial(self, request: Request) -> Response:
        """Stop trying it out."""
        await self._activation.stop_trying()
        return Response(status_code=204)

    @Operation("models", {200: {JSON: list[DifferenceDocument]}})
    async def differences(self, request: Request) -> Response:
        """List the last pictures on which the two differed, the newest first."""
        return json_answer([difference_document(it) for it in reversed(self._activation.differences)])

    async def document(self) -> dict[str, Any]:
        """As ModelsDocument. Raises StartError for a damaged registry."""
        activation = self._activation
        return {
            "model": self._classifier.model,
            "served": activation.served,
            "previous": activation.previous,
            "can_roll_back": activation.can_roll_back,
            "lasts": activation.lasts,
            "trial": trial_document(self._classifier.shadow),
            "versions": [self._shown(it) for it in await asyncio.to_thread(activation.registry.list)],
        }

    async def comparison(self, one: str, other: str) -> dict[str, Any]:
        """As ComparisonDocument. Raises NotFound, ModelUnusable."""
        first, second = await self._listed(one), await self._listed(other)
        labels = [set(it.labels) for it in (first, second)]
        metrics = [it.manifest.metrics if it.manifest else {} for it in (first, second)]
        return {
            "one": self._shown(first),
            "other": self._shown(second),
            "metrics": metrics_side_by_side(*metrics),
            "only_in_one": sorted(labels[0] - labels[1]),
            "only_in_other": sorted(labels[1] - labels[0]),
        }

    async def forget(self, ref: str) -> None:
        """Delete a version. Raises as `Activation.delete`."""
        await self._activation.delete(ref)

    async def imported(self, request: Request) -> str:
        """The version in the request's body, NAME:VERSION, taken in. Raises the IMPORT_ERRORS."""
        announced = int(digits(request.headers.get("content-length")))
        async with self._inbox.receive(partial(pass_file, request), announced=announced) as (arrival, _):
            return await asyncio.to_thread(self._imported, arrival.path)

    def _shown(self, listed: Listed) -> dict[str, Any]:
        return version_document(listed, self._activation.served, self._activation.previous)

    async def _listed(self, ref: str) -> Listed:
        try:
            return await asyncio.to_thread(self._activation.registry.look, ref)
        except StartError as error:
            raise ModelUnusable(error.detail) from error

    def _imported(self, path: Path) -> str:
        with path.open("rb") as file:
            return import_version(self._activation.registry, file).ref

    async def _sent(self, listed: Listed) -> Response:
        """Written to a file first: what is found damaged on the way is an error then, not half a download."""
        file = await self._inbox.in_thread(tempfile.TemporaryFile)
        try:
            await self._inbox.in_thread(lambda: self._exported(listed.ref, file))
        except BaseException:
            file.close()
            raise
        headers = {
            "Content-Disposition": f'attachment; filename="{listed.ref.replace(":", "-")}.tar"',
            "Content-Length": str(os.fstat(file.fileno()).st_size),
        }
        return StreamingResponse(_pieces(file), headers=headers, media_type=TAR)

    def _exported(self, ref: str, file: BinaryIO) -> None:
        try:
            export_version(self._activation.registry, ref, file)
        except StartError as error:
            raise ModelUnusable(error.detail) from error
        file.seek(0)


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
