"""What a burst needed is given back while the service runs."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from service import memory
from tests.world import in_process, make_app, until

BURST = """
import ctypes, os, threading
from perf.process import held
from service.memory import give_memory_back, one_arena

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
one_arena()
libc.free(libc.malloc(31 << 20))  # as for a large picture: what is smaller goes into the arena from now on

def burst():
    piece = libc.malloc(24 << 20)
    ctypes.memset(piece, 1, 24 << 20)
    libc.free(piece)
    done.set()
    ended.wait()

done, ended = threading.Event(), threading.Event()
threading.Thread(target=burst).start()
done.wait()
before = held(os.getpid()).resident_mib
give_memory_back()
print(before - held(os.getpid()).resident_mib)
ended.set()
"""


GARBAGE = """
import gc, sys, weakref
from service.memory import keep_for_good

class Cycle:
    def __init__(self):
        self.me = self

kept = [[] for _ in range(2_000_000)]
gc.collect()
keep_for_good() if sys.argv[1] == "kept" else gc.freeze()
alive = weakref.WeakSet()
old = []
for _ in range(100_000):  # each lives long enough to become old
    old.append(Cycle())
    alive.add(old[-1])
    if len(old) == 10_000:
        old.clear()
print(len(alive))
"""


def test_what_becomes_old_is_collected_in_time() -> None:
    """Not only when there is a quarter of all that lives as long as the process: 1 MiB in half an hour, of cycles."""
    left = {}
    for how in ("kept", "frozen"):
        done = subprocess.run([sys.executable, "-c", GARBAGE, how], capture_output=True, text=True, check=True)
        left[how] = int(done.stdout)
    assert left["kept"] < 50_000 < left["frozen"]


async def test_it_is_given_back_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never was after the model was loaded: what is resident only rose, while no more was in use."""
    given: list[None] = []
    monkeypatch.setattr(memory, "EVERY_S", 0.001)
    monkeypatch.setattr(memory, "give_memory_back", lambda: given.append(None))
    async with in_process(make_app(tmp_path)):
        await until(lambda: len(given) > 2)


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_another_thread_needed_is_given_back() -> None:
    """Out of the one arena; out of its own it would not be: decoders kept 70 MiB of a burst of large pictures."""
    done = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 20  # MiB of 24


def test_there_is_one_arena_before_there_are_threads() -> None:
    """Even before the service's libraries come: later threads are given what arenas there are, and 40 MiB stayed."""
    code = (
        "import sys; from service import cli; from service.settings import Settings\n"
        "def early(): assert not {'uvicorn', 'sqlalchemy'} & set(sys.modules); print('early')\n"
        "cli.one_arena, cli.run_service = early, lambda settings: 0\n"
        "try: cli.serve(Settings())\n"
        "except cli.typer.Exit: pass\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "early\n"
