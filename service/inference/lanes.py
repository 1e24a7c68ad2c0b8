"""The jobs that wait for a batch, in their lanes: who goes next. Pure bookkeeping; the batcher owns the time."""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from service.inference.overload import GOOD, Overload

Item = TypeVar("Item")
Result = TypeVar("Result")
Lane = Literal["interactive", "bulk"]

INTERACTIVE: Lane = "interactive"
BULK: Lane = "bulk"
BULK_TURN = 32  # interactive jobs without it, then a waiting bulk lane gets a quarter of a batch: of a lone caller's
# requests one in 33 is longer for it, well under the twentieth that a p95 leaves out
COMPANY_S = 1.0  # so long after an interactive job another is expected, and should find no long batch before it
BULK_IN_COMPANY = 1  # jobs in a bulk batch then: the next caller waits for one picture, not for a batch of them
QUIET_S = (
    0.05  # bulk rests so long after an answer: who asks again at once is back by then, network and decoding included
)


@dataclass(eq=False, slots=True)
class Job(Generic[Item, Result]):
    """One submitted item. `arrived` and `deadline` are times of the loop's clock; no deadline is infinity."""

    item: Item
    future: asyncio.Future[Result]
    arrived: float
    deadline: float


class Lanes(Generic[Item, Result]):
    """Interactive before bulk, yet bulk never starves; arrival order within a lane, unless `overload` stands. Bulk
    jobs take whole batches only while no interactive caller is about, and rest while one asks again and again."""

    def __init__(self, overload: Overload) -> None:
        self.overload = overload
        self._interactive: dict[Job[Item, Result], None] = {}  # dicts as ordered sets: leaving early costs O(1)
        self._bulk: dict[Job[Item, Result], None] = {}
        self._bulk_passed_over = 0
        self._company_until = self._quiet_from = -math.inf

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    @property
    def callers(self) -> int:
        """Jobs of the interactive lane."""
        return len(self._interactive)

    def __iter__(self) -> Iterator[Job[Item, Result]]:
        yield from self._interactive
        yield from self._bulk

    def add(self, job: Job[Item, Result], lane: Lane) -> None:
        """Queue the job at the end of its lane."""
        (self._interactive if lane == INTERACTIVE else self._bulk)[job] = None

    def discard(self, job: Job[Item, Result]) -> None:
        """Forget the job, wherever it is."""
        self._interactive.pop(job, None)
        self._bulk.pop(job, None)

    @property
    def rests_until(self) -> float:
        """Before this time no batch is to leave: only bulk jobs wait, and the last caller may be back any moment."""
        return -math.inf if self._interactive else self._quiet_from

    def is_full(self, count: int, now: float) -> bool:
        """Whether `take` would find so many then."""
        if self._interactive:
            return len(self._interactive) >= count
        return now >= self._company_until and len(self._bulk) >= count

    def take(self, count: int, now: float, item_s: float) -> tuple[list[Job[Item, Result]], list[Job[Item, Result]]]:
        """The next batch, up to `count` jobs that are still wanted, and the jobs that overload has made not worth
        computing, all out of the lanes. `item_s` is what one job takes to compute."""
        newest_first = self.overload.stands(len(self._interactive) * item_s)
        if newest_first:  # a batch that takes longer than callers wait would be refused whole
            count = max(1, min(count, int(GOOD * self.overload.patience_s / item_s)))
        done_at = now + min(count, len(self)) * item_s
        refused = self._pop_too_old(done_at) if newest_first else []
        bulk_turn = self._bulk_passed_over >= BULK_TURN
        batch = _pop(self._bulk, max(1, count // 4) if bulk_turn else 0, now, done_at)
        urgent = _pop(
            self._interactive,
            count - len(batch),
            now,
            done_at,
            patience_s=self.overload.patience_s,
            newest_first=newest_first,
        )
        batch += urgent
        if urgent:
            self._company_until = now + COMPANY_S
            self._quiet_from = now + len(batch) * item_s + QUIET_S
        batch += _pop(self._bulk, self._left_for_bulk(count, len(batch), now), now, done_at)
        passed_over = self._bulk and len(batch) == len(urgent)
        self._bulk_passed_over = self._bulk_passed_over + len(urgent) if passed_over else 0
        if urgent:
            self.overload.note(now, done_at - max(job.arrived for job in urgent), len(urgent))
        return batch, refused

    def _left_for_bulk(self, count: int, taken: int, now: float) -> int:
        """Places for bulk jobs in a batch that has so many others. With interactive callers about it makes none of
        theirs longer, and batches of its own are short."""
        if now >= self._company_until:
            return count - taken
        return min(count, BULK_IN_COMPANY) if not taken else 0

    def _pop_too_old(self, done_at: float) -> list[Job[Item, Result]]:
        """A job without a deadline has said that it will wait, and stays."""
        old = [
            job for job in self._interactive if job.deadline < math.inf and self.overload.too_old(done_at - job.arrived)
        ]
        for job in old:
            del self._interactive[job]
        return old


def _pop(
    lane: dict[Job[Item, Result], None],
    count: int,
    now: float,
    done_at: float,
    *,
    patience_s: float = math.inf,
    newest_first: bool = False,
) -> list[Job[Item, Result]]:
    """Take `count` jobs off the lane. Those nobody waits for any more fall out; their `submit` ends by itself.

    One whose deadline, or whose caller's patience, ends before a full batch is done goes only when there is room: its
    answer may be too late.
    """
    taken: list[Job[Item, Result]] = []
    hopeless: list[Job[Item, Result]] = []
    for job in list(reversed(lane) if newest_first else lane):
        if len(taken) == count:
            break
        if job.future.done() or job.deadline <= now:
            del lane[job]
        elif job.deadline < done_at or (job.deadline < math.inf and job.arrived + patience_s < done_at):
            hopeless.append(job)
        else:
            del lane[job]
            taken.append(job)
    for job in hopeless[: count - len(taken)]:
        del lane[job]
        taken.append(job)
    return taken
