"""What an operator asks: alive, ready, details, metrics."""

import time
from dataclasses import asdict
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service import __version__
from service.http.documents import HealthDocument
from service.http.operation import JSON, TEXT, Operation
from service.http.presentation import notice
from service.inference.classifier import Classifier
from service.metrics import Metrics


class Operations:
    """The endpoints and what they need. None of them touches the engine or the database."""

    def __init__(self, classifier: Classifier, metrics: Metrics) -> None:
        self._classifier = classifier
        self._metrics = metrics
        self._started = time.monotonic()

    @Operation("operations", {200: {TEXT: str}, 503: {TEXT: str}})
    async def healthz(self, request: Request) -> Response:
        """Alive: the event loop answers, the batch worker lives, no batch hangs. If it fails, restart the process."""
        if self._classifier.status == "failed":
            return PlainTextResponse("failed\n", 503, {"Retry-After": "5"})
        return PlainTextResponse("ok\n")

    @Operation("operations", {200: {TEXT: str}, 503: {TEXT: str}})
    async def readyz(self, request: Request) -> Response:
        """Ready: pictures are taken. 503 until warm, while draining, when the worker is dead, while a batch hangs."""
        status = self._classifier.status
        if status == "ready":
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"{status}\n", 503, {"Retry-After": "5"})

    @Operation("operations", {200: {JSON: HealthDocument}})
    async def health(self, request: Request) -> Response:
        """Details, always 200: what is served, how long, how the queue stands."""
        return Response(orjson.dumps(self._details(request), option=orjson.OPT_INDENT_2), media_type="application/json")

    @Operation("operations", {200: {TEXT: str}})
    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus."""
        return Response(self._metrics.render(), media_type=CONTENT_TYPE_LATEST)

    def _details(self, request: Request) -> dict[str, Any]:
        status, model = self._classifier.status, self._classifier.model
        return {
            "status": "ok" if status == "ready" else status,
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "model": {"status": status, "classes": len(self._classifier.classes), **asdict(model)},
            "queue": asdict(self._classifier.stats()),
            "notice": notice(self._classifier, request),
        }
