"""How many cores this process may use: fewer than the machine has, in a container or under taskset; and which of its
threads stand back."""

import math
import os
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

COMPUTING = 5
"""Steps of nice for what somebody waits for: a third of the time of the event loop where both want a core (a step is a
factor of 1.25, sched(7)), so that who is refused hears of it at once while hundreds of pictures are decoded."""
BESIDE = 15
"""Steps for what nobody waits for: a ninth of the time of that."""
LEAST = 19
"""The last priority there is."""


@cache
def usable_cores() -> int:
    """At least 1: what affinity allows, and no more than the quota of the control group (version 2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))  # "max" is a ValueError: no quota
    return max(1, allowed)


def lower_priority(steps: int) -> None:
    """Of this thread, and of those that it starts, to so many steps of nice below the main thread's, or LEAST. Nothing
    where threads have none of their own: only on Linux they do."""
    if sys.platform == "linux":
        base = os.getpriority(os.PRIO_PROCESS, os.getpid())  # not 0 when the process itself was started with nice
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(base + steps, LEAST))
