"""The generic micro-batcher: single items in, batches to one runner, each caller gets its own result.

It is asyncio and the standard library only, and knows nothing of pictures, arrays, threads or HTTP.
The rules, each with its test in tests/inference/test_batcher.py:

- A batch leaves when it is full, when its head has waited `max_wait_ms` since it ARRIVED (so under load an aged
  head leaves at once and batches grow while the runner is busy), when waiting on would cost somebody the deadline,
  or at drain. If the runner is free and nobody has announced another item, waiting buys nothing: it leaves idle.
- A cancelled or past-deadline job never enters a batch. Every `submit` ends exactly once.
- A run that raises is repeated in halves, so that only the guilty item fails (halving.py); unless it raises
  Unavailable, which is not an item's fault: all of them are told so.
- Who goes first is decided in lanes.py (interactive, bulk) and overload.py (when the queue stands).
"""

import asyncio
import logging
import math
import statistics
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, Self, TypeVar

from service.errors import DeadlineExceeded, Draining, EngineFailed, GlimtError, NotReady, QueueFull, Unavailable
from service.inference.batches import Batch, Outcome, Stats
from service.inference.halving import in_halves
from service.inference.lanes import INTERACTIVE, Job, Lane, Lanes
from service.inference.overload import Overload
from service.inference.predictions import Released

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST_GUESS_S = 0.05  # seconds per item until a batch has been measured: one ResNet50 on a laptop core
MARGIN = 1.5  # a batch that hurries for a deadline leaves this many expected run times before it
TICK_S = 0.001  # uvloop's clock counts whole milliseconds: what is due within one is due
INSTANT_S = 1e-6  # an item takes at least
LOOKED_AT = 9  # batches whose median is the measured rate: one that met a pause of the machine says nothing

log = logging.getLogger(__name__)


class Batcher(Generic[Item, Result]):
    """`async with Batcher(run, ...) as batcher: outcome = await batcher.submit(item)`.

    `run` is awaited with 1..max_batch items and returns as many results in the same order; it is never awaited
    twice at once. `observe` is called with each finished `Batch`. Times come from the loop's clock.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        *,
        max_batch: int,
        max_wait_ms: float,
        max_pending: int,
        overload: Overload | None = None,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self._run = run
        self._observe = observe
        self._lanes = Lanes[Item, Outcome[Result]](overload or Overload())
        self._wake, self._room = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._draining = False
        self._announced: Counter[Lane] = Counter()
        self._running: list[Job[Item, Outcome[Result]]] = []
        self._running_since = 0.0
        self._timer: asyncio.Handle | None = None
        self._armed_for: float | None = None
        self._item_s = FIRST_GUESS_S
        self._measured_s = deque[float](maxlen=LOOKED_AT)
        self._totals: Counter[str] = Counter()
        self._max_batch, self._max_wait_s, self._max_pending = 1, 0.0, 1
        self.configure(max_batch=max_batch, max_wait_ms=max_wait_ms, max_pending=max_pending)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._work(), name="batcher")
        self._task.add_done_callback(self._release_everyone)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def configure(
        self, *, max_batch: int | None = None, max_wait_ms: float | None = None, max_pending: int | None = None
    ) -> None:
        """Change limits while running; the next batch obeys. Out of range: ValueError, and nothing changes."""
        if not all(limit is None or limit >= 1 for limit in (max_batch, max_pending)):
            raise ValueError("max_batch and max_pending must be at least 1")
        if max_wait_ms is not None and not 0 <= max_wait_ms < math.inf:
            raise ValueError("max_wait_ms must be 0 or more")
        self._max_batch = max_batch or self._max_batch
        self._max_pending = max_pending or self._max_pending
        self._max_wait_s = self._max_wait_s if max_wait_ms is None else max_wait_ms / 1000
        self._wake.set()
        self._room.set()

    @contextmanager
    def announce(self, lane: Lane = INTERACTIVE) -> Iterator[None]:
        """Hold a place for an item that is being prepared; leave the block right before `submit`.

        While somebody holds one, a free runner waits for it (at most the window) instead of leaving idle.
        Raises QueueFull, Draining or NotReady before any work is done.
        """
        self.refuse_if_full()
        self._announced[lane] += 1
        try:
            yield
        finally:
            self._announced[lane] -= 1
            self._wake.set()
            self._room.set()

    async def wait_for_room(self) -> None:
        """Return when there is a place (streams wait where single requests are refused), or when it closes."""
        while self._taken >= self._max_pending and self.alive and not self._draining:
            self._room.clear()
            await self._room.wait()

    def refuse_if_full(self, admitted: int = 0) -> None:
        """Admission, to be asked before any work: raises QueueFull, Draining or NotReady.

        `admitted` counts the callers that are on their way, be they here already or not.
        """
        if self._draining:
            raise _draining()
        self._refuse(admitted - len(self._running))

    def refuse_if_in_vain(self) -> None:
        """To be asked at the door: raises QueueFull when one more would wait longer than an answer is wanted."""
        if self._callers >= (places := self._places):
            seconds = self._callers * self._item_s
            raise self.refusal(
                f"{self._callers} pictures wait already, {seconds:.1f} s of work; at most {places} may "
                "wait now, so that answers come while they are wanted."
            )

    def refusal(self, detail: str) -> QueueFull:
        """For who refuses for another reason than places: as honest, and counted."""
        self._totals["refused"] += 1
        return self._queue_full(detail)

    def _refuse(self, on_their_way: int = 0) -> None:
        if not self.alive:
            raise self._closed()
        waiting = max(self._taken, on_their_way)
        if waiting >= self._max_pending:
            raise self.refusal(f"{waiting} pictures wait already; the limit is {self._max_pending}.")

    async def submit(self, item: Item, *, deadline: float | None = None, lane: Lane = INTERACTIVE) -> Outcome[Result]:
        """Queue the item and wait for its own result. `deadline` is a time of the loop's clock.

        Raises QueueFull, Draining or NotReady at once, DeadlineExceeded at the deadline, EngineFailed when the
        runner cannot compute this item. Cancelling takes the item out of the queue. While a drain goes on, what was
        announced before it is still taken.
        """
        self._refuse()
        when = math.inf if deadline is None else deadline
        job = Job[Item, Outcome[Result]](item, self._loop.create_future(), self._loop.time(), when)
        self._lanes.add(job, lane)
        self._totals["submitted"] += 1
        self._wake.set()
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await job.future
        except TimeoutError:
            if not limit.expired():
                raise
            self._totals["expired"] += 1
            raise DeadlineExceeded("The deadline passed before the batch of this picture was done.") from None
        except asyncio.CancelledError:
            self._totals["expired" if self._loop.time() >= when else "cancelled"] += 1
            if lane == INTERACTIVE and self._loop.time() < when < math.inf:  # not those who said that they will wait
                self._lanes.overload.left(self._loop.time() - job.arrived)
            raise
        finally:
            self._lanes.discard(job)
            self._wake.set()
            self._room.set()

    def stats(self) -> Stats:
        """How it stands now."""
        return Stats(
            alive=self.alive,
            pending=len(self._lanes),
            announced=self._on_their_way,
            running=len(self._running),
            running_s=self._loop.time() - self._running_since if self._running else 0.0,
            max_batch=self._max_batch,
            max_wait_ms=self._max_wait_s * 1000,
            max_pending=self._max_pending,
            places=self._places,
            items_per_s=1 / self._item_s,
            overloaded=self._lanes.overload.standing,
            totals=dict(self._totals),
        )

    async def aclose(self, *, drain_s: float = 0.0) -> None:
        """Admit nothing new, compute what waits or is announced for at most `drain_s` seconds, release the rest with
        Draining. Twice is once."""
        self._draining = True
        self._wake.set()
        self._room.set()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=drain_s)
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def alive(self) -> bool:
        """Whether anything is computed at all: false before entering, after closing, and if the worker died."""
        return self._task is not None and not self._task.done()

    @property
    def _taken(self) -> int:
        return len(self._lanes) + self._on_their_way

    @property
    def _on_their_way(self) -> int:
        return self._announced.total()

    @property
    def _callers(self) -> int:
        return self._lanes.callers + self._announced[INTERACTIVE]

    @property
    def _places(self) -> int:
        if not self._measured_s:
            return self._max_pending
        worth = self._lanes.overload.places(self._item_s)
        return min(self._max_pending, max(self._max_batch, worth))

    def _queue_full(self, detail: str) -> QueueFull:
        """Retry-After is the queued work divided by the measured rate."""
        retry_after_s = max(1, math.ceil((self._taken + len(self._running)) * self._item_s))
        return QueueFull(f"{detail} Try again in {retry_after_s} s.", retry_after_s=retry_after_s)

    def _release_everyone(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the batch worker died", exc_info=error)
        for job in [*self._running, *self._lanes]:
            self._settle(job, self._closed())
        self._room.set()

    def _closed(self) -> Unavailable:
        return _draining() if self._draining else NotReady("The batch worker is not running.", retry_after_s=5)

    async def _work(self) -> None:
        while (released_by := await self._release()) is not None:
            now = self._loop.time()
            self._running, refused = self._lanes.take(self._max_batch, now, self._item_s)
            self._running_since = now
            for job in refused:
                self._settle(job, self._queue_full("More pictures arrive than can be computed."))
            try:
                await self._compute(self._running, released_by)
                if self._running:
                    self._observe(Batch(len(self._running), released_by))
            except Exception as error:
                log.exception("a batch could not be handled")
                for job in self._running:
                    self._settle(job, _ended_by(error))
            self._running = []

    async def _release(self) -> Released | None:
        """Wait until a batch should leave and say why; None when drained and empty."""
        try:
            while self._lanes or self._on_their_way or not self._draining:
                self._wake.clear()
                if self._lanes:
                    leave_at, reason = self._departure()
                    if leave_at - self._loop.time() < TICK_S:
                        return reason
                    self._arm(leave_at)
                await self._wake.wait()
            return None
        finally:
            self._disarm()

    def _arm(self, when: float) -> None:
        """One timer per batch: arrivals do not move it, only another head or an earlier deadline does."""
        if self._armed_for != when:
            self._disarm()
            self._timer, self._armed_for = self._loop.call_at(when, self._on_timer), when

    def _on_timer(self) -> None:
        self._armed_for = None  # it may have come a little early: then it is armed again
        self._wake.set()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed_for = None

    def _departure(self) -> tuple[float, Released]:
        """When the next batch should leave if nothing else happens, and why. Needs a job in the queue."""
        if self._lanes.rests_until > self._loop.time() and not self._draining:
            return self._lanes.rests_until, "window"
        if len(self._lanes) >= self._max_batch:
            return -math.inf, "full"
        if self._draining:
            return -math.inf, "drain"
        window = min(job.arrived for job in self._lanes) + self._max_wait_s
        if window > self._loop.time() and not self._on_their_way:
            return -math.inf, "idle"
        urgent = min(job.deadline for job in self._lanes) - MARGIN * len(self._lanes) * self._item_s
        return (window, "window") if window <= urgent else (urgent, "deadline")

    async def _compute(self, jobs: Sequence[Job[Item, Outcome[Result]]], released_by: Released) -> None:
        async for run in in_halves(self._run, jobs):
            if run.error is not None:
                for job in run.jobs:
                    self._settle(job, _ended_by(run.error))
                continue
            self._measured_s.append(max(run.seconds / len(run.jobs), INSTANT_S))
            self._item_s = statistics.median(self._measured_s)
            for job, result in zip(run.jobs, run.results, strict=True):
                self._settle(job, Outcome(result, run.started - job.arrived, len(run.jobs), released_by))

    def _settle(self, job: Job[Item, Outcome[Result]], end: Outcome[Result] | GlimtError) -> None:
        if job.future.done():
            return
        if isinstance(end, GlimtError):
            self._totals["failed" if isinstance(end, EngineFailed) else "refused"] += 1
            job.future.set_exception(end)
        else:
            self._totals["completed"] += 1
            job.future.set_result(end)


def _draining() -> Draining:
    return Draining("The service is shutting down and takes no new pictures.", retry_after_s=5)


def _ended_by(error: BaseException) -> GlimtError:
    if isinstance(error, Unavailable):
        return type(error)(error.detail, retry_after_s=error.retry_after_s)  # one for each caller: it holds a traceback
    failed = EngineFailed(
        "The model failed on this picture, also alone. The log has the reason; the request id finds it."
    )
    failed.__cause__ = error
    return failed
