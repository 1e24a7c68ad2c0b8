"""A request and its answer between uvicorn and the app: the app is told when reading failed, and who is answered while
he still sends is not hung up on before he can have read that."""

from collections.abc import Callable

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.errors import GlimtError
from service.http.uploads import announced

SMALL_REST_BYTES = 256 * 1024
"""Of a refused body is read and forgotten, and the connection goes on; for more it costs less to make a new one."""


class Exchange:
    """The app, as uvicorn calls it for this `cycle`. `failure` is asked why no more of the body will come;
    `hang_up_later` is told that the connection must end, but not before the rest of the body was waited for."""

    def __init__(
        self,
        cycle: RequestResponseCycle,
        app: ASGI3Application,
        failure: Callable[[RequestResponseCycle], GlimtError | None],
        hang_up_later: Callable[[], None],
    ) -> None:
        self._cycle = cycle
        self._app = app
        self._failure = failure
        self._hang_up_later = hang_up_later

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if self._cycle.more_body:
            receive, send = self._receive, self._send
        await self._app(scope, receive, send)

    async def _receive(self) -> ASGIReceiveEvent:
        message = await self._cycle.receive()
        failure = self._failure(self._cycle)
        if failure is not None and message["type"] == "http.request":
            raise failure
        return message

    async def _send(self, message: ASGISendEvent) -> None:
        if self._cycle.more_body:
            self._answered_early(message)
        await self._cycle.send(message)

    def _answered_early(self, message: ASGISendEvent) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            if message["status"] >= 400 and self._has_long_rest():
                cycle.keep_alive = False
        elif message["type"] == "http.response.body" and not message.get("more_body") and not cycle.keep_alive:
            self._hang_up_later()
            cycle.keep_alive = True  # else uvicorn hangs up at once

    def _has_long_rest(self) -> bool:
        """Or one that may never come."""
        length = announced(self._cycle.scope["headers"])
        return not 0 < length <= SMALL_REST_BYTES or self._cycle.waiting_for_100_continue
