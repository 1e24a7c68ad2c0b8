"""The page of model versions, for admins: which one answers, and everything that changes that. Plain forms."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.errors import ClientGone, Conflict, GlimtError, InvalidField, ModelUnusable, NotFound
from service.http.access import name_of
from service.http.documents import Absent, example
from service.http.model_documents import ComparisonQuery
from service.http.models import IMPORT_ERRORS, ModelEndpoints
from service.http.operation import GO, MULTIPART, PAGE, WRITE_ERRORS, Errors, Operation, form
from service.http.presentation import Wrong, light, masthead
from service.http.problems import error_headers
from service.http.query import read_query
from service.http.sessions import NOT_STORED, go
from service.http.uploads import read_fields
from service.inference.classifier import Classifier
from service.models.activation import Activation

CHANGE_ERRORS: Errors = (InvalidField, NotFound, Conflict, ModelUnusable, *WRITE_ERRORS)
SHARES = (1, 5, 10, 25, 50, 100)
"""Per cent of the pictures, to choose among."""
DONE = {
    "activated": "It answers from now on.",
    "rolled-back": "What answered before answers again.",
    "deleted": "The version is deleted.",
    "imported": "The version is here. It is not served yet.",
    "trying": "It is being tried out.",
    "stopped": "It is not tried out any more.",
}
"""What the page says first, by the `done` in its address."""

log = structlog.get_logger()


class VersionForm(BaseModel):
    """Which version."""

    model_config = example({"ref": "pets:3b1f0c9d2a77"})

    ref: str
    override: str | Absent = Field(None, description="Not empty: serve it though it was not better.")


class TrialForm(BaseModel):
    """Which version, and for what share of the pictures."""

    model_config = example({"ref": "pets:3b1f0c9d2a77", "share": "10"})

    ref: str
    share: str = Field("10", description="Per cent.")


class TarForm(BaseModel):
    """An exported version."""

    file: bytes


class ModelPages:
    """The endpoints and what they need."""

    def __init__(
        self, endpoints: ModelEndpoints, activation: Activation, classifier: Classifier, templates: Jinja2Templates
    ) -> None:
        self._endpoints = endpoints
        self._activation = activation
        self._classifier = classifier
        self._templates = templates

    @Operation("page", PAGE)
    async def index(self, request: Request) -> Response:
        """A page of all versions, and of what is tried out."""
        return await self._page(request)

    @Operation("page", PAGE, query=ComparisonQuery, errors=(ModelUnusable,))
    async def compare(self, request: Request) -> Response:
        """A page of two versions side by side."""
        other = read_query(request, ComparisonQuery).other
        found = await self._endpoints.comparison(request.path_params["ref"], other)
        content = {"found": found, "light": light(self._classifier)}
        return self._templates.TemplateResponse(request, "comparison.html", content, headers=NOT_STORED)

    @Operation("page", GO, body=form(VersionForm), errors=CHANGE_ERRORS)
    async def activate(self, request: Request) -> Response:
        """Serve the version of form `ref`."""
        said = await read_fields(request)
        override = bool(said.get("override"))
        return await self._changed(
            request, said, "activated", lambda: self._activation.activate(said.get("ref", ""), override=override)
        )

    @Operation("page", GO, errors=CHANGE_ERRORS)
    async def roll_back(self, request: Request) -> Response:
        """Serve again what was served before."""
        return await self._changed(request, {}, "rolled-back", self._activation.roll_back)

    @Operation("page", GO, body=form(VersionForm), errors=CHANGE_ERRORS)
    async def delete(self, request: Request) -> Response:
        """Delete the version of form `ref`."""
        said = await read_fields(request)
        return await self._changed(request, said, "deleted", lambda: self._endpoints.forget(said.get("ref", "")))

    @Operation("page", GO, body={MULTIPART: TarForm}, errors=IMPORT_ERRORS)
    async def take_in(self, request: Request) -> Response:
        """Take in an exported version, as form `file`."""
        return await self._changed(request, {}, "imported", lambda: self._endpoints.imported(request))

    @Operation("page", GO, body=form(TrialForm), errors=CHANGE_ERRORS)
    async def begin_trial(self, request: Request) -> Response:
        """Try out the version of form `ref`, on `share` per cent of the pictures."""
        said = await read_fields(request)
        return await self._changed(
            request, said, "trying", lambda: self._activation.try_out(said.get("ref", ""), _share(said))
        )

    @Operation("page", GO)
    async def end_trial(self, request: Request) -> Response:
        """Stop trying it out."""
        return await self._changed(request, {}, "stopped", self._activation.stop_trying)

    @Operation("page", PAGE)
    async def trial(self, request: Request) -> Response:
        """The fragment about what is tried out, as it is now."""
        return self._templates.TemplateResponse(request, "_trial.html", self._trial(), headers=NOT_STORED)

    @Operation("page", {200: {"image/jpeg": bytes}})
    async def difference(self, request: Request) -> Response:
        """A picture on which the two differed, small. Only the last ones are there."""
        for it in self._activation.differences:
            if it.sha256 == request.path_params["sha256"] and it.preview:
                return Response(it.preview, 200, NOT_STORED, "image/jpeg")
        raise NotFound("It is not among the last pictures on which the two differed.")

    async def _changed(
        self, request: Request, said: Mapping[str, str], done: str, change: Callable[[], Awaitable[object]]
    ) -> Response:
        """Go to the page that says so, or say on it what was wrong."""
        try:
            await change()
        except ClientGone:
            raise
        except GlimtError as error:
            return await self._page(request, Wrong(said.get("ref", ""), error.detail, error))
        log.info("models changed", done=done, ref=said.get("ref"), who=name_of(request))
        return go(f"/models?done={done}")

    async def _page(self, request: Request, wrong: Wrong | None = None) -> Response:
        status, headers = (wrong.error.status, error_headers(wrong.error)) if wrong else (200, {})
        content: dict[str, Any] = {
            "models": await self._endpoints.document(),
            **masthead(self._classifier, request),
            "shares": SHARES,
            "wrong": wrong,
            "done": None if wrong else DONE.get(request.query_params.get("done", "")),
        }
        return self._templates.TemplateResponse(
            request, "models.html", content | self._trial(), status, headers | NOT_STORED
        )

    def _trial(self) -> dict[str, Any]:
        return {
            "shadow": self._classifier.shadow,
            "differences": tuple(reversed(self._activation.differences)),
        }


def _share(said: Mapping[str, str]) -> float:
    """Of the form, in (0, 1]. Raises InvalidField."""
    for share in SHARES:
        if said.get("share", "10") == str(share):
            return share / 100
    raise InvalidField(f"share must be one of {', '.join(map(str, SHARES))} per cent.")
