"""What every request passes: a request id, one line in the log, the security headers. Pure ASGI, no parsing."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.errors import ClientGone

log = structlog.get_logger()

_CLIENTS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = ("/static/", "/healthz", "/readyz", "/health", "/metrics")
_MAX_PATH_CHARS = 500
_CLIENT_GONE = ClientGone.status

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


ObserveRequest = Callable[[str, str, int], None]
"""Told of each finished request: method, the route's pattern, status."""


SECURITY_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    # not no-referrer: with that, browsers send `Origin: null` with our own forms
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class SecurityHeaders:
    """The same headers on every answer; what was for somebody signed in is kept by nobody. A stricter policy of a
    handler's own stands: browsers apply both."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
                if scope.get("identity") and all(name.lower() != b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append((b"cache-control", b"no-store"))  # it is for this person's eyes
            await send(message)

        await self._app(scope, receive, send_with_headers)


class RequestLog:
    """Gives each request its id (`scope["request_id"]`, every log line, `X-Request-ID`) and logs its end.

    A client's own X-Request-ID is taken when it is 1-64 letters, digits, dots, dashes or underscores.
    Put it outside everything else, so that the last resort's 500 carries the id too.
    """

    def __init__(self, app: ASGIApp, observe: ObserveRequest = lambda method, route, status: None) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["request_id"] = _request_id(scope)
        with bound_contextvars(request_id=scope["request_id"]):
            await self._watch(scope, receive, send)

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        exchange = _Exchange(scope["request_id"], receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            exchange.left = True  # nobody is there to be told
        except asyncio.CancelledError:  # the grace time is over
            self._end(scope, exchange.status or 503, started, None)
            raise
        except Exception as error:
            self._end(scope, exchange.status or 500, started, error)
            if not exchange.answered:
                raise  # to the error handler; when that has answered in full already, there is no more to do
            return
        self._end(scope, _CLIENT_GONE if exchange.left else exchange.status, started, None)

    def _end(self, scope: Scope, status: int, started: float, error: Exception | None) -> None:
        _write_line(scope, status, started, error)
        self._observe(scope["method"], getattr(scope.get("route"), "path", "unmatched"), status)


class _Exchange:
    """One request and its answer, seen in passing. `status` 0: no answer has begun."""

    def __init__(self, request_id: str, receive: Receive, send: Send) -> None:
        self._request_id = request_id
        self._receive = receive
        self._send = send
        self.status = 0
        self.left = False
        self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.status:
            self.left = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = self._request_id
        elif message["type"] == "http.response.body":
            self.answered = not message.get("more_body", False)
        await self._send(message)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _CLIENTS_ID.fullmatch(offered := value.decode("latin-1")):
            return str(offered)
    return uuid.uuid4().hex


def _write_line(scope: Scope, status: int, started: float, error: Exception | None) -> None:
    path = scope.get("raw_path", b"").decode("ascii", "backslashreplace") or scope["path"]  # raw: no control codes
    write = log.error if error else log.debug if path.startswith(_QUIET) or path.endswith("/live") else log.info
    write(
        "request",
        method=scope["method"],
        path=path[:_MAX_PATH_CHARS],
        status=status,
        duration_ms=round((time.perf_counter() - started) * 1000, 2),
        **({"exc_info": error} if error else {}),
    )
