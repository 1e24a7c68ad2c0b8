"""The pages of bulk jobs: bring an archive, watch it, look at what came of it, correct what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.bulk.report import Matrix, matrix
from service.errors import ClientGone, Forbidden, GlimtError, NotFound
from service.http.access import identity_of
from service.http.job_queries import MAX_LABEL_CHARS, FolderBody, ZipForm
from service.http.jobs import JOB_ERRORS
from service.http.operation import GO, MULTIPART, PAGE, WRITE_ERRORS, Operation, form
from service.http.own_jobs import MAX_POSITION, OwnJobs
from service.http.presentation import masthead
from service.http.problems import error_headers, problem
from service.http.query import read_query
from service.http.sessions import NOT_STORED, go
from service.http.uploads import read_fields
from service.inference.classifier import Classifier
from service.settings import MIB, Settings
from service.store.feedback import MAX_ID, FeedbackStore
from service.store.job_rows import ItemFilter, ItemStatus, Job, JobItem

PAGE_JOBS = 20
PAGE_ITEMS = 60
MAX_CLASSES = 50
"""In a table: more of them nobody reads, and a matrix has their square."""
MAX_LABELS = 200
"""To choose among, the most frequent ones."""
HEATS = 5
"""Shades of the matrix's cells."""
_EMPTY = BeforeValidator(lambda text: None if text == "" else text)


class JobsPageQuery(BaseModel):
    """Which jobs the page lists."""

    model_config = ConfigDict(extra="forbid")

    before: int | None = Field(None, ge=1, le=MAX_ID, description="Those older than this one.")


class LiveQuery(BaseModel):
    """Whether the job is watched on its own page, which loads anew once it is over."""

    model_config = ConfigDict(extra="forbid")

    page: Literal["own", ""] = ""


class SheetQuery(BaseModel):
    """Which pictures the sheet shows. What a form leaves empty says nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: int = Field(-1, ge=-1, le=MAX_POSITION, description="The position of the last picture seen.")
    label: Annotated[str | None, _EMPTY] = Field(None, max_length=MAX_LABEL_CHARS, pattern=r"^[^\x00]*$")
    status: Annotated[ItemStatus | Literal["wrong"] | None, _EMPTY] = Field(
        None, description="wrong: those whose folder names a class that is not their first label."
    )
    most: Annotated[int | None, _EMPTY] = Field(None, ge=0, le=100, description="Per cent of confidence, at most.")

    def chosen(self, classes: frozenset[str]) -> ItemFilter:
        """As the store wants it. `classes` are those that folders name."""
        most = None if self.most is None else self.most / 100
        if self.status == "wrong":
            return ItemFilter(self.label, None, most, classes)
        return ItemFilter(self.label, self.status, most)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the shown matrix: `heat` is its share of the row, from 0 to HEATS."""

    count: int
    heat: int
    right: bool


class JobPages:
    """The endpoints and what they need. Without JavaScript each answers with a whole page."""

    def __init__(
        self,
        own: OwnJobs,
        feedback: FeedbackStore,
        classifier: Classifier,
        templates: Jinja2Templates,
        settings: Settings,
    ) -> None:
        self._own = own
        self._feedback = feedback
        self._classifier = classifier
        self._templates = templates
        self._settings = settings

    @Operation("page", PAGE, query=JobsPageQuery)
    async def index(self, request: Request) -> Response:
        """One's own jobs, newest first, and where to bring one."""
        return await self._index(request, read_query(request, JobsPageQuery).before)

    @Operation("page", PAGE | GO, body={MULTIPART: ZipForm}, errors=JOB_ERRORS)
    async def create(self, request: Request) -> Response:
        """An archive from the page's form: its row, or the page again."""
        try:
            job = await self._own.take_in(request)
        except GlimtError as error:
            if _is_fragment(request) or isinstance(error, ClientGone):
                raise
            return await self._index(request, None, error)
        return self._row(request, job) if _is_fragment(request) else go("/jobs")

    @Operation("page", PAGE | GO, body=form(FolderBody), errors=(*JOB_ERRORS, Forbidden))
    async def create_from_folder(self, request: Request) -> Response:
        """A folder of the service's disk, for admins: the page of its job, or the list with the reason."""
        try:
            job = await self._own.take_folder(request, (await read_fields(request)).get("folder", ""))
        except GlimtError as error:
            return await self._index(request, None, error)
        return go(f"/jobs/{job.id}")

    @Operation("page", PAGE, query=LiveQuery, errors=(NotFound,))
    async def live(self, request: Request) -> Response:
        """A job's row, asked for each second while it is not over."""
        page = read_query(request, LiveQuery).page
        return self._row(request, await self._own.one(request), page)

    @Operation("page", PAGE | GO, query=LiveQuery, errors=WRITE_ERRORS)
    async def cancel(self, request: Request) -> Response:
        """Stop it; what is answered stays."""
        page = read_query(request, LiveQuery).page
        job = await self._own.cancel(request)
        return self._row(request, job, page) if _is_fragment(request) else go(f"/jobs/{job.id}")

    @Operation("page", GO, errors=WRITE_ERRORS)
    async def remove(self, request: Request) -> Response:
        """With all its answers and its archive."""
        await self._own.forget(await self._own.one(request))
        return go("/jobs")

    @Operation("page", PAGE, query=SheetQuery)
    async def job(self, request: Request) -> Response:
        """How it goes, its report, and its pictures as a contact sheet."""
        query = read_query(request, SheetQuery)
        job = await self._own.one(request)
        chosen = query.chosen(await self._own.classes_of(job) if query.status == "wrong" else frozenset())
        items = await self._own.store.items(job.id, chosen, after=query.after, limit=PAGE_ITEMS + 1)
        sheet = self._sheet(query, items)
        sheet["said"] = await self._feedback.latest(job.owner, {it.image_sha256 for it in items if it.image_sha256})
        if _is_fragment(request):
            return self._render(request, "_job_sheet.html", job=job, **sheet)
        accuracy, labels = await self._own.accuracy(job), await self._own.store.labels(job.id)
        shown = matrix(accuracy, MAX_CLASSES) if accuracy else None
        return self._render(
            request,
            "job.html",
            job=job,
            about=self._own.document(job),
            accuracy=accuracy,
            top_5_says=len(self._classifier.classes.labels) > 5,  # of five classes it is always among them
            matrix=shown,
            cells=_cells(shown) if shown else (),
            most_classes=MAX_CLASSES,
            labels=dict(list(labels.items())[:MAX_LABELS]),
            more_labels=max(0, len(labels) - MAX_LABELS),
            job_days=self._settings.job_days,
            **sheet,
        )

    @Operation("page", PAGE, errors=(NotFound,))
    async def item(self, request: Request) -> Response:
        """One picture with its guesses, and the form to correct it."""
        job, item = await self._own.item(request)
        sha256 = item.image_sha256 or ""
        given = (await self._feedback.latest(job.owner, [sha256])).get(sha256)
        name = "_job_item.html" if _is_fragment(request) else "job_item.html"
        return self._render(request, name, job=job, item=item, about=self._about(job, item), given=given)

    def _about(self, job: Job, item: JobItem) -> dict[str, str]:
        """What feedback on it must say, and where its picture is."""
        model = self._classifier.model
        return {
            "predicted_class": item.label or "",
            "score": f"{item.score or 0:.6f}",
            "image_sha256": item.image_sha256 or "",
            "image_file_name": item.name[-255:],
            "model_name": model.name if model.version == item.model_version else "",
            "model_version": item.model_version or "",
            "job": str(job.id),
            "position": str(item.position),
        }

    def _sheet(self, query: SheetQuery, items: Sequence[JobItem]) -> dict[str, Any]:
        """One more than is shown: then there are further ones."""
        shown = items[:PAGE_ITEMS]
        further = query.model_copy(update={"after": shown[-1].position}) if len(items) > PAGE_ITEMS else None
        return {
            "items": shown,
            "query": query,
            "here": _here(query),
            "further": _here(further) if further else None,
            "first": _here(query.model_copy(update={"after": -1})) if query.after >= 0 else None,
        }

    def _row(self, request: Request, job: Job, page: str = "") -> Response:
        told = {"HX-Trigger": "answers"} if page and job.settled else {}  # for a sheet that has none yet
        if page and job.is_over:
            told = {"HX-Refresh": "true"}
        return self._render(request, "_job.html", about=self._own.document(job), page=page, headers=told)

    async def _index(self, request: Request, before: int | None, error: GlimtError | None = None) -> Response:
        jobs = await self._own.all(request, limit=PAGE_JOBS + 1, before=before)
        identity = identity_of(request)
        return self._render(
            request,
            "jobs.html",
            status_code=error.status if error else 200,
            headers=error_headers(error),
            abouts=[self._own.document(job) for job in jobs[:PAGE_JOBS]],
            older=jobs[PAGE_JOBS - 1].id if len(jobs) > PAGE_JOBS else None,
            before=before,
            problem=problem(error, request.scope.get("request_id", "")) if error else None,
            max_bytes=self._own.inbox.max_bytes,
            max_mib=self._own.inbox.max_bytes // MIB,
            max_jobs=self._own.inbox.max_jobs,
            folders=self._own.inbox.allowed if identity and identity.user and identity.is_admin else (),
        )

    def _render(
        self,
        request: Request,
        name: str,
        *,
        status_code: int = 200,
        headers: Mapping[str, str] = NOT_STORED,
        **said: Any,
    ) -> Response:
        context = masthead(self._classifier, request) | said
        headers = {**NOT_STORED, **headers}
        return self._templates.TemplateResponse(request, name, context, status_code=status_code, headers=headers)


def _cells(shown: Matrix) -> list[tuple[str, list[Cell]]]:
    """Rows of the matrix with their labels."""
    rows = []
    for i, (label, counts) in enumerate(zip(shown.labels, shown.rows, strict=True)):
        most = sum(counts) or 1
        rows.append((label, [Cell(count, -(-count * HEATS // most), i == j) for j, count in enumerate(counts)]))
    return rows


def _here(query: SheetQuery) -> str:
    """The page's own query."""
    said = query.model_dump(mode="json", exclude_defaults=True)
    return f"?{urlencode(said)}" if said else "?"


def _is_fragment(request: Request) -> bool:
    return "hx-request" in request.headers
