"""What a burst needed is given back while the service runs."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from perf.process import held
from service import memory
from service.inference.engines.memory import give_memory_back
from tests.world import in_process, make_app, until

PIECE, PIECES = 64 * 1024, 1024  # 64 MiB, each piece below what malloc asks the system for by itself


async def test_it_is_given_back_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never was after the model was loaded: under mixed load what is resident rose by 40 MiB an hour, nothing of it
    in use."""
    given: list[None] = []
    monkeypatch.setattr(memory, "EVERY_S", 0.001)
    monkeypatch.setattr(memory, "give_memory_back", lambda: given.append(None))
    async with in_process(make_app(tmp_path)):
        await until(lambda: len(given) > 2)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_is_free_between_what_is_held_is_given_back() -> None:
    """malloc by itself returns only the end of its memory: one small thing behind it keeps all before it."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(PIECE) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    behind = libc.malloc(PIECE)
    for piece in pieces:
        libc.free(piece)
    before = held(os.getpid()).resident_mib
    give_memory_back()
    after = held(os.getpid()).resident_mib
    libc.free(behind)
    assert before - after > PIECE * PIECES / 2**20 / 2
