"""create_app(): the route table, the error table, one lifespan. With cli.py the only place that constructs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.errors import GlimtError
from service.http.batching import Batching
from service.http.classify import Classify
from service.http.feedback import FeedbackEndpoints
from service.http.middleware import ObserveRequest, RequestLog, SecurityHeaders
from service.http.operations import Operations
from service.http.ops import Ops
from service.http.pages import Pages, make_templates
from service.http.problems import Problems
from service.inference.calibration import curve_file
from service.inference.classifier import Classifier
from service.inference.engines.choice import sees_gpu
from service.inference.engines.engine import Engine
from service.inference.engines.openvino import OpenVINOEngine
from service.inference.engines.prepared import prepare_once
from service.inference.engines.tensorflow import TensorFlowEngine
from service.inference.worker import Worker
from service.metrics import Metrics
from service.models.served import ServedModel
from service.settings import Settings
from service.store.database import Database
from service.store.feedback import FeedbackStore
from service.store.pictures import PictureStore

log = logging.getLogger(__name__)

INT8_TOLERANCE = 0.02
"""How far an int8 probability may be on another processor from where it was quantized: their kernels round unlike."""
PACKAGE = Path(__file__).parent
WEB = next(path for path in (PACKAGE / "_web", PACKAGE.parent / "web") if path.exists())  # in a wheel, in a checkout


@dataclass
class House:
    """Everything that lives as long as the app."""

    database: Database
    pictures: PictureStore
    worker: Worker
    classifier: Classifier
    metrics: Metrics
    loop: asyncio.AbstractEventLoop | None = None

    def drain(self) -> None:
        """Refuse what is new. Safe to call from a signal handler."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.classifier.drain)


class Glimt(Starlette):
    """Starlette with our middleware outside its own last resort, whose 500 must carry a request id as well."""

    def __init__(self, observe: ObserveRequest, house: House, **options: Any) -> None:
        super().__init__(**options)
        self.router.redirect_slashes = False  # a redirect would repeat whatever Host header came
        self.house = house
        self._observe = observe

    def build_middleware_stack(self) -> ASGIApp:
        return RequestLog(SecurityHeaders(super().build_middleware_stack()), self._observe)


class FreshFiles(StaticFiles):
    """Asked for anew each time (an unchanged file is a 304): after an upgrade nobody runs yesterday's script."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class Id(Convertor[int]):
    """A row's number in a path: longer ones cannot exist, and Python refuses to read them."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


def make_engine(served: ServedModel, settings: Settings) -> Engine:
    """The engine for this model, not yet loaded."""
    if served.prepared is not None:
        folder = served.prepared
        way_out = "Quantize again on this machine: glimt quantize --replace; or serve the float32 model."
        return OpenVINOEngine(lambda: folder, served.input, tolerance=INT8_TOLERANCE, way_out=way_out)
    build, weights, cache = served.architecture.build, served.weights_file, settings.data_path / "cache"
    if served.info.engine == "openvino":
        return OpenVINOEngine(partial(prepare_once, "openvino", build, weights, served.input, cache), served.input)
    prepare = partial(prepare_once, "tensorflow", build, weights, served.input, cache)
    return TensorFlowEngine(prepare, served.input, parts=1 if sees_gpu() else 2)


def make_worker(engine: Engine, served: ServedModel, settings: Settings) -> Worker:
    """The thread that will own the engine."""
    return Worker(
        engine,
        served.info,
        classes=len(served.classes),
        input_size=served.input.size,
        max_batch=None if settings.max_batch == "auto" else settings.max_batch,
        curve_file=curve_file(settings.data_path, served.info),
    )


def create_app(
    settings: Settings,
    served: ServedModel,
    engine: Engine,
    *,
    on_failed_start: Callable[[], None] = lambda: None,
) -> Glimt:
    """The ASGI app. `on_failed_start` is called when the engine cannot load its model; the log has the reason."""
    metrics = Metrics()
    database = Database(settings.data_path / "glimt.db")
    pictures = PictureStore(settings.data_path / "pictures")
    feedback = FeedbackStore(database)
    worker = make_worker(engine, served, settings)
    classifier = Classifier(
        worker,
        served.classes,
        served.input,
        settings,
        observe_batch=metrics.observe_batch,
        observe_receipt=metrics.observe_receipt,
        keep_picture=pictures.keep_quietly if settings.keep_images == "all" else None,
    )
    metrics.watch(classifier.stats, lambda: classifier.model, lambda: classifier.status == "ready")
    house = House(database, pictures, worker, classifier, metrics)

    templates = make_templates(WEB)
    problems = Problems(templates)
    classify = Classify(classifier, settings, served.brief)
    operations = Operations(classifier, metrics, served.notice)
    notes = FeedbackEndpoints(feedback, pictures, settings.keep_images)
    batching = Batching(classifier)
    ops = Ops(classifier, metrics, templates, served.notice)
    pages = Pages(classifier, feedback, notes, pictures, templates, settings, served.notice, WEB)

    register_url_convertor("id", Id())
    return Glimt(
        metrics.observe_request,
        house,
        routes=[
            Route("/", pages.index, methods=["GET"]),
            Route("/", pages.classify, methods=["POST"]),
            Route("/labels", pages.labels, methods=["GET"]),
            Route("/health-light", pages.health_light, methods=["GET"]),
            Route("/cards/feedback", pages.feedback, methods=["POST"]),
            Route("/cards/feedback/{id:id}/undo", pages.undo, methods=["POST"]),
            Route("/predict", classify.predict, methods=["POST"]),
            Route("/feedback", notes.create, methods=["POST"]),
            Route("/feedback/", notes.create, methods=["POST"]),
            Route("/feedback", notes.index, methods=["GET"]),
            Route("/feedback/", notes.index, methods=["GET"]),
            Route("/feedback/{feedback_id:id}", notes.delete, methods=["DELETE"]),
            Route("/healthz", operations.healthz, methods=["GET"]),
            Route("/readyz", operations.readyz, methods=["GET"]),
            Route("/health", operations.health, methods=["GET"]),
            Route("/metrics", operations.metrics, methods=["GET"]),
            Route("/api/batching", batching.read, methods=["GET"]),
            Route("/api/batching", batching.change, methods=["PATCH"]),
            Route("/ops", ops.page, methods=["GET"]),
            Route("/ops/live", ops.live, methods=["GET"]),
            Route("/ops/batching", ops.change, methods=["POST"]),
            Mount("/static", FreshFiles(directory=WEB / "static"), name="static"),
        ],
        exception_handlers={
            GlimtError: problems.on_glimt_error,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_unknown,
        },
        lifespan=lambda app: _lifespan(house, on_failed_start),
    )


@asynccontextmanager
async def _lifespan(house: House, on_failed_start: Callable[[], None]) -> AsyncIterator[None]:
    house.loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(house.database)
        await stack.enter_async_context(house.pictures)
        await stack.enter_async_context(house.worker)
        await stack.enter_async_context(house.classifier)
        for task in (_watch_start(house.worker, on_failed_start), house.metrics.probe_lag()):
            stack.callback(asyncio.create_task(task).cancel)
        yield


async def _watch_start(worker: Worker, on_failed_start: Callable[[], None]) -> None:
    try:
        await worker.loaded()
    except GlimtError as error:
        log.critical("%s: %s", error.title, error.detail)
        on_failed_start()
    except Exception:
        log.critical("the engine could not be loaded", exc_info=True)
        on_failed_start()
