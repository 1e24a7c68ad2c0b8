"""Memory that was needed for a moment, given back to the system: after a model was loaded, and while the service runs.
Only Linux with glibc needs it."""

import asyncio
import ctypes
import gc
import re
from collections.abc import Iterator
from contextlib import suppress
from ctypes import c_size_t, c_void_p
from pathlib import Path

EVERY_S = 60.0
"""It takes a millisecond, and as much again until the next burst has back what it needs."""
M_ARENA_MAX = -8  # malloc.h
MADV_DONTNEED = 4  # linux/mman.h


def forget_pages(name: str) -> None:
    """Take the unchanged pages of mapped files out of this process: most of a library was read once, to link it.

    `name`: a regular expression for the files. What is needed again comes back from the system's page cache. A
    mapping with a page of our own is left alone.
    """
    with suppress(AttributeError, OSError):
        for start, end in _unchanged_mappings(name):
            ctypes.CDLL(None).madvise(c_void_p(start), c_size_t(end - start), MADV_DONTNEED)


def _unchanged_mappings(name: str) -> Iterator[tuple[int, int]]:
    """Address ranges of read-only mappings of the file that hold no private page, as Linux tells them."""
    mapping = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (r-.[ps]) .*" + name)
    found = None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line[:1].isupper():
            found = mapping.match(line)
        elif line.startswith(("Anonymous:", "Swap:")) and line.split()[1] != "0":
            found = None
        elif found and line.startswith("Swap:"):
            yield int(found[1], 16), int(found[2], 16)


def give_memory_back() -> None:
    """Return what malloc holds of freed memory to the system: 0.7 GB after loading ResNet50. Only glibc hoards so."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def one_arena() -> None:
    """Have all threads allocate in one place; to be called before there are any, those of libraries included. Each
    would keep the most it ever needed in one of its own, up to 64 MiB, and only that of the first thread can be given
    back whole. A decoder pays 1 or 2 % for it."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def keep_for_good() -> None:
    """What is there now lives as long as the process. The garbage collector need not look through it, which took 0.2 s,
    nor wait with its oldest generation until that has grown by a quarter of it, which took an hour: it goes by what the
    last whole collection found, which after this one is next to nothing."""
    gc.freeze()
    gc.collect()


async def give_back_forever() -> None:
    """What bursts left free, between what is held as well: malloc alone returns only the end of its memory."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(give_memory_back)
