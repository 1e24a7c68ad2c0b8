"""Running a batch so that only the guilty item fails: a run that raises is repeated in halves. asyncio and no more."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from service.errors import EngineFailed, GlimtError, Unavailable
from service.inference.lanes import Job

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run(Generic[Item, Result]):
    """A run that is over: its jobs, when it began by the loop's clock, how long it took, and either a result for each
    job or what the runner raised. `is_repeated`: it failed, and its halves follow."""

    jobs: Sequence[Job[Item, Any]]
    started: float
    seconds: float
    results: Sequence[Result]
    error: BaseException | None
    is_repeated: bool = False


async def in_halves(
    run: Callable[[list[Item]], Awaitable[Sequence[Result]]], jobs: Sequence[Job[Item, Any]]
) -> AsyncIterator[Run[Item, Result]]:
    """Run the jobs that are still wanted; each run, and instead of one that fails also its halves, unless a job alone
    caused that or it is no job's fault (Unavailable).

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
    yield replace(attempt, is_repeated=True)
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


def ended_by(error: BaseException) -> GlimtError:
    """What a caller is told of a run that ended so: each his own, because it holds a traceback."""
    if isinstance(error, Unavailable):
        return type(error)(error.detail, retry_after_s=error.retry_after_s)
    failed = EngineFailed(
        "The model failed on this picture, also alone. The log has the reason; the request id finds it."
    )
    failed.__cause__ = error
    return failed
