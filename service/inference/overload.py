"""When does a queue stand, and what is then worth computing? A pure policy; the batcher asks it per batch.

First come, first served is right until the offered load stays above what the runner can do. Then the queue only
stands: everybody waits the longest, and what is computed is exactly what is about to be given up. The cure is
controlled delay (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012: judge a queue by the
SHORTEST wait in an interval, because a good queue empties now and then) with adaptive LIFO (Maurer, "Fail at
Scale", ACM Queue 13(8), 2015: while it stands serve the newest first and refuse the old early).
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Overload:
    """`target_s`: the wait that is still good. `interval_s`: how long it must be exceeded before it stands."""

    target_s: float = 5.0
    interval_s: float = 1.0
    standing: bool = field(default=False, init=False)
    _above_since: float | None = field(default=None, init=False)

    def stands(self, backlog_s: float) -> bool:
        """Ask before a batch: whether the newest go first and the too old are refused. `backlog_s` is how long all
        that waits would take to compute: when arrival order serves it in time, arrival order returns."""
        if backlog_s < self.target_s:
            self.standing, self._above_since = False, None
        return self.standing

    def note(self, now: float, shortest_wait_s: float) -> None:
        """Tell of a batch: when it left and the shortest wait in it."""
        if shortest_wait_s < self.target_s:
            self._above_since = None
        elif self._above_since is None:
            self._above_since = now
        elif now - self._above_since >= self.interval_s:
            self.standing = True

    def too_old(self, waited_s: float) -> bool:
        """Whether, in a standing queue, a job that has waited so long is refused rather than served."""
        return waited_s > self.target_s
