"""The model that answers: one thread, checked results, honest status, a new engine for a broken one."""

import asyncio
import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import ModelUnavailable, NotReady, StartError
from service.inference import engine_thread
from service.inference.engine_thread import Scored
from service.inference.engines.engine import Pixels, Scores
from service.inference.worker import FAILURES, Worker
from tests.fakes import GatedEngine
from tests.inference.models import MODEL, serving
from tests.world import until

PICTURES = [np.full((4, 4, 3), value, np.uint8) for value in (25, 128, 230)]


class Faulty(GatedEngine):
    """Once it is loaded, every answer goes through `fault`."""

    fault: Callable[[Scores], Scores] | None = None

    def scores(self, pixels: Pixels) -> Scores:
        good = super().scores(pixels)
        return self.fault(good) if self.fault else good


def worker(*engines: GatedEngine, timeout_s: float = 60) -> Worker:
    """On these engines, one after another."""
    coming = iter(engines)
    return Worker(serving(lambda: next(coming), size=4), max_batch=2, timeout_s=timeout_s)


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
        await running.loaded()
        together = await running.run(PICTURES)
        alone = [(await running.run([picture]))[0] for picture in PICTURES]
    for one, other in zip(together, alone, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        assert one.model == MODEL
    assert [len(batch) for batch in engine.batches] == [3, 1, 1, 1]


async def test_only_one_thread_touches_the_engine() -> None:
    """It is made, loaded, run and closed all in the same thread, which is not the loop's."""
    threads: set[int] = set()

    class Watched(GatedEngine):
        def __init__(self) -> None:
            threads.add(threading.get_ident())
            super().__init__()

        def load(self) -> None:
            threads.add(threading.get_ident())

        def predict(self, pixels: Pixels) -> Scores:
            threads.add(threading.get_ident())
            return super().predict(pixels)

        def close(self) -> None:
            threads.add(threading.get_ident())

    async with Worker(serving(Watched, size=4), max_batch=2) as running:
        await running.loaded()
        await asyncio.gather(running.run(PICTURES), running.run(PICTURES))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


BAD = [
    pytest.param(lambda scores: np.concatenate([scores, scores]), id="too many rows"),
    pytest.param(lambda scores: scores[:, :-1], id="too few classes"),
    pytest.param(lambda scores: scores * np.nan, id="NaN"),
    pytest.param(lambda scores: scores + np.inf, id="infinity"),
]


@pytest.mark.parametrize("bad", BAD)
async def test_bad_results_are_a_failed_run(bad: Callable[[Scores], Scores]) -> None:
    """What is not finite float32 (n, classes) never reaches a client."""
    engine = Faulty()
    async with worker(engine) as running:
        await running.loaded()
        engine.fault = bad
        with pytest.raises(ValueError, match="the engine returned"):
            await running.run(PICTURES)


@pytest.mark.parametrize("bad", BAD)
async def test_a_model_that_answers_nonsense_is_not_served(bad: Callable[[Scores], Scores]) -> None:
    """T31: another number of classes than its table has, or NaN, shows before it is ready."""
    engine = Faulty()
    engine.fault = bad
    async with worker(engine) as running:
        with pytest.raises(StartError, match="fake 1 cannot answer: the engine returned"):
            await running.loaded()
        assert running.status == "failed"


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError()])
async def test_nothing_out_of_the_engine_ends_the_loop(error: BaseException) -> None:
    """T10: what asyncio takes for its own comes as an ordinary error (a StopIteration once left its caller waiting for
    ever), and the thread computes the next."""

    def fail(scores: Scores) -> Scores:
        raise error

    engine = Faulty()
    async with worker(engine) as running:
        await running.loaded()
        engine.fault = fail
        with pytest.raises(RuntimeError, match=type(error).__name__):
            await running.run(PICTURES)
        engine.fault = None
        assert None not in await running.run(PICTURES)


async def test_an_engine_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """T9: leaving the worker gives up on a thread that does not come back; once a SIGTERM then never ended. Back at
    last, it closes its engine, which nobody else could without waiting for it."""
    monkeypatch.setattr(engine_thread, "CLOSE_S", 0.05)
    engine = GatedEngine()
    async with asyncio.timeout(10):
        async with worker(engine) as running:
            await running.loaded()
            engine.gate.clear()
            stuck = asyncio.create_task(running.run(PICTURES))
            await asyncio.sleep(0)
        assert not engine.closed
        engine.gate.set()
        await stuck
        await until(lambda: engine.closed)


async def test_a_hanging_engine_is_told_and_its_return_too() -> None:
    """T9: after the limit callers hear so, the next ones at once; when the batch comes back it is ready again."""
    engine = GatedEngine()
    async with worker(engine, timeout_s=0.05) as running:
        await running.loaded()
        engine.gate.clear()
        with pytest.raises(NotReady, match="does not come back"):
            await running.run(PICTURES)
        with pytest.raises(NotReady, match="does not come back"):
            await running.run(PICTURES)
        assert (running.status, running.totals) == ("failed", {"hung": 1})
        engine.gate.set()
        await until(lambda: running.status == "ready")
        assert None not in await running.run(PICTURES)
        assert len(engine.batches) == 2


async def test_a_broken_engine_is_made_anew() -> None:
    """T10: after some failures one after another, and when a blank picture fails, too, another engine takes over."""
    broken, fresh = Faulty(), GatedEngine()
    async with worker(broken, fresh) as running:
        await running.loaded()
        broken.fault = lambda scores: scores * np.nan
        for _ in range(FAILURES):
            with pytest.raises(ValueError, match="NaN"):
                await running.run(PICTURES)
        await until(lambda: running.totals["recreated"])
        assert None not in await running.run(PICTURES)
        await until(lambda: broken.closed)
        assert (running.status, len(fresh.batches), running.totals["failed"]) == ("ready", 1, FAILURES)


async def test_pictures_at_fault_do_not_cost_the_engine() -> None:
    """T8: one that computes a blank picture is left alone, however many poisoned ones come."""
    engine = GatedEngine()
    engine.fail_when = 25
    async with worker(engine) as running:
        await running.loaded()
        for _ in range(2 * FAILURES):
            with pytest.raises(RuntimeError, match="poison"):
                await running.run(PICTURES[:1])
        assert running._recreating is not None
        await running._recreating
        assert (running.status, running.totals["recreated"]) == ("ready", 0)
        assert None not in await running.run(PICTURES[1:])


async def test_an_engine_that_cannot_be_made_anew_is_failed() -> None:
    """T10: then only a restart helps, and the status says so."""

    class Gone(GatedEngine):
        def load(self) -> None:
            raise ModelUnavailable("no such file")

    broken = Faulty()
    async with worker(broken, Gone()) as running:
        await running.loaded()
        broken.fault = lambda scores: scores * np.nan
        for _ in range(FAILURES):
            with pytest.raises(ValueError, match="NaN"):
                await running.run(PICTURES)
        await until(lambda: running.status == "failed")


async def test_failed_load_is_told() -> None:
    """The reason reaches who waits for it, and the status says failed."""

    class Missing(GatedEngine):
        def load(self) -> None:
            raise ModelUnavailable("no such file")

    async with worker(Missing()) as running:
        with pytest.raises(ModelUnavailable, match="no such file"):
            await running.loaded()
        assert running.status == "failed"


class Early(GatedEngine):
    """Computes by itself what it was given, one after another: each when its gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[BegunEarly] = []
        self.refuses = 0

    def begin(self, pixels: Pixels) -> "BegunEarly":
        if pixels.any():
            if self.refuses:
                self.refuses -= 1
                raise RuntimeError("not now")
            self.begun.append(BegunEarly(self, pixels))
            return self.begun[-1]
        return BegunEarly(self, pixels, is_done=True)


class BegunEarly:
    def __init__(self, engine: Early, pixels: Pixels, *, is_done: bool = False) -> None:
        self.pixels, self._engine = pixels, engine
        self.done = threading.Event()
        if is_done:
            self.done.set()

    def wait(self, seconds: float) -> bool:
        return self.done.wait(seconds)

    def scores(self) -> Scores:
        self.done.wait()
        return self._engine.scores(self.pixels)


def run_each(running: Worker, *pictures: NDArray[np.uint8]) -> list[asyncio.Task[list[Scored | None]]]:
    return [asyncio.create_task(running.run([picture])) for picture in pictures]


def of(scored: list[Scored | None]) -> list[NDArray[np.float32]]:
    return [one.scores for one in scored if one]


async def test_an_engine_that_can_has_the_next_batch_at_hand() -> None:
    """It is begun while the first is computed; each gets its own answer, and none has the other's time in its own."""
    engine = Early()
    async with worker(engine) as running:
        await running.loaded()
        first, second = run_each(running, *PICTURES[:2])
        await until(lambda: len(engine.begun) == 2)
        await asyncio.sleep(0.2)
        engine.begun[0].done.set()
        (before,) = await first
        engine.begun[1].done.set()
        (after,) = await second
    assert before
    assert after
    np.testing.assert_array_equal(before.scores, engine.scores(PICTURES[0][np.newaxis])[0])
    np.testing.assert_array_equal(after.scores, engine.scores(PICTURES[1][np.newaxis])[0])
    assert before.infer_ms > 200 > after.infer_ms


async def test_a_batch_at_hand_that_is_not_wanted_any_more_is_nobody_elses() -> None:
    """Who comes after it gets his own answer."""
    engine = Early()
    async with worker(engine) as running:
        await running.loaded()
        first, gone = run_each(running, *PICTURES[:2])
        await until(lambda: len(engine.begun) == 2)
        gone.cancel()
        (third,) = run_each(running, PICTURES[2])
        await until(lambda: len(engine.begun) == 3)
        for begun in engine.begun:
            begun.done.set()
        np.testing.assert_array_equal(of(await third), engine.scores(PICTURES[2][np.newaxis]))
        np.testing.assert_array_equal(of(await first), engine.scores(PICTURES[0][np.newaxis]))


@pytest.mark.parametrize(("refuses", "ends"), [(1, "answered"), (2, "failed")])
async def test_a_batch_that_cannot_be_begun_is_told_to_its_own_callers(refuses: int, ends: str) -> None:
    """It is tried again when its turn has come."""
    engine = Early()
    async with worker(engine) as running:
        await running.loaded()
        (first,) = run_each(running, PICTURES[0])
        await until(lambda: len(engine.begun) == 1)
        engine.refuses = refuses
        (second,) = run_each(running, PICTURES[1])
        await until(lambda: engine.refuses == refuses - 1)
        engine.begun[0].done.set()
        np.testing.assert_array_equal(of(await first), engine.scores(PICTURES[0][np.newaxis]))
        if ends == "answered":
            await until(lambda: len(engine.begun) == 2)
            engine.begun[1].done.set()
            np.testing.assert_array_equal(of(await second), engine.scores(PICTURES[1][np.newaxis]))
        else:
            with pytest.raises(RuntimeError, match="not now"):
                await second


async def test_an_engine_that_hangs_with_a_batch_at_hand_hangs_once() -> None:
    """The callers of both are told; it is one engine, and one time."""
    engine = Early()
    async with worker(engine, timeout_s=0.2) as running:
        await running.loaded()
        ends = await asyncio.gather(*run_each(running, *PICTURES[:2]), return_exceptions=True)
        assert [type(end) for end in ends] == [NotReady] * 2
        assert running.totals["hung"] == 1
        for begun in engine.begun:
            begun.done.set()
        await until(lambda: running.status == "ready")
        engine.begun.clear()
        (fresh,) = run_each(running, PICTURES[2])
        await until(lambda: len(engine.begun) == 1)
        engine.begun[0].done.set()
        np.testing.assert_array_equal(of(await fresh), engine.scores(PICTURES[2][np.newaxis]))


async def test_a_batch_at_hand_is_its_own_models() -> None:
    """Another model takes over: what the old one has begun it ends, and only then it is closed."""
    old, new = Early(), Early()
    async with worker(old) as running:
        await running.loaded()
        first, second = run_each(running, *PICTURES[:2])
        await until(lambda: len(old.begun) == 2)
        await running.swap(serving(lambda: new, size=4))
        (third,) = run_each(running, PICTURES[2])
        await until(lambda: len(new.begun) == 1)
        new.begun[0].done.set()
        await third
        old.begun[0].done.set()
        await first
        assert not old.closed
        old.begun[1].done.set()
        np.testing.assert_array_equal(of(await second), old.scores(PICTURES[1][np.newaxis]))
        await until(lambda: old.closed)
