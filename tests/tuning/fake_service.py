"""A small real service over real HTTP whose speed is known: a batch of n takes `setup_ms + n * each_ms`."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.tuning.setting import Setting

BOUNDS = (1, 2, 4, 8, 16, 32)


@dataclass
class FakeService:
    """What it does can be changed while it runs. `changes` holds every setting that was put in force."""

    setup_ms: float = 1.0
    each_ms: float = 0.0
    setting: Setting = field(default_factory=lambda: Setting(8, 5.0))
    auto: bool = False
    calibrated: bool = True
    status: int = 200
    patch_status: int = 200
    ready: bool = True
    dies_after: int | None = None
    changes: list[Setting] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    sizes: list[int] = field(default_factory=list)
    _queue: asyncio.Queue[asyncio.Future[None]] = field(default_factory=asyncio.Queue)
    _server: uvicorn.Server | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its URL."""
        config = uvicorn.Config(self._app(), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        # without the protocol's number asyncio leaves Nagle's algorithm on: 40 ms more per answer
        with socket.socket(proto=socket.IPPROTO_TCP) as listening:
            listening.bind(("127.0.0.1", 0))
            serving = asyncio.create_task(self._server.serve(sockets=[listening]))
            computing = asyncio.create_task(self._compute())
            try:
                while not self._server.started:  # noqa: ASYNC110 (uvicorn offers no event)
                    await asyncio.sleep(0.01)
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            finally:
                self._server.should_exit = True
                await serving
                computing.cancel()

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
                Route("/api/batching", self._read, methods=["GET"]),
                Route("/api/batching", self._change, methods=["PATCH"]),
                Route("/predict", self._predict, methods=["POST"]),
            ]
        )

    async def _compute(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self.setting.max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await asyncio.sleep((self.setup_ms + len(batch) * self.each_ms) / 1000)
            self.sizes.append(len(batch))
            for waiting in batch:
                if not waiting.done():
                    waiting.set_result(None)

    async def _predict(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        self.tokens.add(request.headers.get("authorization"))
        if self.dies_after is not None and len(self.bodies) > self.dies_after:
            assert self._server
            self._server.should_exit = self._server.force_exit = True
        if self.status != 200:
            return PlainTextResponse("no", self.status, {"Retry-After": "0"})
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(waiting)
        await waiting
        return PlainTextResponse("{}")

    async def _readyz(self, request: Request) -> Response:
        return PlainTextResponse("ready\n") if self.ready else PlainTextResponse("loading\n", 503)

    async def _read(self, request: Request) -> Response:
        document: dict[str, Any] = {"max_batch": self.setting.max_batch, "max_wait_ms": self.setting.max_wait_ms}
        document["auto"] = self.auto
        return Response(orjson.dumps(document), media_type="application/json")

    async def _change(self, request: Request) -> Response:
        if self.patch_status != 200:
            return Response(orjson.dumps({"detail": "This is for admins."}), self.patch_status)
        self.tokens.add(request.headers.get("authorization"))
        content = orjson.loads(await request.body())
        if content.get("auto") and not self.calibrated:
            return Response(orjson.dumps({"detail": "The settings fix both numbers."}), 409)
        self.auto = content.get("auto", False)
        if not self.auto:
            self.setting = Setting(content["max_batch"], content["max_wait_ms"])
        self.changes.append(self.setting)
        self.changed.set()
        return await self._read(request)

    async def _metrics(self, request: Request) -> Response:
        sizes, reasons = (
            self.sizes,
            Counter("full" if size == self.setting.max_batch else "idle" for size in self.sizes),
        )
        lines = [f'glimt_batches_released_total{{reason="{name}"}} {count}.0' for name, count in reasons.items()]
        counts = [(str(float(bound)), sum(size <= bound for size in sizes)) for bound in BOUNDS]
        lines += [f'glimt_batch_size_bucket{{le="{name}"}} {n}.0' for name, n in [*counts, ("+Inf", len(sizes))]]
        return PlainTextResponse("\n".join([*lines, f"glimt_batch_size_sum {sum(sizes)}.0", ""]))
