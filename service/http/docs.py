"""GET /openapi.json and its viewer at /docs."""

import asyncio
import hashlib

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.http.access import Door
from service.http.openapi import openapi
from service.http.operation import ETAG, IF_NONE_MATCH, JSON, PAGE, Operation
from service.http.presentation import masthead
from service.inference.classifier import Classifier


class Docs:
    """The endpoints and what they need."""

    def __init__(self, classifier: Classifier, templates: Jinja2Templates, *, login_required: bool) -> None:
        self._classifier = classifier
        self._templates = templates
        self._login_required = login_required
        self._document = b""

    @Operation("operations", {200: {JSON: dict}, 304: {}}, takes=(IF_NONE_MATCH,), sends=(ETAG,))
    async def document(self, request: Request) -> Response:
        """This document. OpenAPI 3.1 of every address there is; it changes only with a new version or new settings."""
        if not self._document:
            doors = [route for route in request.app.routes if isinstance(route, Door)]
            self._document = await asyncio.to_thread(self._make, doors)
        etag = f'"{hashlib.sha256(self._document).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match", "").removeprefix("W/") == etag:
            return Response(status_code=304, headers=headers)
        return Response(self._document, headers=headers, media_type=JSON)

    @Operation("page", PAGE)
    async def page(self, request: Request) -> Response:
        """A viewer for that document, in which every operation can be tried."""
        context = masthead(self._classifier, request)
        return self._templates.TemplateResponse(request, "docs.html", context)

    def _make(self, doors: list[Door]) -> bytes:
        return orjson.dumps(openapi(doors, login_required=self._login_required))
