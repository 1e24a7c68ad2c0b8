"""Request ids, the log line and the security headers, round tiny apps."""

import logging
from typing import Any

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import LogCapture

from service.errors import ClientGone
from service.http import middleware
from service.http.middleware import CONTENT_SECURITY_POLICY, RequestLog, SecurityHeaders


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    """What the middleware logs, with the request's context merged in as the service does."""
    capture = LogCapture()
    processors: list[Any] = [structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, capture]
    monkeypatch.setattr(middleware, "log", structlog.wrap_logger(logging.getLogger("x"), processors))
    return capture


def client(app: ASGIApp) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(RequestLog(SecurityHeaders(app)), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://glimt")


async def hello(request: Request) -> Response:
    return PlainTextResponse(request.scope["request_id"])


async def broken(_request: Request) -> Response:
    raise ZeroDivisionError("secret of the house")


async def gone(_request: Request) -> Response:
    raise ClientGone()


async def on_gone(_request: Request, error: Exception) -> Response:
    return Response(status_code=499)


def app(*, gone_is_handled: bool = False) -> Starlette:
    routes = [Route(path, hello) for path in ("/", "/healthz", "/static/app.css", "/{rest:path}/x")]
    routes += [Route("/broken", broken), Route("/gone", gone)]
    return Starlette(routes=routes, exception_handlers={ClientGone: on_gone} if gone_is_handled else {})


async def test_every_request_is_one_line(lines: LogCapture) -> None:
    """Method, path without the query, status, duration and request id."""
    async with client(app()) as web:
        answer = await web.post("/?token=secret")
    (line,) = lines.entries
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "path": "/",
        "status": 405,
        "request_id": answer.headers["X-Request-ID"],
    }


async def test_a_clients_request_id_is_taken_everywhere(lines: LogCapture) -> None:
    """The scope, the log and the answer carry the id that the client sent."""
    async with client(app()) as web:
        answer = await web.get("/", headers={"X-Request-ID": "Trace-7.b_1"})
    assert (answer.text, answer.headers.get_list("X-Request-ID")) == ("Trace-7.b_1", ["Trace-7.b_1"])
    assert lines.entries[0]["request_id"] == "Trace-7.b_1"


@pytest.mark.parametrize("offered", ["", "a" * 65, "a b", "a\x1b[31m", "é"])
async def test_another_request_id_is_replaced(lines: LogCapture, offered: str) -> None:
    """What could break a log or a header is not repeated."""
    async with client(app()) as web:
        answer = await web.get("/", headers=[(b"X-Request-ID", offered.encode())])
    assert answer.text != offered
    assert len(answer.headers["X-Request-ID"]) == 32


async def test_ids_differ_and_do_not_leak_into_what_comes_after(lines: LogCapture) -> None:
    """Two requests, two ids; outside a request there is none."""
    async with client(app()) as web:
        answers = [await web.get("/") for _ in range(2)]
    assert answers[0].text != answers[1].text
    assert "request_id" not in structlog.contextvars.get_contextvars()


@pytest.mark.parametrize("path", ["/healthz", "/static/app.css"])
async def test_health_and_static_files_are_debug(lines: LogCapture, path: str) -> None:
    """A probe every second does not fill the log."""
    async with client(app()) as web:
        await web.get(path)
    assert lines.entries[0]["log_level"] == "debug"


async def test_a_path_with_control_codes_stays_encoded(lines: LogCapture) -> None:
    """A client cannot write to the operator's terminal through the path."""
    async with client(app()) as web:
        await web.get("/%1b[2J%0aforged/x")
    assert lines.entries[0]["path"].isprintable()
    assert lines.entries[0]["path"].startswith("/%1b")


async def test_a_fault_of_ours_is_logged_with_its_stack_trace(lines: LogCapture) -> None:
    """The client's 500 carries the id that finds the trace in the log, and nothing of the fault."""
    async with client(app()) as web:
        answer = await web.get("/broken")
    (line,) = lines.entries
    assert (answer.status_code, line["status"], line["log_level"]) == (500, 500, "error")
    assert "ZeroDivisionError: secret of the house" in line["exception"]
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"] == line["request_id"]
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY


async def test_a_fault_nobody_answered_goes_on_to_the_error_handler(lines: LogCapture) -> None:
    """Inside another error handler the exception is logged and passed on, not swallowed."""

    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(RequestLog(bare)), base_url="http://glimt") as web:
        with pytest.raises(ZeroDivisionError):
            await web.get("/")
    assert lines.entries[0]["status"] == 500


@pytest.mark.parametrize("gone_is_handled", [True, False])
async def test_client_gone_is_499(lines: LogCapture, gone_is_handled: bool) -> None:
    """Whether an error handler turned it into an answer or not: 499, no stack trace, no error."""
    sent: list[Message] = []
    await RequestLog(app(gone_is_handled=gone_is_handled))(http_scope("/gone"), left, collect(sent))
    (line,) = lines.entries
    assert (line["status"], line["log_level"], "exception" in line) == (499, "info", False)


async def test_a_client_that_left_before_the_answer_is_499(lines: LogCapture) -> None:
    """The handler answered 200, but to nobody."""

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await PlainTextResponse("late")(scope, receive, send)

    await RequestLog(late)(http_scope("/"), left, collect([]))
    assert lines.entries[0]["status"] == 499


async def test_a_disconnect_after_the_answer_began_is_not_499(lines: LogCapture) -> None:
    """Servers report a disconnect after every complete answer; that is no departure."""

    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("early")(scope, receive, send)
        await receive()

    await RequestLog(early)(http_scope("/"), left, collect([]))
    assert lines.entries[0]["status"] == 200


async def test_every_answer_has_the_security_headers(lines: LogCapture) -> None:
    """T40: 200 and 404 alike."""
    async with client(app()) as web:
        for path in ("/", "/nowhere"):
            headers = (await web.get(path)).headers
            assert headers["Content-Security-Policy"] == (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
                "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            )
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("wrap", [RequestLog, SecurityHeaders])
async def test_what_is_not_http_passes_untouched(wrap: type[RequestLog] | type[SecurityHeaders]) -> None:
    """The lifespan reaches the app with its own receive and send."""
    seen: list[Any] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend((scope, receive, send))

    scope: Scope = {"type": "lifespan"}
    send = collect([])
    await wrap(inner)(scope, left, send)
    assert seen == [scope, left, send]
    assert scope == {"type": "lifespan"}


def http_scope(path: str) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "query_string": b"",
    }


async def left() -> Message:
    return {"type": "http.disconnect"}


def collect(sent: list[Message]) -> Send:
    async def send(message: Message) -> None:
        sent.append(message)

    return send
