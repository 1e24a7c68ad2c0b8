"""The facade everybody calls: who is admitted, the answer (answers.py) and its labels, and the settings of the queue.

Another model may take over at any time (worker.swap): each answer is labelled by the one that computed it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from service.errors import Conflict, DeadlineExceeded, Draining, NotReady
from service.inference import images
from service.inference.admission import Admissions, Memory, Share
from service.inference.answers import Answers, Wanted
from service.inference.batcher import Batcher
from service.inference.batches import Batch, Stats
from service.inference.calibration import DEFAULT, Curve, item_seconds
from service.inference.decoding import Decoders
from service.inference.engine_thread import Scored
from service.inference.labels import ClassTable, top_k
from service.inference.lanes import INTERACTIVE, Lane
from service.inference.overload import Overload
from service.inference.predictions import ModelInfo, Prediction, Receipt
from service.inference.serving import Serving
from service.inference.shadow import Shadow
from service.inference.worker import Worker
from service.settings import Profile, Settings

OVERLOAD_SHARE = 0.8  # of the deadline is the patience we count on until callers show less
LAST_WORDS_S = 1.0  # of the grace time is kept to tell those who will not be answered

Status = Literal["loading", "ready", "failed", "draining"]


class Classifier:
    """`async with Classifier(...) as classifier: prediction = await classifier.classify(data)`."""

    def __init__(
        self,
        worker: Worker,
        settings: Settings,
        *,
        observe_batch: Callable[[Batch], None] = lambda batch: None,
        observe_receipt: Callable[[Receipt], None] = lambda receipt: None,
        keep_picture: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        """`keep_picture` is given the bytes of each answered picture, before its answer goes out; not of those of the
        bulk lane, whose archive is kept as long as their answers."""
        self._worker = worker
        self._settings = settings
        self._observe_receipt = observe_receipt
        self._keep_picture = keep_picture
        limits = images.Limits(settings.max_image_bytes, settings.max_image_pixels)
        self._decoders = Decoders(settings.decode_workers, limits)
        self._batcher = Batcher[NDArray[np.uint8], Scored | None](
            worker.run,
            max_batch=DEFAULT.max_batch if settings.max_batch == "auto" else settings.max_batch,
            max_wait_ms=DEFAULT.max_wait_ms if settings.max_wait_ms == "auto" else settings.max_wait_ms,
            max_pending=settings.max_pending,
            overload=Overload(longest_s=settings.deadline_ms / 1000 * OVERLOAD_SHARE),
            observe=observe_batch,
        )
        self.calibrates = "auto" in (settings.max_batch, settings.max_wait_ms)
        self.auto = self.calibrates  # batch and window are still as the calibration chose
        self.curve: Curve = ()  # how long a batch of n takes, as measured at warm-up
        worker.on_serving = self._on_serving
        if worker.status == "ready":
            self._on_serving()
        self._answers = Answers(worker, self._batcher, self._decoders, settings.cache_entries)
        self.shadow = Shadow(limits, is_idle=self._is_idle)
        self._admissions = Admissions()
        self.memory = Memory(
            max(settings.max_pending_bytes, 2 * settings.max_image_bytes),  # else one might never be taken
            places=lambda: self._batcher.stats().max_pending,
            patience_s=settings.deadline_ms / 1000,
            refusal=self._batcher.door.refusal,
        )
        self.draining = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._stack.callback(self._decoders.close)
        self._stack.push_async_callback(self.shadow.stop)
        await self._stack.enter_async_context(self._batcher)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drain()
        await self._finishing
        await self._stack.aclose()

    @property
    def model(self) -> ModelInfo:
        """The model that answers now."""
        return self._worker.model

    @property
    def classes(self) -> ClassTable:
        """What the model that answers now can answer."""
        return self._worker.serving.classes

    @property
    def serving(self) -> Serving:
        """The model that answers now, whole."""
        return self._worker.serving

    @property
    def notice(self) -> str | None:
        """A paragraph about the model that answers now, if it is not what one would expect."""
        return self._worker.serving.notice

    @property
    def status(self) -> Status:
        """loading -> ready -> draining; failed when the engine could not be loaded or the batch worker died."""
        if self.draining.is_set():
            return "draining"
        if self._worker.status == "ready" and not self._batcher.alive:
            return "failed"
        return "draining" if self._worker.status == "closed" else self._worker.status

    def stats(self) -> Stats:
        """The queue as it stands."""
        return self._batcher.stats()

    def configure(
        self,
        *,
        max_batch: int | None = None,
        max_wait_ms: float | None = None,
        max_pending: int | None = None,
        auto: bool | None = None,
    ) -> None:
        """Change limits while running; the next batch obeys. A batch or window chosen by hand ends `auto`, which
        True brings back: Conflict when the settings fix both."""
        if auto:
            self._adopt_calibration()
        self._batcher.configure(max_batch=max_batch, max_wait_ms=max_wait_ms, max_pending=max_pending)
        self.auto = bool(auto) or (self.auto and max_batch is None and max_wait_ms is None)

    def _is_idle(self) -> bool:
        stats = self._batcher.stats()
        return not (stats.pending or stats.announced or stats.running)

    def _on_serving(self) -> None:
        self.curve = self._worker.curve
        if self.auto and self.curve:  # not when somebody changed it meanwhile, and not for a model never measured
            self._adopt_calibration()
        if self.curve:
            self._batcher.pace.begin(item_seconds(self.curve, self._batcher.stats().max_batch))

    def _adopt_calibration(self) -> None:
        """What the settings fix stays as they say; the rest is as measured."""
        chosen, settings = self._worker.batching, self._settings
        if not self.calibrates:
            raise Conflict("The settings fix both numbers. Start with --max-batch auto to have them measured.")
        self._batcher.configure(
            max_batch=chosen.max_batch if settings.max_batch == "auto" else settings.max_batch,
            max_wait_ms=chosen.max_wait_ms if settings.max_wait_ms == "auto" else settings.max_wait_ms,
        )

    def drain(self) -> None:
        """Refuse what is new from now on; what was admitted is still answered, for at most the grace time."""
        if not self.draining.is_set():
            self.draining.set()
            self._finishing = asyncio.create_task(self._finish(), name="finish what was admitted")

    async def _finish(self) -> None:
        """Close the batcher when nobody is admitted any more, or so early that the rest still hears of it."""
        grace_s = self._settings.grace_s
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s - min(LAST_WORDS_S, grace_s / 4)):
                await self._admissions.none()
        await self._batcher.aclose()

    @property
    def kept(self) -> int:
        """Answers kept for those who ask again."""
        return self._answers.kept

    @property
    def admitted(self) -> int:
        """Callers between their admission and their answer."""
        return self._admissions.count

    @contextmanager
    def admission(self, *, patient: bool = False, announced: int = 0) -> Iterator[Share]:
        """Hold it from before the first byte of a request's body is read until its answer is known.

        Raises NotReady, Draining or, unless `patient`, QueueFull: at once, before any work. What was admitted is not
        refused by a drain that begins later. At most as many are admitted as can wait and be computed, and as many as
        the bytes that they have `announced` leave room for; what they send is to be counted in the Share.
        """
        self._refuse_unless_ready()
        if not patient:
            self._batcher.door.refuse_if_full(self._admissions.impatient)
            self._batcher.door.refuse_if_in_vain()
        with self.memory.share(announced, patient=patient) as share, self._admissions.one(patient=patient):
            yield share

    def _refuse_unless_ready(self) -> None:
        status = self.status
        if status == "loading":
            raise NotReady("The model is still loading and warming up. Try again in a few seconds.", retry_after_s=5)
        if status == "failed":
            raise NotReady("The model is not running; the log has the reason.", retry_after_s=60)
        if status == "draining":
            raise Draining("The service is shutting down and takes no new pictures.", retry_after_s=5)

    async def classify(
        self,
        data: bytes,
        *,
        profile: Profile | None = None,
        top: int = 5,
        deadline_ms: int | None = None,
        lane: Lane = INTERACTIVE,
        patient: bool = False,
    ) -> Prediction:
        """The labels of one picture (the bytes of a file), the `top` most probable of them.

        `deadline_ms` counts from now and can only shorten the server's own. A `patient` caller (a stream) waits for a
        place in the queue where another is refused, and has no deadline but its own. Raises an ImageError for what is
        wrong with the picture, QueueFull, Draining, NotReady, DeadlineExceeded or EngineFailed. Cancelling gives up
        the picture's place in the queue.
        """
        started = time.perf_counter()
        servers_ms = math.inf if patient else self._settings.deadline_ms
        wait_ms = min(deadline_ms or math.inf, servers_ms)
        deadline = self._loop.time() + wait_ms / 1000 if wait_ms < math.inf else None
        wanted = Wanted(data, profile or self._settings.preprocess, deadline, lane, patient)
        try:
            async with asyncio.timeout_at(deadline) as limit:
                answer = await self._answers.get(wanted)
        except (TimeoutError, DeadlineExceeded) as error:
            if isinstance(error, TimeoutError) and not limit.expired():
                raise
            most = "" if patient else f": at most {self._settings.deadline_ms}, which is GLIMT_DEADLINE_MS"
            raise DeadlineExceeded(
                f"There was no answer within {wait_ms:.0f} ms. Try again when it is less busy, or with a longer "
                f"deadline_ms{most}."
            ) from None
        if self._keep_picture is not None and lane == INTERACTIVE:
            await self._keep_picture(data)
        receipt = replace(answer.receipt, total_ms=(time.perf_counter() - started) * 1000)
        self._observe_receipt(receipt)
        if lane == INTERACTIVE and not receipt.cached:
            self.shadow.offer(data, wanted.profile, answer.image.sha256, answer.scored)
        serving = answer.scored.serving
        labels = top_k(answer.scored.scores, serving.classes, top)
        return Prediction(labels, serving.model, answer.image, receipt, serving.brief, answer.scored.scores)
