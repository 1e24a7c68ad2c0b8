"""A job under way, as its runner sees it: what is answered and not yet stored, how fast it goes, why it stands."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.store.job_rows import Job, JobItem

Pause = Callable[[str], None]

RATE_S = 30.0
"""The rate is that of so long."""
CHECKPOINT_ITEMS, CHECKPOINT_S = 64, 1.0
"""What is answered is stored when it is so many, or so long after the last time. A crash costs no more work: it is
done again, and never counted twice."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a job goes that is not over. `paused` says why it stands still; the rate is in pictures per second, skipped
    entries not counted; `eta_s` is None as long as nobody can know."""

    paused: str | None = None
    rate_per_s: float | None = None
    eta_s: float | None = None


@dataclass(eq=False, slots=True)
class Run:
    """One job. `left` counts the pictures without a row, None before the archive was opened; `answered` are those
    without one that have their answer, in order of answer. Times are those of the loop's clock."""

    job: Job
    task: asyncio.Task[None] = field(init=False)
    leaving: bool = False
    left: int | None = None
    answered: list[JobItem] = field(default_factory=list)
    storing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _stored: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    _pauses: dict[object, str] = field(default_factory=dict)

    def leave(self) -> None:
        """Stop it. Once: a second cancel would hit it while it stores what is answered."""
        if not self.leaving:
            self.leaving = True
            self.task.cancel()

    def begin(self, now: float, left: int) -> None:
        """The archive is open, with so many pictures to be classified."""
        self.left = left
        self._marks.append((now, 0))

    def is_due(self, now: float) -> bool:
        """Whether it is time to store what is answered."""
        return len(self.answered) >= CHECKPOINT_ITEMS or now - self._marks[-1][0] >= CHECKPOINT_S

    def stored(self, now: float, items: list[JobItem]) -> None:
        """These, the first that were answered, have their rows."""
        del self.answered[: len(items)]
        pictures = sum(item.status != "skipped" for item in items)
        self.left = (self.left or 0) - pictures
        self._stored += pictures
        self._marks.append((now, self._stored))
        while len(self._marks) > 2 and self._marks[1][0] < now - RATE_S:
            self._marks.popleft()

    @contextmanager
    def pausing(self) -> Iterator[Pause]:
        """For who may have to wait: call the pause with the reason, it ends with the block."""
        key = object()
        try:
            yield lambda why: self._pauses.update({key: why})
        finally:
            self._pauses.pop(key, None)

    def progress(self, now: float) -> Progress:
        """As it is now."""
        paused = next(iter(self._pauses.values()), None)
        if len(self._marks) < 2:
            return Progress(paused)
        (begin, first), (end, last) = self._marks[0], self._marks[-1]
        end = max(end, now - 2 * CHECKPOINT_S)  # when nothing comes any more, the rate falls
        rate = (last - first) / (end - begin) if end > begin else 0.0
        return Progress(paused, rate, self.left / rate if self.left and rate and not paused else None)
