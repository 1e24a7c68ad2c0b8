"""The one executor thread that owns the engine. Everything that touches the engine runs there, one after another."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.inference.calibration import Batching, Curve, best, keep_curve, measure, read_curve, still_true
from service.inference.engines.engine import Engine
from service.inference.predictions import ModelInfo

T = TypeVar("T")
Status = Literal["loading", "ready", "failed", "closed"]

CLOSE_S = 2.0  # an engine that hangs must not hold up the end of the process

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """One picture's probabilities, float32 (classes,), and the model that made them."""

    scores: NDArray[np.float32]
    model: ModelInfo
    infer_ms: float


class Worker:
    """`async with Worker(engine, model, ...) as worker`, then `await worker.loaded()`, then `run` as the batcher's
    runner.

    Loading and warming begin at entry, in the engine's thread, while the event loop goes on: `status` tells.
    """

    def __init__(
        self,
        engine: Engine,
        model: ModelInfo,
        *,
        classes: int,
        input_size: int,
        max_batch: int | None,
        curve_file: Path | None = None,
    ) -> None:
        """`max_batch` None: the calibration chooses it; its curve is kept in `curve_file`."""
        self._engine = engine
        self._classes = classes
        self._input_size = input_size
        self._max_batch = max_batch
        self._curve_file = curve_file
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._loading: asyncio.Task[None] | None = None
        self.model = model
        self.status: Status = "loading"
        self.curve: Curve = ()
        self.on_ready: Callable[[], None] = lambda: None  # called in the loop, right before `status` says so

    async def __aenter__(self) -> Self:
        self._loading = asyncio.create_task(self._load(), name="load the engine")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.status = "closed"
        closing = asyncio.ensure_future(self._in_thread(self._engine.close))
        done, _ = await asyncio.wait([closing], timeout=CLOSE_S)
        if not done:
            log.error("the engine does not come back; its thread is left behind")
        if self._loading is not None:
            self._loading.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def loaded(self) -> None:
        """Return when the engine is loaded and warm. Raises StartError when its files cannot be used."""
        if self._loading is None:
            raise RuntimeError("enter the worker first")
        await asyncio.shield(self._loading)

    @property
    def batching(self) -> Batching:
        """What the measured curve says is best; the defaults while there is none."""
        return best(self.curve)

    async def run(self, items: list[NDArray[np.uint8]]) -> list[Scored]:
        """Compute one batch: uint8 (h, w, 3) pictures in, their scores out in the same order.

        Raises ValueError when the engine returns another shape than (n, classes), or NaN.
        """
        return await self._in_thread(lambda: self._predict(items))

    async def _load(self) -> None:
        started = time.perf_counter()
        try:
            await self._in_thread(self._engine.load)
            self.curve = await self._in_thread(self._calibrate)
            await self._in_thread(
                lambda: self._engine.warm_up(warm_up_sizes(self._max_batch or self.batching.max_batch))
            )
        except BaseException:
            if self.status == "loading":
                self.status = "failed"
            raise
        if self.status == "loading":
            self.on_ready()
            self.status = "ready"
        log.info("%s is ready on %s after %.1f s", self.model.name, self._engine.name, time.perf_counter() - started)

    def _calibrate(self) -> Curve:
        """The curve as kept; else, when it is needed, as measured now."""
        kept = read_curve(self._curve_file) if self._curve_file else ()
        if self._max_batch is not None or still_true(kept, self._run_blank):
            return kept
        curve = measure(self._run_blank)
        if self._curve_file:
            keep_curve(self._curve_file, curve)
        return curve

    def _run_blank(self, n: int) -> None:
        self._engine.predict(np.zeros((n, self._input_size, self._input_size, 3), np.uint8))

    def _predict(self, items: list[NDArray[np.uint8]]) -> list[Scored]:
        started = time.perf_counter()
        pixels = items[0][np.newaxis] if len(items) == 1 else np.stack(items)
        scores = self._engine.predict(pixels)
        if scores.shape != (len(items), self._classes):
            raise ValueError(f"the engine returned {scores.shape}, not {(len(items), self._classes)}")
        if not np.isfinite(scores).all():
            raise ValueError("the engine returned NaN or infinity")
        infer_ms = (time.perf_counter() - started) * 1000
        return [Scored(row.copy(), self.model, infer_ms) for row in scores]  # a view would keep the whole batch

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def warm_up_sizes(max_batch: int) -> list[int]:
    """The batch sizes run once before ready, because an engine plans each when it first meets it.

    Up to 16 that is every size; beyond, eighths of the largest stand for what lies between, or the start would
    take minutes.
    """
    return sorted({*range(1, min(max_batch, 16) + 1), *(max_batch * n // 8 for n in range(1, 9))} - {0})
