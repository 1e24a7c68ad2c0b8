"""The engine's thread: one at a time, checked results, honest status."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest

from service.errors import ModelUnavailable
from service.inference.engines.engine import Pixels, Scores
from service.inference.predictions import ModelInfo
from service.inference.worker import CLOSE_S, Worker
from tests.fakes import GatedEngine

MODEL = ModelInfo("fake", "1", "gated", "none")
PICTURES = [np.full((4, 4, 3), value, np.uint8) for value in (25, 128, 230)]


def worker(engine: GatedEngine) -> Worker:
    return Worker(engine, MODEL, classes=engine.classes, input_size=4, max_batch=2)


async def test_loads_and_warms_before_ready() -> None:
    """Ready means that every batch size that can occur was run once."""
    engine = GatedEngine()
    async with worker(engine) as running:
        first_seen = running.status
        await running.loaded()
        assert (first_seen, running.status, engine.warmed) == ("loading", "ready", [1, 2])
    assert engine.closed


async def test_each_picture_gets_its_own_row() -> None:
    """A batch's scores come back in order, and equal what each gives alone."""
    engine = GatedEngine()
    async with worker(engine) as running:
        together = await running.run(PICTURES)
        alone = [(await running.run([picture]))[0] for picture in PICTURES]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        assert one.model == MODEL
    assert [len(batch) for batch in engine.batches] == [3, 1, 1, 1]


async def test_only_one_thread_touches_the_engine() -> None:
    """load, warm_up, predict and close all happen in the same thread, which is not the loop's."""
    threads: set[int] = set()

    class Watched(GatedEngine):
        def load(self) -> None:
            threads.add(threading.get_ident())

        def predict(self, pixels: Pixels) -> Scores:
            threads.add(threading.get_ident())
            return super().predict(pixels)

        def close(self) -> None:
            threads.add(threading.get_ident())

    async with worker(Watched()) as running:
        await asyncio.gather(running.run(PICTURES), running.run(PICTURES))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda scores: scores[:1], id="too few rows"),
        pytest.param(lambda scores: scores[:, :-1], id="too few classes"),
        pytest.param(lambda scores: scores * np.nan, id="NaN"),
        pytest.param(lambda scores: scores / 0 + np.inf, id="infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
async def test_bad_results_are_a_failed_run(bad: Callable[[Scores], Scores]) -> None:
    """What is not finite float32 (n, classes) never reaches a client."""

    class Broken(GatedEngine):
        def predict(self, pixels: Pixels) -> Scores:
            return bad(super().predict(pixels))

    async with worker(Broken()) as running:
        await running.loaded()
        with pytest.raises(ValueError, match="the engine returned"):
            await running.run(PICTURES)


async def test_an_engine_that_hangs_does_not_hold_up_the_end() -> None:
    """T9: leaving the worker gives up on a thread that does not come back; once a SIGTERM then never ended."""
    engine = GatedEngine()
    async with asyncio.timeout(CLOSE_S + 10):
        async with worker(engine) as running:
            await running.loaded()
            engine.gate.clear()
            stuck = asyncio.create_task(running.run(PICTURES))
            await asyncio.sleep(0)
        assert not engine.closed
        engine.gate.set()
        await stuck


async def test_failed_load_is_told() -> None:
    """The reason reaches who waits for it, and the status says failed."""

    class Missing(GatedEngine):
        def load(self) -> None:
            raise ModelUnavailable("no such file")

    async with worker(Missing()) as running:
        with pytest.raises(ModelUnavailable, match="no such file"):
            await running.loaded()
        assert running.status == "failed"
