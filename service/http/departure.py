"""Noticing that a client has left. Starlette does not cancel a handler for it: we race the work with a watcher."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Message, Receive

from service.errors import ClientGone, GlimtError

T = TypeVar("T")

AHEAD_BYTES = 256 * 1024  # of a stream's body read before somebody asks for them


async def departure(receive: Receive) -> None:
    """Return when the client has left. To be awaited only after the request's body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled and becomes ClientGone when the client leaves first."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(departure(request.receive))
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone("The client left while its picture waited.")
        return task.result()
    finally:
        task.cancel()
        watcher.cancel()


class ReadAhead:
    """A `receive` that can be watched: while `watch` runs, the body is read a little ahead of who asks for it.

    Only who asks for more of a body learns that its sender has left; a stream whose window is full does not ask.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._watched = False
        self._failure: GlimtError | None = None

    async def receive(self) -> Message:
        """The next message, as ASGI has it."""
        while not self._messages:
            if self._failure:
                raise self._failure
            if not self._watched:
                return await self._receive()
            await self._change()
        message = self._messages.popleft()
        self._bytes -= len(message.get("body", b""))
        self._changed.set()
        return message

    async def watch(self) -> None:
        """Run it beside the work until the work is done: raises ClientGone when the client leaves."""
        self._watched = True
        while True:
            while self._bytes > AHEAD_BYTES:
                await self._change()
            try:
                message = await self._receive()
            except GlimtError as error:  # for who reads: nothing more of this body is taken
                self._failure = error
                self._changed.set()
                return
            if message["type"] == "http.disconnect":
                raise ClientGone("The client left before its stream ended.")
            self._messages.append(message)
            self._bytes += len(message.get("body", b""))
            self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
