"""How many cores this process may use: fewer than the machine has, in a container or under taskset."""

import math
import os
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def usable_cores() -> int:
    """At least 1: what affinity allows, and no more than the quota of the control group (version 2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = min(allowed, math.ceil(int(quota) / int(period)))  # "max" is a ValueError: no quota
    return max(1, allowed)
