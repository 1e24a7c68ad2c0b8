"""Training over HTTP: datasets come in, runs are started, watched and ended, and what came of them goes out."""

from functools import partial

import structlog
from starlette.requests import Request
from starlette.responses import Response

from service.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    BadRequest,
    BodyTooLarge,
    Conflict,
    NotFound,
)
from service.http.access import name_of
from service.http.job_queries import NewJobQuery, ZipForm
from service.http.json_answer import json_answer
from service.http.json_body import read_model
from service.http.operation import (
    ETAG,
    IF_NONE_MATCH,
    JSON,
    LOCATION,
    MULTIPART,
    WRITE_ERRORS,
    ZIP,
    Errors,
    Operation,
)
from service.http.query import read_query
from service.http.trainer_desk import TrainerDesk
from service.http.training_documents import (
    MAX_BODY_BYTES,
    DatasetDocument,
    EndRunQuery,
    NewRun,
    RunDocument,
    WholeRunDocument,
    run_documents,
    whole_run_document,
)
from service.training.report import Report
from service.training.runs import Run

UPLOAD_ERRORS: Errors = (BadRequest, BodyTooLarge, ArchiveInvalid, ArchiveTooLarge, Conflict, *WRITE_ERRORS)
EXAMPLE = 'Right is: {"name": "pets", "dataset": "ID"}, or {"name": "pets", "from_feedback": true}.'

log = structlog.get_logger()


class TrainingEndpoints:
    """The endpoints are its methods."""

    def __init__(self, desk: TrainerDesk) -> None:
        self._desk = desk

    @Operation(
        "training",
        {201: {JSON: DatasetDocument}},
        query=NewJobQuery,
        body={ZIP: bytes, MULTIPART: ZipForm},
        errors=UPLOAD_ERRORS,
        sends=(LOCATION,),
    )
    async def create_dataset(self, request: Request) -> Response:
        """Upload labelled pictures to train with: a zip with a folder for each class."""
        about = await self._desk.take_in(request, read_query(request, NewJobQuery).name)
        log.info("dataset uploaded", who=name_of(request), dataset=about.id, classes=len(about.classes))
        return json_answer(about.model_dump(), 201, {"Location": f"/api/training/datasets/{about.id}"})

    @Operation("training", {200: {JSON: list[DatasetDocument]}})
    async def datasets(self, request: Request) -> Response:
        """List the uploaded datasets, newest first."""
        found = await self._desk.trainings.in_thread(self._desk.datasets.all)
        return json_answer([about.model_dump() for about in found])

    @Operation("training", {200: {JSON: DatasetDocument}})
    async def dataset(self, request: Request) -> Response:
        """See one dataset."""
        about = await self._desk.trainings.in_thread(partial(self._desk.datasets.get, request.path_params["dataset"]))
        return json_answer(about.model_dump())

    @Operation("training", {204: {}})
    async def delete_dataset(self, request: Request) -> Response:
        """Remove a dataset. Runs that have gathered its pictures keep those."""
        await self._desk.trainings.in_thread(partial(self._desk.datasets.remove, request.path_params["dataset"]))
        return Response(status_code=204)

    @Operation(
        "training",
        {202: {JSON: WholeRunDocument}},
        body={JSON: NewRun},
        errors=(BadRequest, Conflict, NotFound, *WRITE_ERRORS),
        sends=(LOCATION,),
    )
    async def create(self, request: Request) -> Response:
        """Train a model. It is measured on pictures it never saw, compared with the one that is served, and added to
        the models; it is not served by that. 409 while another run is being trained."""
        wanted = await read_model(request, NewRun, max_bytes=MAX_BODY_BYTES, about="A run", way_out=EXAMPLE)
        run = await self._desk.begin(wanted)
        log.info("training begun", who=name_of(request), run=run.id)
        return await self._answer(run, 202, {"Location": f"/api/training/runs/{run.id}"})

    @Operation("training", {200: {JSON: list[RunDocument]}})
    async def index(self, request: Request) -> Response:
        """List the runs, newest first."""
        runs = self._desk.trainings.runs
        found = await self._desk.trainings.in_thread(partial(run_documents, runs))
        return json_answer(found)

    @Operation("training", {200: {JSON: WholeRunDocument}})
    async def read(self, request: Request) -> Response:
        """See how a run goes. Cheap enough to be asked each second."""
        found = await self._desk.trainings.in_thread(lambda: whole_run_document(self._desk.run(request)))
        return json_answer(found)

    @Operation("training", {202: {JSON: WholeRunDocument}}, errors=(Conflict,))
    async def resume(self, request: Request) -> Response:
        """Go on with a run that failed or was cancelled, where it was."""
        run = await self._desk.resume(request)
        log.info("training resumed", who=name_of(request), run=run.id)
        return await self._answer(run, 202)

    @Operation("training", {200: {JSON: WholeRunDocument}, 204: {}}, query=EndRunQuery, errors=(Conflict,))
    async def delete(self, request: Request) -> Response:
        """Cancel a run: 200, and what it has learnt is kept, to be resumed. Nothing happens to one that is over. With
        ?remove=true it is removed with its pictures: 204. What it published stays."""
        if not read_query(request, EndRunQuery).remove:
            return await self._answer(await self._desk.cancel(request))
        await self._desk.remove(request)
        return Response(status_code=204)

    @Operation("training", {200: {JSON: Report}})
    async def report(self, request: Request) -> Response:
        """Read all figures of a run that is done. They are of its test pictures, each class, its calibration, and the
        comparison with the model that was served."""
        return Response(await self._desk.report(request), media_type=JSON)

    @Operation("training", {200: {"image/jpeg": bytes}, 304: {}}, takes=(IF_NONE_MATCH,), sends=(ETAG,))
    async def picture(self, request: Request) -> Response:
        """See a picture of a run as the model saw it. Reports name pictures by this index. A browser asks each time
        whether it still may."""
        run, index = request.path_params["run"], request.path_params["index"]
        headers = {"Cache-Control": "private, no-cache", "ETag": f'"{run}-{index}"'}  # one index is one picture, always
        found = await self._desk.picture(request)
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(found, 200, headers, "image/jpeg")

    @Operation("training", {200: {"image/png": bytes}})
    async def sheet(self, request: Request) -> Response:
        """See a sheet of a run: `augmentation`, or `map-1` to `map-3`, what its layers answer to three pictures."""
        return Response(await self._desk.sheet(request), media_type="image/png")

    async def _answer(self, run: Run, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        found = await self._desk.trainings.in_thread(partial(whole_run_document, run))
        return json_answer(found, status, headers)
