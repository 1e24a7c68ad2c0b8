"""What one POST /predict costs the service beside the decoder and the model, in microseconds of CPU.

    .venv/bin/python -m perf.request_cost [--requests 100] [--rounds 12] [--kilobytes 100]

The whole app in this process, all its threads counted, with an engine and a decoder that do nothing; raw bodies, one
after another, no two the same. Once under uvicorn with its client in another process, once called without a socket;
as it is and with one part off at a time: what that saves is what the part costs. Parts overlap, so the savings do
not add up, and waking a thread costs more when it has fallen asleep, as it does between requests from a socket.
Variants take turns; a figure is the least of the rounds, because on a busy machine the rest is disturbance.
"""

import argparse
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np
import orjson
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request

from perf.hollow import CLASS_TABLE, CLASSES, MICRO, Cost, Driver, bare, make_app, not_decoded, over_a_socket
from service.app import Glimt
from service.http import classify, middleware
from service.http.query import read_query
from service.inference import images
from service.inference.batches import Outcome
from service.inference.decoding import Decoded
from service.inference.engine_thread import Scored
from service.inference.labels import top_k
from service.inference.predictions import ImageInfo, ModelInfo, Prediction, Receipt
from service.observe import configure_logging
from service.settings import Settings

WARM_REQUESTS = 100
RECEIPT = Receipt(2.0, 1.0, 30.0, 33.0, batch_size=4, released_by="idle", cached=False)
AS_IT_IS = "as it is"
LINE = "-" * 60 + "\n"


@contextmanager
def swapped(holder: Any, name: str, value: Any) -> Iterator[None]:
    """`holder.name` is `value` meanwhile."""
    before = getattr(holder, name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        setattr(holder, name, before)


Off = tuple[Any, str, Any]
"""holder, attribute, what stands there instead."""


def parts(app: Glimt) -> dict[str, list[Off]]:
    """Each part of a request's way that can be taken out, and how."""
    classifier, worker, metrics = app.house.classifier, app.house.worker, app.house.metrics
    decoders = classifier._decoders
    inner = Starlette.build_middleware_stack(app)
    scored = Scored(np.full(CLASSES, 1 / CLASSES, np.float32), worker.serving, 0.0)

    async def ask_directly(call: Callable[[], Any]) -> Any:
        return call()

    async def answer(item: object, **_: Any) -> Outcome[Scored]:
        return Outcome(scored, 0.0, 1, "idle")

    async def no_watch(request: Request, work: Awaitable[Any]) -> Any:
        return await work

    async def decode_here(*asked: Any) -> Decoded:
        data, profile, spec, _, sha256 = asked
        return decoders.read(data, profile, spec, sha256)

    async def no_digest(data: bytes) -> str:
        return data[-8:].hex()

    def silent(*_: Any, **__: Any) -> None:
        pass

    decode = (decoders, "decode", decode_here)
    infer = (worker._current, "call", ask_directly)
    no_cache = classifier._settings.model_copy(update={"cache_entries": 0})
    return {
        AS_IT_IS: [],
        "RequestLog (id, log line, counter)": [(app, "middleware_stack", middleware.SecurityHeaders(inner))],
        "  of it: the log line": [(middleware, "_write_line", silent)],
        "SecurityHeaders": [(app, "middleware_stack", middleware.RequestLog(inner, metrics.observe_request))],
        "all middleware, Starlette's too": [(app, "middleware_stack", app.router)],
        "metrics of the picture and its batch": [
            (classifier, "_observe_receipt", silent),
            (classifier._batcher, "_observe", silent),
        ],
        "watching for the client to leave": [(classify, "unless_client_leaves", no_watch)],
        "SHA-256 for the cache": [(decoders, "sha256", no_digest)],
        "hop to the decode thread": [decode],
        "hop to the engine's thread": [infer],
        "both hops": [decode, infer],
        "batcher and engine's thread": [(classifier._batcher, "submit", answer)],
        "cache and single flight": [(classifier, "_settings", no_cache)],
    }


def pieces(size: int) -> dict[str, Callable[[], object]]:
    """Pure functions on the way."""
    data = os.urandom(size)
    scores = np.random.default_rng(0).random(CLASSES, np.float32)
    model, image = ModelInfo("resnet50", "1", "openvino", "imagenet"), ImageInfo("0" * 64, 500, 375, "JPEG")
    prediction = Prediction(top_k(scores, CLASS_TABLE, 5), model, image, RECEIPT)
    document = classify.prediction_document(prediction)
    request = Request({"type": "http", "query_string": b"", "headers": []})
    return {
        "SHA-256 of the body": lambda: hashlib.sha256(data).hexdigest(),
        "query -> PredictOptions": partial(read_query, request, classify.PredictOptions),
        "top_k of 1000, 5 labels": partial(top_k, scores, CLASS_TABLE, 5),
        "prediction_document": partial(classify.prediction_document, prediction),
        "orjson.dumps": partial(orjson.dumps, document),
        "server_timing": partial(classify.server_timing, RECEIPT),
    }


async def turns(variants: dict[str, list[Off]], cost: Cost, requests: int, rounds: int) -> dict[str, float]:
    """Microseconds of each variant: the least of the rounds."""
    costs: dict[str, list[float]] = {name: [] for name in variants}
    await cost(WARM_REQUESTS)
    for _ in range(rounds):
        for name, offs in variants.items():
            with ExitStack() as stack:
                for off in offs:
                    stack.enter_context(swapped(*off))
                costs[name].append(await cost(requests))
    return {name: min(measured) for name, measured in costs.items()}


async def measure(options: argparse.Namespace, settings: Settings) -> None:
    """Everything, printed."""
    size, requests, rounds = options.kilobytes * 1000, options.requests, options.rounds
    app = make_app(settings)
    async with AsyncExitStack() as stack:
        socket = await stack.enter_async_context(over_a_socket(app, settings, size))
        bare_socket = await stack.enter_async_context(over_a_socket(bare, settings, size))
        await app.house.worker.loaded()
        app.middleware_stack = app.build_middleware_stack()
        variants = parts(app)
        served = await turns(variants, socket, requests, rounds)
        called = await turns(variants, Driver(app, size).cost_us, requests, rounds)
        least = (bare_socket, Driver(bare, size).cost_us)
        floors = [(await turns({AS_IT_IS: []}, cost, requests, rounds))[AS_IT_IS] for cost in least]
    print(LINE + "us of CPU a request\nuvicorn  called\n" + LINE, end="")
    row(AS_IT_IS, served[AS_IT_IS], called[AS_IT_IS])
    row("of it: a bare app", *floors)
    print(LINE + "without this it would be less by")
    for name in list(variants)[1:]:
        row(name, served[AS_IT_IS] - served[name], called[AS_IT_IS] - called[name])
    print(LINE + "pure pieces, again and again")
    for name, call in pieces(size).items():
        row(name, min(timeit(call, number=200) for _ in range(rounds)) / 200 * MICRO)


def row(name: str, *costs_us: float) -> None:
    """One line of the table."""
    print(f"{' '.join(f'{cost:7.0f}' for cost in costs_us):>15}  {name}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=100, help="in one round of one variant")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--kilobytes", type=int, default=100, help="of the body")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        settings = Settings(data_dir=Path(folder), max_batch=16, max_wait_ms=5.0, log_format="json")
        with configure_logging(settings, nowhere), swapped(images, "read", not_decoded):
            uvloop.run(measure(options, settings))


if __name__ == "__main__":
    main()
