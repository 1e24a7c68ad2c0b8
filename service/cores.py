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
"""Steps that threads stand back which compute what somebody waits for: each gets a third of the time of the event loop
where both want a core, so that who is refused hears of it at once while hundreds of pictures are decoded."""
BESIDE = 15
"""Steps for what nobody waits for: a ninth of the time of those."""
LEAST = 19


@cache
def usable_cores() -> int:
    """At least 1: what affinity allows, and no more than the quota of the control group (version 2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))  # "max" is a ValueError: no quota
    return max(1, allowed)


def stand_back(steps: int) -> None:
    """Let this thread stand back by so many steps behind those of the process that do not. Only Linux knows priorities
    of threads; those that this one starts have its own."""
    if sys.platform == "linux":
        base = os.getpriority(os.PRIO_PROCESS, os.getpid())  # the main thread's: the process may stand back itself
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(base + steps, LEAST))
