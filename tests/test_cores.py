"""How many cores this process may use."""

import os

import pytest

from service.cores import usable_cores


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
