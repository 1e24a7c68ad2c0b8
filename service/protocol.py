"""An HTTP/1.1 connection that waits for nobody for ever, on top of uvicorn's, which has a timer for idle ones only.

The head of a request has a deadline and a size, and its body must come on. Who is answered before all of his body is
here may send on for a moment: a client that is hung up on while it sends finds its connection reset, and no answer.
What cannot be read is answered as every error is.

All is done by events, with one timer at most, which is not moved for each request but looks again when it fires.
Who ends his side of the connection has left, as for most servers: so work for nobody is noticed.
"""

import asyncio
import math
import uuid
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar

import orjson
import structlog
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from service.errors import BadRequest, GlimtError, TooSlow
from service.exchange import Exchange
from service.framing import MAX_HEAD_BYTES, Framed, head_too_large, too_much_beside
from service.http.middleware import SECURITY_HEADERS, ObserveRequest
from service.http.problems import problem
from service.settings import Settings

log = structlog.get_logger()

MAX_WAITING = 100
"""Requests of one connection behind the one that is being answered: each takes 4 KB and 30 us, and uvicorn reads on."""
MIN_BYTES_PER_S = 1024
"""Of a body, as a mean over the body's timeout. The slowest mobile networks have ten times as much."""
STREAM_TIMEOUT_S = 60.0
"""Between two signs of life of a body whose answer has begun: who takes pictures one by one may pause."""
LINGER_S = 5.0
"""For the rest of a body that was answered already."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client is waited for, and how much is read of a body that was answered already."""

    head_s: float
    body_s: float
    rest_bytes: int


class Phase(Enum):
    """What comes next."""

    IDLE = auto()  # a request, if the client likes: uvicorn's timer runs, or the last one is being answered
    START = auto()  # a request, soon
    HEAD = auto()
    BODY = auto()
    REST = auto()  # what is left of a body that was answered: it is forgotten


class Timed(Framed):
    """See the module. To be used as a class that `timed` makes."""

    patience: ClassVar[Patience]

    @staticmethod
    def observe(method: str, route: str, status: int) -> None:
        """Told of each refusal that no app has seen; nothing here."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phase = Phase.IDLE
        self._steps = 0  # changes of phase
        self._bytes = 0  # that came in this phase, or in its window; those of its first chunk are not counted
        self._bare_bytes = 0  # of them since the last that were of the body itself
        self._due, self._window_s = math.inf, 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._was_paused = False
        self._deaf = False  # nothing that comes is understood any more
        self._closes = False
        self._failure: GlimtError | None = None  # of the body of the newest request

    # what comes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._step(Phase.START)
        self._wait(self.patience.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._due = math.inf
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        steps = self._steps
        self._bare_bytes += len(data)
        if not self._deaf:
            super().data_received(data)
        if self.flow.read_paused:
            self._was_paused = True
        if steps == self._steps:
            self._went_on(len(data))
        elif not self._deaf:
            self._began()

    def _began(self) -> None:
        """Another phase than before this chunk."""
        if self._phase is Phase.HEAD:
            self._wait(self.patience.head_s)
        elif self._phase is Phase.BODY:
            self._wait(self.patience.body_s)
        elif self._phase is Phase.IDLE:
            self._due = math.inf
            answered = self.cycle is not None and self.cycle.response_complete
            if answered and self.timeout_keep_alive_task is None and not self.transport.is_closing():
                handler = self.timeout_keep_alive_handler  # uvicorn thinks of it only where the answer came last
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, handler)

    def _went_on(self, size: int) -> None:
        self._bytes += size
        if self._deaf or self._phase is Phase.REST:
            if self._bytes > self.patience.rest_bytes:
                self._close()
        elif self._phase is Phase.HEAD and self._bytes > MAX_HEAD_BYTES:
            self._fail(head_too_large())
        elif self._phase is Phase.BODY and self._bare_bytes > MAX_HEAD_BYTES:
            self._fail(too_much_beside())
        elif self._phase is Phase.IDLE:  # line breaks before a request, which may go on for ever
            self._step(Phase.START)
            self._wait(self.patience.head_s)

    def on_message_begin(self) -> None:
        self._step(Phase.HEAD)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is Phase.HEAD:
            super().on_header(name, value)
        else:
            self.on_trailer()

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_WAITING:
            self._refuse(BadRequest(f"{MAX_WAITING} requests of this connection wait for their answers, the limit."))
        self._step(Phase.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bare_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        answered = self._phase is Phase.REST
        self._step(Phase.IDLE)
        super().on_message_complete()
        if answered and self._closes:
            self._close()

    # what is awaited

    def _step(self, phase: Phase) -> None:
        self._phase, self._bytes, self._bare_bytes, self._steps = phase, 0, 0, self._steps + 1

    def _wait(self, seconds: float) -> None:
        self._window_s = seconds
        self._due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(self._due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._due == math.inf or self.transport.is_closing():
            return
        if self.loop.time() < self._due:
            self._timer = self.loop.call_at(self._due, self._on_timer)
        elif self._was_paused and self._phase is not Phase.REST:  # we did not read: the client could not help it
            self._was_paused = self.flow.read_paused
            self._wait(self._window_s)
        else:
            self._on_due()

    def _on_due(self) -> None:
        self._due = math.inf
        if self._phase is Phase.BODY:
            self._judge_body()
        elif self._phase is Phase.HEAD:
            self._fail(TooSlow(f"The head of the request was not whole after {self.patience.head_s:g} s, the limit."))
        elif self._phase is Phase.REST or self.cycle is None or self.cycle.response_complete:
            self._close()
        else:
            self._step(Phase.IDLE)  # line breaks behind a request that is being answered

    def _judge_body(self) -> None:
        streams = self.cycle.response_started
        window_s = STREAM_TIMEOUT_S if streams else self.patience.body_s
        needed = 1 if streams else math.ceil(MIN_BYTES_PER_S * window_s)
        if self._bytes >= needed or self._window_s < window_s or self.cycle.waiting_for_100_continue:
            self._bytes = 0
            self._wait(window_s)
            return
        self._fail(
            TooSlow(
                f"Only {self._bytes:,} bytes of the body came in {window_s:g} s; at least {needed:,} must, until it is "
                "whole. Send it again over a better connection."
            )
        )

    # what is refused

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls it where httptools could not read on."""
        self._fail(self._refusal or BadRequest("This cannot be read as HTTP/1.1."))

    def _fail(self, error: GlimtError) -> None:
        """Read nothing any more. The error is the answer of the request whose body this was; who is waiting for another
        answer gets that one, and then the end; who is not gets the error."""
        self._deaf = True
        if self._closes:  # it has its answer, and was told that the connection ends
            return
        self._due = math.inf
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_answer(error))
            self.observe("", "unmatched", error.status)
            self._hang_up_later()
            self._linger()
            return
        self.cycle.keep_alive = False
        if self.cycle.more_body:
            self._failure = error
            self.cycle.message_event.set()

    def _failure_of(self, cycle: RequestResponseCycle) -> GlimtError | None:
        return self._failure if cycle is self.cycle else None

    # how it ends

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, Exchange(cycle, app, self._failure_of, self._hang_up_later))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._linger()

    def _hang_up_later(self) -> None:
        self._closes = True

    def _linger(self) -> None:
        """Forget what still comes, for a while."""
        self._step(Phase.REST)
        self._wait(LINGER_S)
        self.flow.resume_reading()
        if self._closes and self.transport.can_write_eof():
            self.transport.write_eof()  # the client need not wait for us to see the end of its answer

    def shutdown(self) -> None:
        if self._phase is Phase.REST:
            self._closes = True
        else:
            super().shutdown()

    def _close(self) -> None:
        self._due = math.inf
        super()._close()


def timed(settings: Settings, observe: ObserveRequest = Timed.observe) -> type[Timed]:
    """The connection of a service with these settings. Of a refused body as much is read as a picture may have: so who
    sends one can read why it was refused. `observe` is told of what no app has seen."""
    patience = Patience(settings.header_timeout_s, settings.body_timeout_s, rest_bytes=settings.max_image_bytes)
    own = {"patience": patience, "observe": staticmethod(observe), "write_s": settings.write_timeout_s}
    return type("Timed", (Timed,), own)


def _answer(error: GlimtError) -> bytes:
    """To what no app has seen."""
    request_id = uuid.uuid4().hex
    log.info("request", status=error.status, code=error.code, request_id=request_id)
    body = orjson.dumps(problem(error, request_id))
    headers = (
        *SECURITY_HEADERS,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    )
    return STATUS_LINE[error.status] + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + body
