"""When does a queue stand, what is then worth computing, and how long do callers wait? A pure policy.

First come, first served is right until the offered load stays above what the runner can do. Then the queue only
stands: everybody waits the longest, and what is computed is exactly what is about to be given up. The cure is
controlled delay (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012: judge a queue by the
SHORTEST wait in an interval, because a good queue empties now and then) with adaptive LIFO (Maurer, "Fail at
Scale", ACM Queue 13(8), 2015: while it stands serve the newest first and refuse the old early). Better still is a queue
that never comes to stand: at the door nobody is let in whom the queue, at the measured rate, keeps for too long.

Both need to know how long an answer is worth having. Few callers say it (a deadline); all show it by hanging up. So
the patience is learned from those who left: it falls to a share of what they waited when many leave, and grows again
while few do, as a sender's window does in TCP (Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988).
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass, field

GOOD = 0.75  # of the patience: a queue whose shortest wait is above it has no room for anything to go wrong
LEAVERS = 0.25  # that many leavers per served caller are no accident: somebody's patience is at its end
DOOR = 0.6  # of the patience: who would wait longer is told so at the door, before anything is decoded in vain
SHARE = 0.8  # of what the leavers waited is counted on: the answer needs time to travel, and clocks differ
RELAX_S = 30.0  # without leavers the patience grows e-fold in so long
MOST = 20.0  # e-folds at once: the first look is at the machine's uptime, after days of it
FEW, MANY = 4, 16  # fewer leavers in an interval teach nothing; so many need not wait for its end
LEAST_S = 0.25  # shorter visits tell nothing of patience: a page closed, a cancelled keystroke


@dataclass(slots=True)
class Overload:
    """`longest_s`: the patience while nobody shows less. `interval_s`: how long the shortest wait must be too long
    before the queue stands. `patience_s`: the age up to which an answer is still wanted, as learned."""

    longest_s: float = 8.0
    interval_s: float = 1.0
    standing: bool = field(default=False, init=False)
    patience_s: float = field(default=0.0, init=False)
    _above_since: float | None = field(default=None, init=False)
    _left_after: deque[float] = field(default_factory=lambda: deque(maxlen=MANY * 64), init=False)
    _served: int = field(default=0, init=False)
    _looked_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.patience_s = self.longest_s

    def left(self, waited_s: float) -> None:
        """Tell of a caller who hung up after so long."""
        if waited_s >= LEAST_S:
            self._left_after.append(waited_s)

    def stands(self, backlog_s: float) -> bool:
        """Ask before a batch: whether the newest go first and the too old are refused. `backlog_s` is how long all
        that waits would take to compute: when arrival order serves it in time, arrival order returns."""
        if backlog_s < GOOD * self.patience_s:
            self.standing, self._above_since = False, None
        return self.standing

    def places(self, item_s: float) -> int:
        """How many may wait, at `item_s` seconds each, for one more to be answered while it is wanted, with some to
        spare: for those on their way behind it, and for a runner that becomes slower."""
        return int(DOOR * self.patience_s / item_s)

    def note(self, now: float, shortest_wait_s: float, served: int) -> None:
        """Tell of a batch: when it left, the shortest wait in it, counted until it will be done, and of how many."""
        self._served += served
        if now - self._looked_at >= self.interval_s or len(self._left_after) >= MANY:
            self._learn(now)
        if shortest_wait_s < GOOD * self.patience_s:
            self._above_since = None
        elif self._above_since is None:
            self._above_since = now
        elif now - self._above_since >= self.interval_s:
            self.standing = True

    def too_old(self, age_s: float) -> bool:
        """Whether an answer at this age would find nobody any more."""
        return age_s > self.patience_s

    def _learn(self, now: float) -> None:
        if len(self._left_after) >= max(FEW, self._served * LEAVERS):
            self.patience_s = min(self.patience_s, SHARE * statistics.median(self._left_after))
        else:
            growth = math.exp(min((now - self._looked_at) / RELAX_S, MOST))
            self.patience_s = min(self.longest_s, self.patience_s * growth)
        self._left_after.clear()
        self._served, self._looked_at = 0, now
