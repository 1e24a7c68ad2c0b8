"""Memory that was needed for a moment, given back while the service runs. Only glibc keeps it."""

import asyncio
import ctypes
from contextlib import suppress

from service.inference.engines.memory import give_memory_back

EVERY_S = 60.0
"""It takes a millisecond, and as much again until the next burst has back what it needs."""
M_ARENA_MAX = -8  # malloc.h


def one_arena() -> None:
    """Have all threads allocate in one place; to be called before there are any, those of libraries included. Each
    would keep the most it ever needed in one of its own, up to 64 MiB, and only that of the first thread can be given
    back whole. A decoder pays 1 or 2 % for it."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


async def give_back_forever() -> None:
    """What bursts left free, between what is held as well: malloc alone returns only the end of its memory."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(give_memory_back)
