"""What the batcher tells: an item's outcome, a batch, a point of the measured curve, a snapshot of the queue."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from service.inference.predictions import Released

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """What `submit` returns: the item's own result and how its batch came about. `queue_s` in seconds."""

    result: Result
    queue_s: float
    batch_size: int
    released_by: Released


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch that left the queue and came back, told to `observe`."""

    size: int
    released_by: Released


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one run of `batch` items takes, in milliseconds, as measured at warm-up."""

    batch: int
    ms: float

    @property
    def per_s(self) -> float:
        """Items per second at this batch size."""
        return self.batch * 1000 / self.ms


@dataclass(frozen=True, slots=True)
class Stats:
    """A frozen snapshot. `pending` jobs wait, `announced` items are on their way, `running` are in the runner since
    `running_s` seconds. `totals` counts how jobs ended: completed, failed (the runner could not), cancelled (the
    caller left), expired (past their deadline), refused (told to come again, also before they were submitted).
    `places`: how many callers may wait now; fewer than `max_pending` when so many would take longer than an answer is
    wanted."""

    alive: bool
    pending: int
    announced: int
    running: int
    running_s: float
    max_batch: int
    max_wait_ms: float
    max_pending: int
    places: int
    items_per_s: float
    overloaded: bool
    totals: dict[str, int]
