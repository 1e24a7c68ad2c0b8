"""Bulk jobs over HTTP: archives and folders come in, how it goes and what came of it goes out. Knows no zip, no SQL."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.errors import BadRequest, BodyTooLarge, Forbidden, InvalidField, NotFound, TooManyRequests
from service.http import job_results
from service.http.job_documents import ItemDocument, JobDocument, Pair, ReportDocument, item_document, report_document
from service.http.job_queries import (
    EndJobQuery,
    FolderBody,
    ItemsQuery,
    JobsQuery,
    NewJobQuery,
    ResultsQuery,
    ZipForm,
)
from service.http.json_answer import json_answer
from service.http.json_body import read_model
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
from service.http.thumbnails import thumbnail_answer
from service.store.job_rows import Job

JOB_ERRORS: Errors = (BadRequest, BodyTooLarge, InvalidField, TooManyRequests, *WRITE_ERRORS)
MAX_BODY_BYTES = 16 * 1024
"""Of a folder's path, escaped."""


class JobEndpoints:
    """The endpoints are its methods."""

    def __init__(self, own: OwnJobs) -> None:
        self._own = own

    @Operation(
        "jobs",
        {202: {JSON: JobDocument}},
        query=NewJobQuery,
        body={ZIP: bytes, MULTIPART: ZipForm, JSON: FolderBody},
        errors=(*JOB_ERRORS, Forbidden),
        sends=(LOCATION,),
    )
    async def create(self, request: Request) -> Response:
        """Classify a zip archive in the background. It is safe on disk when this is answered, but not looked into: one
        that cannot be used becomes a job that failed, with its `error`. A job goes on after a restart. 429 while too
        many of one's jobs are not over; 413 also when one's archives have too many bytes together. An admin may name
        a folder on the service's disk instead, as JSON."""
        name = read_query(request, NewJobQuery).name
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON:
            body = await read_model(request, FolderBody, max_bytes=MAX_BODY_BYTES, about="A job by JSON")
            job = await self._own.take_folder(request, body.folder)
        else:
            job = await self._own.take_in(request, name)
        return self._answer(job, 202, {"Location": f"/api/jobs/{job.id}"})

    @Operation("jobs", {200: {JSON: list[JobDocument]}}, query=JobsQuery)
    async def index(self, request: Request) -> Response:
        """List one's own jobs, newest first."""
        query = read_query(request, JobsQuery)
        jobs = await self._own.all(request, limit=query.limit, before=query.before)
        return json_answer([self._own.document(job) for job in jobs], headers=NOT_STORED)

    @Operation("jobs", {200: {JSON: JobDocument}})
    async def read(self, request: Request) -> Response:
        """See how a job goes. Cheap enough to be asked each second."""
        return self._answer(await self._own.one(request))

    @Operation("jobs", {200: {JSON: JobDocument}, 204: {}}, query=EndJobQuery, errors=WRITE_ERRORS)
    async def delete(self, request: Request) -> Response:
        """Cancel a job: 200 and the job, whose answers so far stay. Nothing happens to one that is over, so one that
        ends a moment earlier loses nothing. With ?remove=true it is removed, be it over or not, with its answers and
        its archive: 204. A folder's own files stay."""
        if not read_query(request, EndJobQuery).remove:
            return self._answer(await self._own.cancel(request))
        await self._own.forget(await self._own.one(request))
        return Response(status_code=204)

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
        return await asyncio.to_thread(lambda: json_answer(report_document(job, labels, accuracy), headers=NOT_STORED))

    @Operation("jobs", {200: {JSON: list[ItemDocument]}}, query=ItemsQuery)
    async def items(self, request: Request) -> Response:
        """List answers in the archive's order, a page at a time. All, or those of a label, a status, a low score, or
        the wrong ones where folders name classes."""
        query = read_query(request, ItemsQuery)
        job = await self._own.one(request)
        chosen = query.chosen(await self._own.classes_of(job) if query.wrong else frozenset())
        found = await self._own.store.items(job.id, chosen, after=query.after, limit=query.limit)
        return json_answer([item_document(item) for item in found], headers=NOT_STORED)

    @Operation("jobs", {200: {"image/jpeg": bytes}, 304: {}}, takes=(IF_NONE_MATCH,), sends=(ETAG,), errors=(NotFound,))
    async def thumbnail(self, request: Request) -> Response:
        """See a picture of the archive, small: within 128 by 128 pixels. Its owner's browser asks each time whether it
        still may."""
        job, item = await self._own.item(request)
        return await thumbnail_answer(request, item.image_sha256, lambda: self._own.thumbnail(job, item))

    def _answer(self, job: Job, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
        return json_answer(self._own.document(job), status, {**NOT_STORED, **headers})
