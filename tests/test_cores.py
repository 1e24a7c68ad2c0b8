"""How many cores this process may use, and who stands back."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.cores import NICE, be_nice, usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux has affinities")
def test_affinity_counts() -> None:
    """Under taskset a process has fewer cores than the machine."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    usable_cores.cache_clear()
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
        usable_cores.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_stands_back_alone() -> None:
    """The one that asked, and no other of the process."""
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with ThreadPoolExecutor(1, initializer=be_nice) as pool:
        there = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert (there, here) == (NICE, before)
