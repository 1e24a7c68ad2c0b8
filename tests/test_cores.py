"""How many cores this process may use, and who stands back."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.cores import BESIDE, COMPUTING, LEAST, lower_priority, usable_cores
from service.inference import images
from service.inference.decoding import Decoders
from service.inference.engine_thread import EngineThread
from service.inference.lanes import BULK, INTERACTIVE
from service.inference.predictions import InputSpec
from tests.fakes import GatedEngine
from tests.inference.models import serving


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


def priority() -> int:
    """Of the thread that asks: 0 as usual, 19 the last."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def lowered(before: int, steps: int) -> int:
    """The tests may run with nice themselves."""
    return min(before + steps, LEAST)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_stands_back_alone() -> None:
    """The one that asked, and no other of the process."""
    before = priority()
    with ThreadPoolExecutor(1, "nice", lower_priority, (BESIDE,)) as pool:
        there = pool.submit(priority).result()
    assert (there, priority()) == (lowered(before, BESIDE), before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_behind_a_process_that_stands_back_itself() -> None:
    """To come forward needs a right that a service should not have: a pool whose threads fail at once is no pool."""
    ask = "import os; from service.cores import BESIDE, lower_priority; lower_priority(BESIDE); print(os.nice(0))"
    done = subprocess.run(["nice", "-n", "12", sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert int(done.stdout) == LEAST


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_what_computes_stands_back_behind_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or who is refused waits for a second while 200 pictures are decoded. What nobody waits for is the last."""
    seen = []

    def read(*_: object, **__: object) -> tuple[None, None]:
        seen.append(priority())
        return None, None

    before = priority()
    monkeypatch.setattr(images, "read", read)
    decoders = Decoders(1, images.Limits(1, 1))
    for lane in (INTERACTIVE, BULK):
        await decoders.decode(b"", "imagenet", InputSpec(8, "unit"), lane)
    decoders.close()
    thread = EngineThread(serving(GatedEngine()))
    seen.append(await thread.call(priority))
    thread.retire()
    assert seen == [lowered(before, steps) for steps in (COMPUTING, BESIDE, COMPUTING)]
    assert priority() == before
