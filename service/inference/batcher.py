"""The generic micro-batcher: single items in, batches to one runner, each caller gets its own result.

It is asyncio and the standard library only, and knows nothing of pictures, arrays, threads or HTTP.
The rules, each with its test in tests/inference/test_batcher.py:

- A batch leaves when it is full, when its head has waited `max_wait_ms` since it ARRIVED (so under load an aged
  head leaves at once and batches grow while the runner is busy), when waiting on would cost somebody the deadline,
  or at drain. If the runner is free and nobody has announced another item, waiting buys nothing: it leaves idle.
- A full batch is handed over a little before the runner is done with the one before: it need not wait for us then.
- A cancelled or past-deadline job never enters a batch. Every `submit` ends exactly once.
- A run that raises is repeated in halves, so that only the guilty item fails (halving.py); unless it raises
  Unavailable, which is not an item's fault: all of them are told so.
- Who is let in is decided in door.py; who goes first in lanes.py (interactive, bulk) and overload.py (when the
  queue stands).
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from service.errors import DeadlineExceeded, EngineFailed, GlimtError
from service.inference.batches import Batch, Outcome, Stats
from service.inference.door import Door
from service.inference.halving import ended_by, in_halves
from service.inference.lanes import INTERACTIVE, Job, Lane, Lanes
from service.inference.overload import Overload
from service.inference.pace import Pace
from service.inference.predictions import Released

Item = TypeVar("Item")
Result = TypeVar("Result")

MARGIN = 1.5  # a batch that hurries for a deadline leaves this many expected run times before it
AHEAD = 0.2  # of the run before is expected to be left when a full batch is handed over
TICK_S = 0.001  # uvloop's clock counts whole milliseconds: what is due within one is due

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Flight(Generic[Item, Result]):
    """A batch that a runner has (`pace.runner`), `since` when. `is_repeated`: it failed, and comes in halves."""

    jobs: list[Job[Item, Outcome[Result]]]
    runner: int
    since: float
    is_repeated: bool = False


class Batcher(Generic[Item, Result]):
    """`async with Batcher(run, ...) as batcher: outcome = await batcher.submit(item)`.

    `run` is awaited with 1..max_batch items and returns as many results in the same order. It may be awaited a second
    time while the first is about to end, and computes one after another. `observe` is called with each finished
    `Batch`. `door` lets in, or refuses. Times come from the loop's clock.
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
        self._wake = asyncio.Event()
        self._totals: Counter[str] = Counter()
        self.pace = Pace()
        self.door = Door(self._lanes, self.pace, self._totals, self._wake.set)
        self._task: asyncio.Task[None] | None = None
        self._flights: list[_Flight[Item, Result]] = []
        self._ended = 0.0  # the last run
        self._timer: asyncio.Handle | None = None
        self._armed_for: float | None = None
        self._max_wait_s = 0.0
        self.configure(max_batch=max_batch, max_wait_ms=max_wait_ms, max_pending=max_pending)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._work(), name="batcher")
        self._task.add_done_callback(self._release_everyone)
        self.door.is_open = True
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
        self.door.max_batch = max_batch or self.door.max_batch
        self.door.max_pending = max_pending or self.door.max_pending
        self._max_wait_s = self._max_wait_s if max_wait_ms is None else max_wait_ms / 1000
        self._wake.set()
        self.door.look_again()

    async def submit(self, item: Item, *, deadline: float | None = None, lane: Lane = INTERACTIVE) -> Outcome[Result]:
        """Queue the item and wait for its own result. `deadline` is a time of the loop's clock.

        Raises QueueFull, Draining or NotReady at once, DeadlineExceeded at the deadline, EngineFailed when the
        runner cannot compute this item. Cancelling takes the item out of the queue. While a drain goes on, what was
        announced before it is still taken.
        """
        self.door.refuse()
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
            self.door.look_again()

    def stats(self) -> Stats:
        """How it stands now."""
        return Stats(
            alive=self.alive,
            pending=len(self._lanes),
            announced=self.door.on_their_way,
            running=self.door.running,
            running_s=self._loop.time() - self._flights[0].since if self._flights else 0.0,
            max_batch=self.door.max_batch,
            max_wait_ms=self._max_wait_s * 1000,
            max_pending=self.door.max_pending,
            places=self.door.places,
            items_per_s=1 / self.pace.item_s,
            overloaded=self._lanes.overload.standing,
            totals=dict(self._totals),
        )

    async def aclose(self, *, drain_s: float = 0.0) -> None:
        """Admit nothing new, compute what waits or is announced for at most `drain_s` seconds, release the rest with
        Draining. Twice is once."""
        self.door.draining = True
        self._wake.set()
        self.door.look_again()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=drain_s)
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def alive(self) -> bool:
        """Whether anything is computed at all: false before entering, after closing, and if the worker died."""
        return self._task is not None and not self._task.done()

    def _release_everyone(self, task: asyncio.Task[None]) -> None:
        self.door.is_open = False
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the batch worker died", exc_info=error)
        for job in [*(job for flight in self._flights for job in flight.jobs), *self._lanes]:
            self._settle(job, self.door.closed())
        self.door.look_again()

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as flights:
            while (released_by := await self._release()) is not None:
                jobs, refused = self._lanes.take(self.door.max_batch, self._free_at(), self.pace.item_s)
                for job in refused:
                    self._settle(job, self.door.queue_full("More pictures arrive than can be computed."))
                self._flights.append(flight := _Flight(jobs, self.pace.runner, self._loop.time()))
                self.door.running += len(jobs)
                flights.create_task(self._fly(flight, released_by))
            self.door.is_open = False  # drained, but for what flies

    async def _release(self) -> Released | None:
        """Wait until a batch should leave and say why; None when drained and empty."""
        try:
            while self._lanes or self.door.on_their_way or not self.door.draining:
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
            if when < math.inf:
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
        if self._flights:
            is_full = self._lanes.is_full(self.door.max_batch, self._free_at())
            return (max(self._nearly_free_at(), self._lanes.rests_until) if is_full else math.inf), "full"
        if self._lanes.rests_until > self._loop.time() and not self.door.draining:
            return self._lanes.rests_until, "window"
        if len(self._lanes) >= self.door.max_batch:
            return -math.inf, "full"
        if self.door.draining:
            return -math.inf, "drain"
        window = min(job.arrived for job in self._lanes) + self._max_wait_s
        if window > self._loop.time() and not self.door.on_their_way:
            return -math.inf, "idle"
        urgent = min(job.deadline for job in self._lanes) - MARGIN * len(self._lanes) * self.pace.item_s
        return (window, "window") if window <= urgent else (urgent, "deadline")

    def _free_at(self) -> float:
        """When the runner can begin with the next batch, as far as one can know."""
        expected = self._flights[-1].since + len(self._flights[-1].jobs) * self.pace.item_s if self._flights else 0.0
        return max(self._loop.time(), expected)

    def _nearly_free_at(self) -> float:
        """When a full batch should be at hand; never while two are there already, or nobody can know."""
        flight = self._flights[0]
        if len(self._flights) > 1 or flight.is_repeated or not self.pace.is_known:
            return math.inf
        return flight.since + (1 - AHEAD) * len(flight.jobs) * self.pace.item_s

    async def _fly(self, flight: "_Flight[Item, Result]", released_by: Released) -> None:
        """One batch, from the queue to its answers."""
        try:
            await self._compute(flight, released_by)
            if flight.jobs:
                self._observe(Batch(len(flight.jobs), released_by))
        except Exception as error:
            log.exception("a batch could not be handled")
            for job in flight.jobs:
                self._settle(job, ended_by(error))
        self._flights.remove(flight)
        self.door.running -= len(flight.jobs)
        if self._flights:
            self._flights[0].since = self._loop.time()
        self._wake.set()

    async def _compute(self, flight: "_Flight[Item, Result]", released_by: Released) -> None:
        async for run in in_halves(self._run, flight.jobs):
            began, self._ended = max(run.started, self._ended), run.started + run.seconds
            if run.is_repeated:
                flight.is_repeated = True
                continue
            if run.error is not None:
                for job in run.jobs:
                    self._settle(job, ended_by(run.error))
                continue
            if flight.runner == self.pace.runner:
                self.pace.note(self._ended - began, len(run.jobs))
            for job, result in zip(run.jobs, run.results, strict=True):
                self._settle(job, Outcome(result, began - job.arrived, len(run.jobs), released_by))

    def _settle(self, job: Job[Item, Outcome[Result]], end: Outcome[Result] | GlimtError) -> None:
        if job.future.done():
            return
        if isinstance(end, GlimtError):
            self._totals["failed" if isinstance(end, EngineFailed) else "refused"] += 1
            job.future.set_exception(end)
        else:
            self._totals["completed"] += 1
            job.future.set_result(end)
