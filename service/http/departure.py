"""Noticing that a client has left. Starlette does not cancel a handler for it: we race the work with a watcher."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from service.errors import ClientGone

T = TypeVar("T")


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
