"""The real service on an engine and a decoder that do nothing, and two ways to ask it: what is left is the service.

This looks inside: the cost of a request's parts cannot be seen from outside.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app import Glimt, create_app
from service.inference.engines.engine import Pixels, Scores
from service.inference.labels import ClassTable
from service.inference.predictions import ImageInfo, InputSpec, ModelInfo
from service.models.architectures import ARCHITECTURES
from service.models.served import ServedModel
from service.server import Server
from service.settings import Settings

CLASSES = 1000
CLASS_TABLE = ClassTable(tuple(f"class_{n}" for n in range(CLASSES)), (None,) * CLASSES, ("",) * CLASSES)
CHUNK = 64 * 1024  # what uvicorn hands over at most
MICRO = 1e6
PIXELS: Pixels = np.zeros((224, 224, 3), np.uint8)

Cost = Callable[[int], Awaitable[float]]
"""Sends so many requests; the mean CPU microseconds of one, over all threads of this process."""

CLIENT = """
import os, socket, sys
port, size = map(int, sys.argv[1:])
connection = socket.create_connection(("127.0.0.1", port))
head = ["POST /predict HTTP/1.1", "Host: localhost", "Content-Type: image/jpeg", f"Content-Length: {size}", "", ""]
head = "\\r\\n".join(head).encode()
picture, answers = os.urandom(size - 8), connection.makefile("rb")
for requests in sys.stdin:
    for _ in range(int(requests)):
        connection.sendall(head + picture + os.urandom(8))
        assert b" 200 " in answers.readline()
        length = 0
        while (line := answers.readline()) != b"\\r\\n":
            length = int(line[15:]) if line.lower().startswith(b"content-length:") else length
        answers.read(length)
    print("done", flush=True)
"""


class IdleEngine:
    """Answers at once: what is left is the service."""

    name = "idle"
    _scores = np.full((256, CLASSES), 1 / CLASSES, np.float32)

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Nothing to warm."""

    def predict(self, pixels: Pixels) -> Scores:
        return self._scores[: len(pixels)]

    def close(self) -> None:
        """Nothing to close."""


def not_decoded(*_: Any, sha256: str | None = None, **__: Any) -> tuple[Pixels, ImageInfo]:
    """In place of images.read."""
    return PIXELS, ImageInfo(sha256 or "", 500, 375, "JPEG")


def make_app(settings: Settings) -> Glimt:
    """The real app on the idle engine."""
    served = ServedModel(
        info=ModelInfo("idle", "1", "idle", "none"),
        architecture=ARCHITECTURES["resnet50"],
        input=InputSpec(size=224, normalisation="caffe"),
        classes=CLASS_TABLE,
        weights_file=None,
        is_demo=False,
        notice=None,
        why="a measurement",
    )
    return create_app(settings, served, IdleEngine())


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """The least an app can do with a request: what is below it is the server's, or this driver's."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


@asynccontextmanager
async def over_a_socket(app: ASGIApp, settings: Settings, size: int) -> AsyncIterator[Cost]:
    """The app under uvicorn, its one client in a process of its own."""
    async with _under_uvicorn(app, settings) as port:
        command = [sys.executable, "-c", CLIENT, str(port), str(size)]
        client = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        orders, answers = client.stdin, client.stdout
        assert orders
        assert answers

        async def cost_us(requests: int) -> float:
            started = time.process_time()
            orders.write(b"%d\n" % requests)
            if not await answers.readline():
                raise RuntimeError("the client ended: it was not answered with 200")
            return (time.process_time() - started) / requests * MICRO

        try:
            yield cost_us
        finally:
            orders.close()
            await client.wait()


@asynccontextmanager
async def _under_uvicorn(app: ASGIApp, settings: Settings) -> AsyncIterator[int]:
    """The app under the service's own server on a free port."""
    server = Server(app, settings, on_drain=lambda: None)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 (uvicorn offers no event)
            await asyncio.sleep(0.01)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


class Driver:
    """Calls an ASGI app as uvicorn would, one request after another, without a socket."""

    def __init__(self, app: ASGIApp, size: int) -> None:
        self._app = app
        self._picture = os.urandom(size - 8)
        self._numbers = count()
        self._headers = [(b"host", b"localhost"), (b"content-type", b"image/jpeg"), (b"content-length", b"%d" % size)]

    async def cost_us(self, requests: int) -> float:
        """A `Cost`."""
        started = time.process_time()
        for _ in range(requests):
            await self._ask()
        return (time.process_time() - started) / requests * MICRO

    async def _ask(self) -> None:
        first, last = self._picture[:CHUNK], self._picture[CHUNK:] + next(self._numbers).to_bytes(8, "big")
        body = iter([(first, True), (last, False)])
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/predict",
            "raw_path": b"/predict",
            "query_string": b"",
            "headers": list(self._headers),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
            "scheme": "http",
            "state": {},
        }

        async def receive() -> Message:
            chunk, more = next(body, (None, False))
            if chunk is None:  # the client stays
                await asyncio.get_running_loop().create_future()
            return {"type": "http.request", "body": chunk, "more_body": more}

        async def send(message: Message) -> None:
            assert message.get("status", 200) == 200, message

        await self._app(scope, receive, send)
