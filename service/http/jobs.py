"""Bulk jobs over HTTP: an archive comes in, and how it goes and what came of it goes out. Knows no zip, no SQL."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.errors import BadRequest, BodyTooLarge, NotFound, TooManyRequests
from service.http import job_results
from service.http.job_documents import (
    EndJobQuery,
    ItemDocument,
    ItemsQuery,
    JobDocument,
    JobsQuery,
    NewJobQuery,
    Pair,
    ReportDocument,
    ResultsQuery,
    ZipForm,
    item_document,
    report_document,
)
from service.http.operation import (
    CSV,
    ETAG,
    IF_NONE_MATCH,
    JSON,
    LOCATION,
    MULTIPART,
    NDJSON,
    WRITE_ERRORS,
    X_COMPLETE,
    ZIP,
    Errors,
    Operation,
)
from service.http.own_jobs import OwnJobs
from service.http.query import read_query
from service.http.sessions import NOT_STORED
from service.store.jobs import Job

JOB_ERRORS: Errors = (BadRequest, BodyTooLarge, TooManyRequests, *WRITE_ERRORS)


class JobEndpoints:
    """The endpoints are its methods."""

    def __init__(self, own: OwnJobs) -> None:
        self._own = own

    @Operation(
        "jobs",
        {202: {JSON: JobDocument}},
        query=NewJobQuery,
        body={ZIP: bytes, MULTIPART: ZipForm},
        errors=JOB_ERRORS,
        sends=(LOCATION,),
    )
    async def create(self, request: Request) -> Response:
        """Classify a zip archive in the background. It is safe on disk when this is answered, and goes on after a
        restart. 429 while too many of one's jobs are not over."""
        job = await self._own.take_in(request, read_query(request, NewJobQuery).name)
        return self._answer(job, 202, {"Location": f"/api/jobs/{job.id}"})

    @Operation("jobs", {200: {JSON: list[JobDocument]}}, query=JobsQuery)
    async def index(self, request: Request) -> Response:
        """List one's own jobs, newest first."""
        query = read_query(request, JobsQuery)
        jobs = await self._own.all(request, limit=query.limit, before=query.before)
        return _json([self._own.document(job) for job in jobs])

    @Operation("jobs", {200: {JSON: JobDocument}})
    async def read(self, request: Request) -> Response:
        """See how a job goes. Cheap enough to be asked each second."""
        return self._answer(await self._own.one(request))

    @Operation("jobs", {200: {JSON: JobDocument}, 204: {}}, query=EndJobQuery, errors=WRITE_ERRORS)
    async def delete(self, request: Request) -> Response:
        """Cancel a job that is not over: 200 and the job, whose answers so far stay. One that is over is removed with
        its answers and its archive: 204. It may end while the request is under way: who means to cancel and nothing
        else says ?keep=true, and then has it back as it ended."""
        keep = read_query(request, EndJobQuery).keep
        job = await self._own.one(request)
        if job.is_over and not keep:
            await self._own.forget(job)
            return Response(status_code=204)
        return self._answer(await self._own.cancel(request))

    @Operation(
        "jobs",
        {200: {JSON: list[ItemDocument] | list[Pair], NDJSON: ItemDocument, CSV: str}},
        query=ResultsQuery,
        sends=(X_COMPLETE,),
    )
    async def results(self, request: Request) -> Response:
        """Download the answers, in the archive's order, by ?format= or Accept. Of a job that is not done, those there
        are so far: X-Complete is false then, and the file's name says so."""
        form = read_query(request, ResultsQuery).format
        job = await self._own.one(request)
        form = job_results.chosen(form, request.headers.get("accept", ""))
        headers = NOT_STORED | {
            "Content-Disposition": job_results.disposition(job, form),
            "X-Complete": "true" if job.status == "done" else "false",
            "Vary": "Accept",
        }
        rows = job_results.rows(self._own.store.all_items(job.id, least=job.settled), form)
        return StreamingResponse(rows, 200, headers, job_results.MEDIA[form])

    @Operation("jobs", {200: {JSON: ReportDocument}})
    async def report(self, request: Request) -> Response:
        """See a job in figures. Where the archive has folders named as classes, they are taken for the truth: accuracy,
        confusion matrix, and precision, recall and F1 of each class."""
        job = await self._own.one(request)
        labels, accuracy = await self._own.store.labels(job.id), await self._own.accuracy(job)
        return await asyncio.to_thread(lambda: _json(report_document(job, labels, accuracy)))

    @Operation("jobs", {200: {JSON: list[ItemDocument]}}, query=ItemsQuery)
    async def items(self, request: Request) -> Response:
        """List answers in the archive's order, a page at a time: all, or those of a label, a status, a low score."""
        query = read_query(request, ItemsQuery)
        job = await self._own.one(request)
        found = await self._own.store.items(job.id, query.chosen, after=query.after, limit=query.limit)
        return _json([item_document(item) for item in found])

    @Operation("jobs", {200: {"image/jpeg": bytes}, 304: {}}, takes=(IF_NONE_MATCH,), sends=(ETAG,), errors=(NotFound,))
    async def thumbnail(self, request: Request) -> Response:
        """See a picture of the archive, small: within 128 by 128 pixels. Its owner's browser asks each time whether it
        still may."""
        job, item = await self._own.item(request)
        headers = {"Cache-Control": "private, no-cache", "ETag": f'"{item.image_sha256}"'}
        if item.image_sha256 and request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(await self._own.thumbnail(job, item), 200, headers, "image/jpeg")

    def _answer(self, job: Job, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
        return _json(self._own.document(job), status, headers)


def _json(content: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return Response(body, status, {**NOT_STORED, **headers}, media_type=JSON)
