"""The pages of training: bring labelled pictures, start a run, watch it learn, and see what came of it."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.errors import ClientGone, Conflict, GlimtError, InvalidField, NotFound
from service.http.access import name_of
from service.http.job_queries import MAX_LABEL_CHARS, ZipForm
from service.http.operation import GO, MULTIPART, PAGE, WRITE_ERRORS, Errors, Operation, form
from service.http.presentation import Wrong, masthead
from service.http.problems import error_headers, problem
from service.http.query import read_query
from service.http.sessions import NOT_STORED, go
from service.http.trainer_desk import TrainerDesk
from service.http.training import UPLOAD_ERRORS
from service.http.training_documents import run_document, run_documents
from service.http.training_form import RunForm, settings, wanted_of
from service.http.training_view import cell, view
from service.http.uploads import read_fields
from service.inference.classifier import Classifier
from service.models.activation import Activation
from service.settings import MIB, Settings
from service.store.feedback import FeedbackStore
from service.training.charts import curves

BEGIN_ERRORS: Errors = (InvalidField, Conflict, NotFound, *WRITE_ERRORS)
DONE = {"dataset": "The dataset is removed.", "run": "The run is removed. What it published stays among the models."}
"""What the page says first, by the `done` in its address."""

log = structlog.get_logger()


class DoneQuery(BaseModel):
    """What was done just now."""

    done: str = ""


class LiveQuery(BaseModel):
    """Whether the run is watched on its own page, and how many epochs are drawn there."""

    model_config = ConfigDict(extra="forbid")

    page: Literal["own", ""] = ""
    epochs: int = Field(0, ge=0)


class CellQuery(BaseModel):
    """A cell of the confusion matrix."""

    model_config = ConfigDict(extra="forbid")

    truth: str = Field(max_length=MAX_LABEL_CHARS, description="What the pictures show.", examples=["cat"])
    label: str = Field(max_length=MAX_LABEL_CHARS, description="What they were taken for.", examples=["bird"])


class TrainingPages:
    """The endpoints and what they need. Without JavaScript each answers with a whole page."""

    def __init__(
        self,
        desk: TrainerDesk,
        activation: Activation,
        classifier: Classifier,
        said: FeedbackStore,
        templates: Jinja2Templates,
        settings: Settings,
    ) -> None:
        self._desk = desk
        self._activation = activation
        self._classifier = classifier
        self._said = said
        self._templates = templates
        self._max_bytes = settings.max_zip_bytes

    @Operation("page", PAGE, query=DoneQuery)
    async def index(self, request: Request) -> Response:
        """Datasets, runs, and the form to start one."""
        return await self._index(request, done=DONE.get(read_query(request, DoneQuery).done))

    @Operation("page", PAGE | GO, body={MULTIPART: ZipForm}, errors=UPLOAD_ERRORS)
    async def create_dataset(self, request: Request) -> Response:
        """A zip of class folders from the page's form: its row, or the page again."""
        try:
            about = await self._desk.take_in(request)
        except GlimtError as error:
            if _is_fragment(request) or isinstance(error, ClientGone):
                raise
            return await self._index(request, error)
        log.info("dataset uploaded", who=name_of(request), dataset=about.id, classes=len(about.classes))
        return self._render(request, "_dataset.html", dataset=about) if _is_fragment(request) else go("/training")

    @Operation("page", GO)
    async def remove_dataset(self, request: Request) -> Response:
        """Runs that have gathered its pictures keep those."""
        await self._desk.trainings.in_thread(partial(self._desk.datasets.remove, request.path_params["dataset"]))
        return go("/training?done=dataset")

    @Operation("page", PAGE | GO, body=form(RunForm), errors=BEGIN_ERRORS)
    async def create(self, request: Request) -> Response:
        """Start a run: its page, or the form again with the reason."""
        fields = await read_fields(request)
        try:
            run = await self._desk.begin(wanted_of(fields))
        except GlimtError as error:
            return await self._index(request, error, fields)
        log.info("training begun", who=name_of(request), run=run.id)
        return go(f"/training/{run.id}")

    @Operation("page", PAGE)
    async def run(self, request: Request) -> Response:
        """How it goes, and what came of it."""
        return await self._run(request)

    @Operation("page", PAGE, query=LiveQuery)
    async def live(self, request: Request) -> Response:
        """A run's row, asked for each second while it is not over."""
        return await self._row(request, read_query(request, LiveQuery))

    @Operation("page", PAGE)
    async def curves(self, request: Request) -> Response:
        """The curves of its epochs so far."""
        epochs = await self._desk.trainings.in_thread(lambda: self._desk.run(request).epochs())
        return self._render(request, "_training_curves.html", charts=curves(epochs))

    @Operation("page", PAGE, query=CellQuery)
    async def cell(self, request: Request) -> Response:
        """Test pictures of one class that were taken for another."""
        run = await self._desk.trainings.in_thread(lambda: self._desk.run(request))
        query = read_query(request, CellQuery)
        about, (count, samples) = await self._desk.trainings.in_thread(
            lambda: (run_document(run), cell(run, query.truth, query.label))
        )
        name = "_training_cell.html" if _is_fragment(request) else "training_cell.html"
        return self._render(request, name, run=about, count=count, samples=samples, cell=query)

    @Operation("page", PAGE | GO, query=LiveQuery, errors=(Conflict,))
    async def cancel(self, request: Request) -> Response:
        """End it; what it has learnt is kept."""
        query, run = read_query(request, LiveQuery), await self._desk.cancel(request)
        log.info("training cancelled", who=name_of(request), run=run.id)
        return await self._row(request, query) if _is_fragment(request) else go(f"/training/{run.id}")

    @Operation("page", PAGE | GO, errors=(Conflict,))
    async def resume(self, request: Request) -> Response:
        """Go on with one that failed or was cancelled: its page, with the reason if that cannot be."""
        try:
            run = await self._desk.resume(request)
        except Conflict as error:
            return await self._run(request, error)
        log.info("training resumed", who=name_of(request), run=run.id)
        return go(f"/training/{run.id}")

    @Operation("page", PAGE | GO, errors=(Conflict,))
    async def remove(self, request: Request) -> Response:
        """With its pictures. What it published stays."""
        try:
            await self._desk.remove(request)
        except Conflict as error:
            return await self._run(request, error)
        return go("/training?done=run")

    async def _row(self, request: Request, query: LiveQuery) -> Response:
        about, epochs, ending = await self._desk.trainings.in_thread(lambda: self._standing(request))
        told = {"HX-Trigger": "epochs"} if query.page and epochs != query.epochs else {}
        if query.page and about["state"] in ("done", "failed", "cancelled"):
            told = {"HX-Refresh": "true"}
        return self._render(
            request, "_training_run.html", headers=told, about=about, page=query.page, epochs=epochs, ending=ending
        )

    def _standing(self, request: Request) -> tuple[dict[str, Any], int, bool]:
        run = self._desk.run(request)
        return run_document(run), len(run.epochs()), self._desk.trainings.is_ending(run)

    async def _run(self, request: Request, error: GlimtError | None = None) -> Response:
        shown = await self._desk.trainings.in_thread(lambda: view(self._desk.run(request)))
        version = shown.about["version"]
        return self._render(
            request,
            "training_run.html",
            error,
            view=shown,
            about=shown.about,
            epochs=shown.epochs,
            page="own",
            is_served=version is not None and version == self._activation.served,
        )

    async def _index(
        self,
        request: Request,
        error: GlimtError | None = None,
        fields: Mapping[str, str] | None = None,
        done: str | None = None,
    ) -> Response:
        common, more = settings()
        runs, datasets = await self._desk.trainings.in_thread(self._all)
        known = {setting.name for setting in (*common, *more)} | {"name", "data"}
        at = error.detail.partition(":")[0] if error and fields is not None else ""
        return self._render(
            request,
            "training.html",
            error if at not in known else None,
            status_code=error.status if error else 200,
            runs=runs,
            datasets=datasets,
            labelled=await self._said.count_labelled(),
            common=common,
            more=more,
            form=fields or {},
            wrong=Wrong(at, error.detail, error) if error and at in known else None,
            done=done,
            max_bytes=self._max_bytes,
            max_mib=self._max_bytes // MIB,
        )

    def _all(self) -> tuple[list[dict[str, Any]], list[Any]]:
        return run_documents(self._desk.trainings.runs), self._desk.datasets.all()

    def _render(
        self,
        request: Request,
        name: str,
        error: GlimtError | None = None,
        *,
        status_code: int | None = None,
        headers: Mapping[str, str] = NOT_STORED,
        **said: Any,
    ) -> Response:
        context = masthead(self._classifier, request) | said
        context["problem"] = problem(error, request.scope.get("request_id", "")) if error else None
        status = status_code or (error.status if error else 200)
        headers = {**NOT_STORED, **error_headers(error), **headers}
        return self._templates.TemplateResponse(request, name, context, status_code=status, headers=headers)


def _is_fragment(request: Request) -> bool:
    return "hx-request" in request.headers
