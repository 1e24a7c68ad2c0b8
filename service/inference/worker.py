"""The model that answers: loads it, runs its batches, puts another in its place between two batches, watches it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from service.errors import Conflict, Draining, GlimtError, NotReady, StartError
from service.inference.calibration import Batching, Curve, best
from service.inference.engine_thread import EngineThread, Scored
from service.inference.predictions import ModelInfo
from service.inference.serving import Serving

Status = Literal["loading", "ready", "failed", "closed"]

TIMEOUT_S = 60.0  # a batch of 64 on one slow core takes 13 s
FAILURES = 3  # failed runs one after another, before the engine itself is suspected

log = logging.getLogger(__name__)


class Worker:
    """`async with Worker(serving, ...) as worker`, then `await worker.loaded()`, then `run` as the batcher's runner.

    Loading and warming begin at entry, in the engine's thread, while the event loop goes on: `status` tells. It is
    `failed` when the model could not be loaded, and for as long as a batch does not come back within `timeout_s`.
    """

    def __init__(self, serving: Serving, *, max_batch: int | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`max_batch` None: the calibration chooses it."""
        self._max_batch = max_batch
        self._timeout_s = timeout_s
        self._current = EngineThread(serving)
        self._incoming: EngineThread | None = None
        self._largest = 1  # batch that was run
        self._failed_in_row = 0
        self._loading: asyncio.Task[None] | None = None
        self._recreating: asyncio.Task[None] | None = None
        self._status: Status = "loading"
        self.curve: Curve = ()
        self.totals: Counter[str] = Counter()  # swapped, recreated, failed (runs), hung
        self.on_serving: Callable[[], None] = lambda: None  # called in the loop, right before a model begins to answer

    async def __aenter__(self) -> Self:
        self._loading = asyncio.create_task(self._load(), name="load the engine")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._status = "closed"
        await self._current.close()
        for task in (self._loading, self._recreating):
            if task is not None:
                task.cancel()

    @property
    def serving(self) -> Serving:
        """What answers now."""
        return self._current.serving

    @property
    def model(self) -> ModelInfo:
        """The model that answers now."""
        return self._current.serving.model

    @property
    def status(self) -> Status:
        """loading -> ready -> closed, or failed."""
        return "failed" if self._status == "ready" and self._current.hangs else self._status

    @property
    def batching(self) -> Batching:
        """What the measured curve says is best; the defaults while there is none."""
        return best(self.curve)

    async def loaded(self) -> None:
        """Return when the engine is loaded and warm. Raises StartError when its files cannot be used."""
        if self._loading is None:
            raise RuntimeError("enter the worker first")
        await asyncio.shield(self._loading)

    async def run(self, items: list[NDArray[np.uint8]]) -> list[Scored | None]:
        """Compute one batch by the model that answers when it begins: uint8 (h, w, 3) pictures in, their scores out in
        the same order; None for those decoded for a model of another input size: decode them again.

        Raises what EngineThread.run raises.
        """
        self._largest = max(self._largest, len(items))
        current = self._current
        try:
            scored = await current.run(items, self._timeout_s)
        except NotReady:
            self.totals["hung"] += current.hung
            current.hung = 0
            raise
        except Exception:
            self._note_failure(current)
            raise
        self._failed_in_row = 0
        return scored

    async def swap(self, serving: Serving) -> None:
        """Load, warm and try this model while the one that answers goes on; then it takes the next batch.

        Its batch and window come from its kept curve; without one the batching stays as it is, because a curve measured
        beside live load would be a bad one: the next start measures it. Raises Conflict while another is being loaded,
        Draining at the end, StartError when it cannot be loaded: then, and when cancelled, the old one goes on.
        """
        if self._status == "closed":
            raise _closed()
        if self._status == "loading" or self._incoming is not None:
            raise Conflict("A model is being loaded already. Try again when it answers.")
        await self._replace(serving)
        self.totals["swapped"] += 1

    async def _load(self) -> None:
        try:
            await self._current.load(self._max_batch)
        except BaseException:
            if self._status == "loading":
                self._status = "failed"
            raise
        if self._status == "loading":
            self._begin()

    async def _replace(self, serving: Serving) -> None:
        incoming = self._incoming = EngineThread(serving)
        try:
            await incoming.load(self._max_batch, measures=False, at_least=self._largest)
            if self._status == "closed":
                raise _closed()
        except BaseException as error:
            incoming.retire()
            if isinstance(error, Exception) and not isinstance(error, GlimtError):
                model = serving.model
                log.exception("%s %s could not be loaded", model.name, model.version)
                raise StartError(f"{model.name} {model.version} could not be loaded: {error}") from error
            raise
        finally:
            self._incoming = None
        outgoing, self._current = self._current, incoming
        self._failed_in_row = 0
        self._begin()
        outgoing.retire()

    def _begin(self) -> None:
        self.curve = self._current.curve
        self.on_serving()
        self._status = "ready"
        log.info("%s %s answers", self.model.name, self.model.version)

    def _note_failure(self, current: EngineThread) -> None:
        self.totals["failed"] += 1
        self._failed_in_row += 1
        if self._failed_in_row >= FAILURES and self._incoming is None and current is self._current:
            self._failed_in_row = 0
            if self._recreating is None or self._recreating.done():
                self._recreating = asyncio.create_task(self._recreate_unless_well(current), name="recreate the engine")

    async def _recreate_unless_well(self, current: EngineThread) -> None:
        """It is the engine's fault when it cannot compute a blank picture either."""
        if await current.is_well(self._timeout_s) or self._incoming is not None or current is not self._current:
            return
        log.error("the engine fails on every picture; it is made anew")
        try:
            await self._replace(current.serving)
            self.totals["recreated"] += 1
        except Exception:
            if self._status == "ready":
                self._status = "failed"
            log.critical("the engine could not be made anew", exc_info=True)


def _closed() -> Draining:
    return Draining("The service is shutting down and takes no other model.", retry_after_s=5)
