"""How many cores this process may use: fewer than the machine has, in a container or under taskset; and which of its
threads stand back."""

import math
import os
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

NICE = 10
"""Half of the way to the least: a ninth of the time of a thread that wants the same core."""


@cache
def usable_cores() -> int:
    """At least 1: what affinity allows, and no more than the quota of the control group (version 2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))  # "max" is a ValueError: no quota
    return max(1, allowed)


def be_nice() -> None:
    """Let this thread stand back behind the others of the machine. Only Linux knows threads there."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
