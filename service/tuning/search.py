"""The search behind `glimt tune`: first over max_batch, then over max_wait_ms at the best one. Between the two they
see far less than the whole grid, and miss only a window that pays with one batch size and not with its neighbours."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service.errors import BadRequest, Forbidden, GlimtError, Unavailable
from service.tuning.grid import Visit, keeps, walk
from service.tuning.load import Arrival, Closed, Load, Loop
from service.tuning.pictures import Distinct
from service.tuning.setting import Setting
from service.tuning.target import Target
from service.tuning.verdict import Verdict, lighter

BATCHES = (1, 2, 4, 8, 16, 32, 64)
WAITS_MS = (0.0, 5.0, 20.0)
ROUNDS = 2
SEED = 20

Advance = Callable[[int, int], None]
"""Told of progress: visits done, visits in all as far as is known."""


@asynccontextmanager
async def borrowed(target: Target) -> AsyncIterator[Setting]:
    """The setting in force; whatever happens in the block, Ctrl-C too, it is in force again afterwards.

    Raises Unavailable, with what it was, when it cannot be put back, and Forbidden when it cannot be changed at all.
    """
    former = await target.setting()
    try:
        yield former
    finally:
        try:
            await target.restore(former)
        except Unavailable as error:
            raise Unavailable(
                f"The service at {target.address.url} stopped answering half-way; its setting could not be put back. "
                f"It was {former}; if it still runs: PATCH /api/batching."
            ) from error
        except Forbidden:  # nothing was ever changed
            raise
        except GlimtError as error:
            raise Unavailable(
                f"The setting of the service at {target.address.url} could not be put back: {error.detail} "
                f"It was {former}: PATCH /api/batching."
            ) from error


class Bench:
    """A service under one load, visited at one setting after the other."""

    def __init__(self, target: Target, loop: Loop, reference: Setting, seconds: float) -> None:
        self._target, self._loop, self._reference, self._seconds = target, loop, reference, seconds
        self.visits: list[Visit] = []

    async def visit(self, setting: Setting) -> Load:
        """Put the setting in force and measure. Raises BadRequest when the reference answers nothing: then there is
        nothing to compare with."""
        await self._target.configure(setting)
        load = await self._loop.measure(self._seconds)
        if not load.per_s and setting == self._reference:
            statuses = ", ".join(f"{count} x {status or 'broken'}" for status, count in load.failures.items())
            raise BadRequest(
                f"With {setting}, which was in force, no picture was answered in {self._seconds:g} s (refused: "
                f"{load.refused}; failed: {statuses or 0}). Try a lighter load, more --seconds or other --images."
            )
        self.visits.append(Visit(setting, load))
        return load


class Search:
    """One search. `advance` is called after each visit."""

    def __init__(
        self, target: Target, arrival: Arrival, pictures: Distinct, *, goal_ms: float, seconds: float, advance: Advance
    ) -> None:
        self._target, self._arrival, self._pictures = target, arrival, pictures
        self._goal_ms, self._seconds, self._advance = goal_ms, seconds, advance

    async def best(self, reference: Setting) -> Verdict:
        """Both walks. `reference` is in force now; the last visited setting is in force afterwards."""
        async with self._arrival.on(self._target, self._pictures) as loop:
            bench = Bench(self._target, loop, reference, self._seconds)
            sizes = [Setting(size, reference.max_wait_ms) for size in sizes_for(self._arrival)]
            batch = (await self._walk(bench, sizes, reference)).chosen.setting.max_batch
            if batch == 1:  # full with its first picture: it never waits
                return self._judge(bench, reference)
            return await self._walk(bench, [Setting(batch, wait_ms) for wait_ms in WAITS_MS], reference)

    async def holding(self, verdict: Verdict) -> tuple[Arrival, Load] | None:
        """The heaviest lighter load under which the fastest setting keeps the goal, or None."""
        setting = verdict.fastest.setting
        for arrival in lighter(self._arrival, self._goal_ms / verdict.fastest.p95_ms):
            async with arrival.on(self._target, self._pictures) as loop:
                load = await Bench(self._target, loop, setting, self._seconds).visit(setting)
            if keeps(self._goal_ms, load.p95_ms, load.lost_share):
                return arrival, load
        return None

    async def _walk(self, bench: Bench, settings: list[Setting], reference: Setting) -> Verdict:
        known = {visit.setting for visit in bench.visits} | {reference}
        fresh = [setting for setting in settings if setting not in known]
        order = walk(fresh, reference, ROUNDS, random.Random(SEED)) if fresh or not bench.visits else []
        total = len(bench.visits) + len(order)
        for setting in order:
            await bench.visit(setting)
            self._advance(len(bench.visits), total)
        return self._judge(bench, reference)

    def _judge(self, bench: Bench, reference: Setting) -> Verdict:
        return Verdict.of(bench.visits, reference, self._goal_ms, self._arrival)


def sizes_for(arrival: Arrival) -> list[int]:
    """The batch sizes worth a look: a closed loop never fills a batch larger than its clients."""
    most = max(2, arrival.clients) if isinstance(arrival, Closed) else 32
    return [size for size in BATCHES if size <= most]
