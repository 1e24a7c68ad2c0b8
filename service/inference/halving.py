"""Running a batch so that only the guilty item fails: a run that raises is repeated in halves. asyncio and no more."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.errors import Unavailable
from service.inference.lanes import Job

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run(Generic[Item, Result]):
    """A run that is over: its jobs, when it began by the loop's clock, how long it took, and either a result for each
    job or what the runner raised."""

    jobs: Sequence[Job[Item, Any]]
    started: float
    seconds: float
    results: Sequence[Result]
    error: BaseException | None


async def in_halves(
    run: Callable[[list[Item]], Awaitable[Sequence[Result]]], jobs: Sequence[Job[Item, Any]]
) -> AsyncIterator[Run[Item, Result]]:
    """Run the jobs that are still wanted; each run that succeeds, and each with an error that a job alone causes, or
    that is no job's fault (Unavailable).

    A runner that returns another number of results than it was given items has failed. Cancelling cancels the run.
    """
    jobs = [job for job in jobs if not job.future.done()]
    if not jobs:
        return
    attempt = await _attempt(run, jobs)
    if attempt.error is None or len(jobs) == 1 or isinstance(attempt.error, Unavailable):
        yield attempt
        return
    log.warning("a batch of %d failed and is repeated in halves: %r", len(jobs), attempt.error)
    middle = len(jobs) // 2
    for half in (jobs[:middle], jobs[middle:]):
        async for smaller in in_halves(run, half):
            yield smaller


async def _attempt(
    run: Callable[[list[Item]], Awaitable[Sequence[Result]]], jobs: Sequence[Job[Item, Any]]
) -> Run[Item, Result]:
    """One run: its results, or what went wrong, even a SystemExit from the runner's thread."""
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        results = await run([job.item for job in jobs])
        if len(results) != len(jobs):
            raise RuntimeError(f"the runner returned {len(results)} results for {len(jobs)} items")
        return Run(jobs, started, clock() - started, results, None)
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, GeneratorExit) or (task is not None and task.cancelling()):
            raise
        return Run(jobs, started, clock() - started, [], error)
