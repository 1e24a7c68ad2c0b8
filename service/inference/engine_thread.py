"""An engine and the one thread that owns it: everything that touches the engine runs there, one after another."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.cores import COMPUTING, lower_priority
from service.errors import NotReady, StartError
from service.inference.calibration import Curve, best, keep_curve, measure, read_curve, still_true
from service.inference.engines.engine import Begun, EarlyEngine, Engine, Pixels, Scores
from service.inference.predictions import ModelInfo
from service.inference.serving import Serving

T = TypeVar("T")

LOOK_S = 0.010  # while a batch is computed, so often we look whether the next has come
CLOSE_S = 2.0  # an engine that hangs must not hold up the end of the process

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scored:
    """One picture's probabilities, float32 (classes,), and what made them."""

    scores: NDArray[np.float32]
    serving: Serving
    infer_ms: float

    @property
    def model(self) -> ModelInfo:
        """The model that made them."""
        return self.serving.model


@dataclass(slots=True)
class _Batch:
    """Pictures for the engine, and what it has begun with."""

    items: list[NDArray[np.uint8]]
    begun: Begun | None = None
    since: float = 0.0


@dataclass(slots=True)
class _Later:
    """What an engine that can only be called begins with: nothing."""

    engine: Engine
    pixels: Pixels

    def wait(self, seconds: float) -> bool:
        """It will be done by the one who asks for the scores."""
        del seconds
        return True

    def scores(self) -> Scores:
        """Computed now."""
        return self.engine.predict(self.pixels)


class EngineThread:
    """`await load(...)`, any number of `run`, then `retire`, or `close` to wait for it.

    What is run while another batch is computed comes next: an engine that can (EarlyEngine) has it at hand then.
    """

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.curve: Curve = ()
        self.hangs = False  # a run has not come back in time, and still has not
        self.hung = 0  # times, not counted by anybody yet
        self._engine: Engine | None = None
        self._next: _Batch | None = None
        self._ended = 0.0  # the last batch
        self._thread = ThreadPoolExecutor(1, "engine", lower_priority, (COMPUTING,))

    async def load(self, max_batch: int | None, *, measures: bool = True, at_least: int = 1) -> None:
        """Make the engine, load, warm and try it. Every batch up to `max_batch`, or `at_least`, was run once then.

        `max_batch` None: up to what the kept curve says is best; it is measured now if need be and `measures`.
        Raises StartError when its files cannot be used or its scores make no sense. Cancelling does not stop the
        thread: `retire` afterwards.
        """
        started = time.perf_counter()
        await self.call(self._make)
        self.curve = await self.call(lambda: self._calibrate(measures and max_batch is None))
        largest = max(at_least, max_batch or best(self.curve).max_batch)
        await self.call(lambda: self._loaded.warm_up(warm_up_sizes(largest)))
        await self.call(self._try)
        model, engine = self.serving.model, self._loaded.name
        log.info("%s %s is warm on %s after %.1f s", model.name, model.version, engine, time.perf_counter() - started)

    async def run(self, items: list[NDArray[np.uint8]], timeout_s: float) -> list[Scored | None]:
        """Compute one batch: uint8 (h, w, 3) pictures in, their scores out in the same order; None for those that
        were decoded for a model with another input size.

        Raises ValueError when the engine returns another shape than (n, classes), or NaN; RuntimeError for what would
        end the thread; NotReady after `timeout_s`, and from then on at once until the engine has come back.
        """
        if self.hangs:
            raise _hanging()
        size = self.serving.input.size
        fresh = self._next = _Batch([item for item in items if len(item) == size])
        try:
            async with asyncio.timeout(timeout_s) as limit:
                scored = iter(await self.call(lambda: self._compute(fresh)) if fresh.items else ())
        except TimeoutError as error:
            if not limit.expired():
                raise
            self._wait_for_return(timeout_s)
            raise _hanging() from error
        finally:
            if self._next is fresh:
                self._next = None
        return [next(scored) if len(item) == size else None for item in items]

    async def is_well(self, timeout_s: float) -> bool:
        """Whether it can compute anything: if so, whatever failed was the pictures' fault."""
        try:
            await self.run([self._blank(1)[0]], timeout_s)
        except Exception:
            return False
        return True

    async def call(self, work: Callable[[], T]) -> T:
        """Run it in the thread, after all that was given to it before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: _contained(work))

    def predict(self, items: list[NDArray[np.uint8]]) -> list[Scored]:
        """For use inside `call`: the scores of pictures of the right size. Raises as `run`."""
        return self._compute(_Batch(items))

    def _compute(self, batch: _Batch) -> list[Scored]:
        begun = batch.begun or self._begin(batch)
        while not begun.wait(LOOK_S):
            self._begin_next(batch)
        scores, n = begun.scores(), len(batch.items)
        since, self._ended = max(batch.since, self._ended), time.perf_counter()
        if scores.shape != (n, len(self.serving.classes)):
            raise ValueError(f"the engine returned {scores.shape}, not {(n, len(self.serving.classes))}")
        if not np.isfinite(scores).all():
            raise ValueError("the engine returned NaN or infinity")
        infer_ms = (self._ended - since) * 1000
        return [Scored(row.copy(), self.serving, infer_ms) for row in scores]  # a view would keep the whole batch

    def _begin(self, batch: _Batch) -> Begun:
        batch.since = time.perf_counter()
        pixels = batch.items[0][np.newaxis] if len(batch.items) == 1 else np.stack(batch.items)
        engine = self._loaded
        return engine.begin(pixels) if isinstance(engine, EarlyEngine) else _Later(engine, pixels)

    def _begin_next(self, batch: _Batch) -> None:
        """If there is one besides this. What is wrong with it is told to its own caller, who begins it again."""
        following = self._next
        if following is not None and following is not batch and following.items:
            self._next = None
            with suppress(Exception):
                following.begun = self._begin(following)

    def retire(self) -> None:
        """Close the engine once what runs has come back; its thread then ends. Waits for nothing."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    async def close(self) -> None:
        """`retire`, and wait for it, but not for an engine that does not come back."""
        closing = asyncio.ensure_future(self.call(self._close))
        done, _ = await asyncio.wait([closing], timeout=CLOSE_S)
        if not done:
            log.error("the engine does not come back; its thread is left behind")
        self._thread.shutdown(wait=False)  # it still does what it was given: freed here that would wait for the engine

    @property
    def _loaded(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("load the engine first")
        return self._engine

    def _make(self) -> None:
        self._engine = self.serving.engine()
        self._engine.load()

    def _close(self) -> None:
        try:
            if self._engine is not None:
                self._engine.close()
        except Exception:
            log.exception("the engine could not be closed")
        self._engine = None

    def _calibrate(self, measures: bool) -> Curve:
        """The curve as kept; else, when it is needed, as measured now."""
        file = self.serving.curve_file
        kept = read_curve(file) if file else ()
        if not measures or still_true(kept, self._run_blank):
            return kept
        curve = measure(self._run_blank)
        if file:
            keep_curve(file, curve)
        return curve

    def _try(self) -> None:
        try:
            self.predict([self._blank(1)[0]])
        except ValueError as error:
            model = self.serving.model
            raise StartError(f"{model.name} {model.version} cannot answer: {error}.") from error

    def _run_blank(self, n: int) -> None:
        self._loaded.predict(self._blank(n))

    def _blank(self, n: int) -> NDArray[np.uint8]:
        size = self.serving.input.size
        return np.zeros((n, size, size, 3), np.uint8)

    def _wait_for_return(self, timeout_s: float) -> None:
        """What is given to the thread now runs when the hanging call has ended."""
        if self.hangs:  # the batch that was at hand waits for the same call
            return
        self.hung += 1
        log.critical("%s has not come back for %g s", self.serving.model.name, timeout_s)
        self.hangs = True

        def back(done: asyncio.Future[None]) -> None:
            if not done.cancelled():
                self.hangs = False
                log.warning("%s has come back", self.serving.model.name)

        with suppress(RuntimeError):  # retired meanwhile: it will be given nothing more
            asyncio.get_running_loop().run_in_executor(self._thread, lambda: None).add_done_callback(back)


def warm_up_sizes(max_batch: int) -> list[int]:
    """The batch sizes run once before ready, because an engine plans each when it first meets it.

    Up to 16 that is every size; beyond, eighths of the largest stand for what lies between, or the start would
    take minutes.
    """
    return sorted({*range(1, min(max_batch, 16) + 1), *(max_batch * n // 8 for n in range(1, 9))} - {0})


def _contained(work: Callable[[], T]) -> T:
    """A SystemExit, or what asyncio takes for its own, must not travel from an engine into the event loop."""
    try:
        return work()
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, StopIteration):
            raise
        raise RuntimeError(f"the engine raised {error!r}") from error


def _hanging() -> NotReady:
    return NotReady("The model does not come back from a batch; the log says since when.", retry_after_s=60)
