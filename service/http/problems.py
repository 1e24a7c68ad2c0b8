"""Errors as answers: RFC 9457 application/problem+json, or for the page a fragment with the same words."""

import logging
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from service.errors import (
    BadRequest,
    BodyTooLarge,
    GlimtError,
    MethodNotAllowed,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)

log = logging.getLogger(__name__)

STARLETTE_ERRORS: dict[int, type[GlimtError]] = {404: NotFound, 405: MethodNotAllowed, 413: BodyTooLarge}


def problem(error: GlimtError, request_id: str = "") -> dict[str, Any]:
    """The members of the problem document."""
    return {
        "type": f"urn:glimt:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }


def error_headers(error: GlimtError | None) -> dict[str, str]:
    """The headers that belong to an error: when it will have passed, or what it takes to come in."""
    if isinstance(error, Unavailable | TooManyRequests):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}


def _sign_in(address: str) -> str:
    """Where a person signs in and comes back to the page with this address."""
    try:
        page = urlsplit(address)
    except ValueError:
        page = urlsplit("/")
    return "/sign-in?" + urlencode({"next": page.path + (f"?{page.query}" if page.query else "")})


def _is_page(request: Request) -> bool:
    """Whether a person goes to a page; a password a browser has sent already would be wrong at the next page too."""
    accept, headers = request.headers.get("accept", ""), request.headers
    return request.method == "GET" and "text/html" in accept and not {"hx-request", "authorization"} & set(headers)


def _methods_at(request: Request) -> list[str]:
    """What the path takes, over all of its routes: one path may have a route per method."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.path_regex.match(request.url.path)]
    return sorted({method for route in here for method in route.methods or ()})


class Problems:
    """The error table: what Starlette's exception handlers are made of."""

    def __init__(self, templates: Jinja2Templates) -> None:
        self._templates = templates

    async def on_glimt_error(self, request: Request, error: Exception) -> Response:
        """One of our own."""
        assert isinstance(error, GlimtError)
        if error.status == 500:
            log.error("%s: %s", error.code, error.detail, exc_info=error)
        return self._answer(request, error)

    async def on_http_exception(self, request: Request, error: Exception) -> Response:
        """Starlette's: unknown path, wrong method."""
        assert isinstance(error, HTTPException)
        known = STARLETTE_ERRORS.get(error.status_code, BadRequest if error.status_code < 500 else GlimtError)
        headers = dict(error.headers or {})
        words = error.detail
        if error.status_code == 404:
            words = f"There is nothing at {request.url.path}."
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods_at(request))
            words = f"{request.method} is not allowed here; allowed: {headers['Allow']}."
        response = self._answer(request, known(words))
        response.headers.update(headers)
        return response

    async def on_unknown(self, request: Request, error: Exception) -> Response:
        """A fault of ours: the client learns nothing, the log everything."""
        return self._answer(request, GlimtError("The fault is ours and in the log; the request id finds it."))

    def _answer(self, request: Request, error: GlimtError) -> Response:
        content = problem(error, request.scope.get("request_id", ""))
        headers = error_headers(error)
        if isinstance(error, Unauthorized) and _is_page(request):
            return RedirectResponse(_sign_in(str(request.url)), 303, {"Cache-Control": "no-store"})
        if isinstance(error, Unauthorized) and "hx-request" in request.headers:
            headers["HX-Redirect"] = _sign_in(request.headers.get("hx-current-url", "/"))
        if "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers:
            name = "_problem.html" if "hx-request" in request.headers else "problem.html"
            return self._templates.TemplateResponse(request, name, content, status_code=error.status, headers=headers)
        return Response(orjson.dumps(content), error.status, headers, media_type="application/problem+json")
