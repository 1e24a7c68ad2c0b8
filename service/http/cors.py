"""Pages of other sites that may call the service from a browser: none, unless the operator names them."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "X-Request-ID")
ANSWER_HEADERS = (
    "X-Request-ID",
    "Server-Timing",
    "Retry-After",
    "Location",
    "ETag",
    "X-Complete",
    "Content-Disposition",
    "WWW-Authenticate",
)


def open_to(origins: Sequence[str], app: ASGIApp) -> ASGIApp:
    """`app`, whose answers pages of these origins may read ("*": of any), without anybody's cookies.

    Whether what they ask is done as well, the gate decides: it knows the same origins.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app, origins, allow_methods=METHODS, allow_headers=REQUEST_HEADERS, expose_headers=ANSWER_HEADERS
    )
