"""A response that answers pictures while they are still arriving, one NDJSON line each, in completion order.

After the first byte an error is a line with the picture's name; the last line says how it ended.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.errors import ClientGone, Draining, GlimtError
from service.http.departure import ReadAhead
from service.http.multipart import Upload
from service.http.operation import NDJSON
from service.http.problems import problem
from service.inference.admission import Share

log = logging.getLogger(__name__)


class PredictionStream:
    """Reads `pictures`, which come out of `body`, at most `window` of them in flight: a client that sends faster waits.

    `answer` gives the document for one picture. When `draining` is set no further picture is read; those
    in flight are answered and the last line says `interrupted`. `share` counts what they hold; `hold` is closed at the
    end.
    """

    def __init__(
        self,
        request: Request,
        body: ReadAhead,
        pictures: AsyncIterator[Upload],
        answer: Callable[[Upload], Awaitable[dict[str, Any]]],
        draining: asyncio.Event,
        window: int,
        share: Share,
        hold: ExitStack,
    ) -> None:
        self._request_id: str = request.scope.get("request_id", "")
        self._body = body
        self._pictures = pictures
        self._answer = answer
        self._draining = draining
        self._window = window
        self._slots = asyncio.Semaphore(window)
        self._share = share
        self._hold = hold
        self._ok = self._failed = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", NDJSON.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        try:
            with self._hold:
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async with asyncio.TaskGroup() as group:
                    watcher = group.create_task(self._body.watch())
                    end = await self._read(group, send)
                    for _ in range(self._window):  # every slot is free again when everything is answered
                        await self._slots.acquire()
                    watcher.cancel()
                await _send_line(send, end | {"ok": self._ok, "failed": self._failed}, last=True)
        except* ClientGone:
            log.info("the client left its stream after %d answers", self._ok + self._failed)

    async def _read(self, group: asyncio.TaskGroup, send: Send) -> dict[str, Any]:
        """Start an answer for each picture as it arrives; how the reading ended."""
        interruption = asyncio.ensure_future(self._draining.wait())
        upcoming = asyncio.ensure_future(anext(self._pictures, None))
        index = 0
        try:
            while True:
                await asyncio.wait((upcoming, interruption), return_when=asyncio.FIRST_COMPLETED)
                if self._draining.is_set() or not upcoming.done():
                    return self._broken(Draining("The service is shutting down."), "interrupted")
                if (picture := upcoming.result()) is None:
                    return {"done": True}
                await self._slots.acquire()
                group.create_task(self._one(index, picture, send))
                index += 1
                upcoming = asyncio.ensure_future(anext(self._pictures, None))
        except ClientGone:
            raise
        except GlimtError as error:
            return self._broken(error, error.code)
        finally:
            interruption.cancel()
            upcoming.cancel()

    def _broken(self, error: GlimtError, code: str) -> dict[str, Any]:
        return {"done": False, "code": code, "detail": error.detail, "error": problem(error, self._request_id)}

    async def _one(self, index: int, picture: Upload, send: Send) -> None:
        line: dict[str, Any] = {"index": index, "filename": picture.filename}
        try:
            if picture.error:
                raise picture.error
            line |= await self._answer(picture)
            self._ok += 1
        except Exception as error:
            line["error"] = problem(_public(error), self._request_id)
            self._failed += 1
        await _send_line(send, line)
        self._share.drop(len(picture.data))
        self._slots.release()


def _public(error: Exception) -> GlimtError:
    if isinstance(error, GlimtError):
        return error
    log.error("a picture of a stream failed", exc_info=error)
    return GlimtError("The fault is ours and in the log; the request id finds it.")


async def _send_line(send: Send, line: dict[str, Any], *, last: bool = False) -> None:
    await send({"type": "http.response.body", "body": orjson.dumps(line) + b"\n", "more_body": not last})
