"""perf/process.py: what a process holds, seen from outside."""

import os
import threading
from pathlib import Path

from perf.process import forget_peak, held


def test_files_and_threads_are_counted(tmp_path: Path) -> None:
    """One more of each."""
    before, over = held(os.getpid()), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    with (tmp_path / "file").open("w"):
        after = held(os.getpid())
    over.set()
    thread.join()
    assert (after.files, after.threads) == (before.files + 1, before.threads + 1)


def test_the_peak_is_at_least_what_there_is() -> None:
    """Also when it is counted anew."""
    forget_peak(os.getpid())
    found = held(os.getpid())
    assert 0 < found.own_mib <= found.resident_mib <= found.peak_mib
