"""What Linux tells of a process from outside: memory, open files, threads. Reads /proc alone."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FORGET_THE_PEAK = "5"  # proc(5), /proc/pid/clear_refs


class Held(NamedTuple):
    """What a process holds now. `own_mib`: its resident memory without pages of files. `peak_mib`: the most resident
    memory since its start, or since `forget_peak`."""

    resident_mib: float
    own_mib: float
    peak_mib: float
    files: int
    threads: int


def held(pid: int) -> Held:
    """Raises OSError when the process is gone or another user's."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = {name: int(value) for name, value in re.findall(r"(VmRSS|RssAnon|VmHWM|Threads):\s+(\d+)", status)}
    files = len(os.listdir(f"/proc/{pid}/fd"))
    resident_mib, own_mib, peak_mib = (found[name] / 1024 for name in ("VmRSS", "RssAnon", "VmHWM"))
    return Held(resident_mib, own_mib, peak_mib, files, found["Threads"])


def forget_peak(pid: int) -> None:
    """The peak counts from now on, where the system allows it."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text(FORGET_THE_PEAK)
