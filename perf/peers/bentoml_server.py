"""ResNet50 behind BentoML: bentoml serve perf.peers.bentoml_server:Classifier

Two services, as its page on adaptive batching says: one takes single pictures, the other computes batches.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import bentoml  # type: ignore[import-not-found]
import numpy as np
from bentoml.validators import ContentType  # type: ignore[import-not-found]

from perf.peers.resnet import MAX_BATCH, Frozen, answer, cores, decode, workers

MODELS = workers(cores())
CONNECTION = {"max_requests": 10**9, "max_age": 1e9}
"""By default the connection between the services is renewed every 100 requests, which breaks those on their way."""


@bentoml.service(workers=MODELS, traffic={"timeout": 120}, runner_connection=CONNECTION)
class Model:
    """Batches. `max_latency_ms` is what its dispatcher refuses to exceed, not a window; the window adapts itself."""

    def __init__(self) -> None:
        self.frozen = Frozen(threads=max(1, cores() // MODELS))

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=60_000)  # type: ignore[untyped-decorator]
    def scores(self, pixels: np.ndarray) -> np.ndarray:
        return self.frozen(pixels)


@bentoml.service(workers=1, traffic={"timeout": 120})
class Classifier:
    """Single pictures."""

    model = bentoml.depends(Model)

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    async def predict(self, picture: Annotated[Path, ContentType("image/jpeg")], /) -> dict[str, Any]:
        pixels = await asyncio.to_thread(lambda: decode(picture.read_bytes()))
        scores = await self.model.to_async.scores(pixels[np.newaxis])
        return answer(scores[0])
