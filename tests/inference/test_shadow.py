"""A candidate computes some of the same pictures and harms nobody."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from service.errors import Conflict, FileDamaged, StartError
from service.inference.classifier import Classifier
from service.inference.engines.engine import Pixels, Scores
from service.inference.lanes import BULK
from service.inference.predictions import ModelInfo
from service.inference.serving import Serving
from service.inference.shadow import ShadowResult
from service.inference.worker import Worker
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.inference.models import MODEL, serving
from tests.world import png, until

CANDIDATE = ModelInfo("fake", "2", "gated", "none")


class OddReds(GatedEngine):
    """Its best class is the picture's red modulo 2, so that it differs from the other candidate for odd ones only."""

    def scores(self, pixels: Pixels) -> Scores:
        return np.asarray(np.eye(10)[pixels[:, 0, 0, 0].astype(int) % 2], np.float32)


class Constant(GatedEngine):
    """Its best class is the first one."""

    def scores(self, pixels: Pixels) -> Scores:
        return np.asarray(np.eye(10)[[0] * len(pixels)], np.float32)


class Slow(Constant):
    """Takes its time to load."""

    def __init__(self) -> None:
        super().__init__()
        self.may_load = threading.Event()

    def load(self) -> None:
        self.may_load.wait()


def candidate(engine: GatedEngine, size: int = 16) -> Serving:
    return serving(engine, model=CANDIDATE, size=size)


@asynccontextmanager
async def classifying(engine: GatedEngine | None = None) -> AsyncIterator[tuple[Classifier, list[ShadowResult]]]:
    """A classifier, and what its shadow tells."""
    results: list[ShadowResult] = []
    async with Worker(serving(engine or Constant()), max_batch=4) as worker:
        await worker.loaded()
        async with Classifier(worker, Settings(grace_s=0, max_batch=4, max_wait_ms=0)) as classifier:
            classifier.shadow.on_result = results.append
            yield classifier, results


async def test_tells_where_the_two_differ() -> None:
    """Picture by picture, with both labels, also when the candidate eats larger pictures."""
    async with classifying() as (classifier, results):
        await classifier.shadow.start(candidate(OddReds()), share=1)
        for red in (2, 3):
            prediction = await classifier.classify(png(red))
            assert prediction.model == MODEL
            await until(lambda red=red: len(results) == red - 1)
        assert classifier.shadow.totals == {"compared": 2, "differed": 1}
    assert [result.differs for result in results] == [False, True]
    assert results[1].sha256 == prediction.image.sha256
    assert (results[1].served, results[1].candidate) == (MODEL, CANDIDATE)
    assert (results[1].served_label, results[1].candidate_label.label) == (prediction.labels[0], "class_1")
    assert results[1].candidate_label.score == 1.0


async def test_the_answer_never_waits_for_it() -> None:
    """A candidate that hangs: pictures are answered and it is not given another."""
    slow = Constant(open_gate=False)
    async with classifying() as (classifier, results):
        await classifier.shadow.start(candidate(slow), share=1)
        for red in (1, 2, 3):
            await classifier.classify(png(red))
        assert (classifier.shadow.totals, results) == ({"passed_over": 2}, [])
        slow.gate.set()
        await until(lambda: results)


async def test_nothing_while_the_queue_is_busy() -> None:
    """The picture that is answered while others wait is passed over."""
    served = Constant(open_gate=False)
    async with classifying(served) as (classifier, results):
        await classifier.shadow.start(candidate(Constant()), share=1)
        first = asyncio.create_task(classifier.classify(png(1)))
        await until(lambda: classifier.stats().running)
        waiting = asyncio.create_task(classifier.classify(png(2)))
        await until(lambda: classifier.stats().pending)
        served.gate.set()
        await first
        await waiting
        await until(lambda: results)
        assert classifier.shadow.totals == {"passed_over": 1, "compared": 1, "differed": 0}


async def test_a_share() -> None:
    """0.5 is every other picture."""
    async with classifying() as (classifier, results):
        await classifier.shadow.start(candidate(Constant()), share=0.5)
        for red in range(6):
            await classifier.classify(png(red))
            await until(lambda: classifier.shadow._work is None)
    assert (len(results), classifier.shadow.totals) == (3, {"compared": 3, "differed": 0})


async def test_kept_answers_and_archives_are_not_compared() -> None:
    """The first was compared when it was computed; the others are no sample of what people ask."""
    async with classifying() as (classifier, results):
        await classifier.shadow.start(candidate(Constant()), share=1)
        await classifier.classify(png(1), lane=BULK)
        first = await classifier.classify(png(2))
        await until(lambda: results)
        await classifier.classify(png(2))
        other = await classifier.classify(png(3))
        await until(lambda: len(results) == 2)
    assert [result.sha256 for result in results] == [first.image.sha256, other.image.sha256]


async def test_nothing_to_compare_once_it_serves() -> None:
    """An activated candidate would only agree with itself."""
    async with classifying() as (classifier, _):
        await classifier.shadow.start(serving(Constant()), share=1)
        await classifier.classify(png(1))
        assert classifier.shadow._work is None


async def test_a_candidate_that_fails_harms_nobody() -> None:
    """It is counted, and the next picture is compared."""
    engine = Constant()
    engine.fail_when = 1
    async with classifying() as (classifier, results):
        await classifier.shadow.start(candidate(engine), share=1)
        assert (await classifier.classify(png(1))).labels
        await until(lambda: classifier.shadow.totals["failed"])
        await classifier.classify(png(2))
        await until(lambda: results)


async def test_one_candidate_at_a_time() -> None:
    """A second is refused until the first is stopped, which gives its memory back; twice is once."""
    first, second = Constant(), Constant()
    async with classifying() as (classifier, _):
        shadow = classifier.shadow
        assert shadow.model is None
        await shadow.start(candidate(first), share=1)
        assert shadow.model == CANDIDATE
        with pytest.raises(Conflict, match="Stop that first"):
            await shadow.start(candidate(second), share=1)
        await shadow.stop()
        await shadow.stop()
        await until(lambda: first.closed)
        await shadow.start(candidate(second), share=1)
    await until(lambda: second.closed)


async def test_stopped_while_it_loads() -> None:
    """Who stops it does not find it at work a minute later."""
    async with classifying() as (classifier, _):
        engine = Constant()
        start = asyncio.create_task(classifier.shadow.start(candidate(engine), share=1))
        await asyncio.sleep(0)
        await classifier.shadow.stop()
        with pytest.raises(Conflict, match="stopped"):
            await start
        assert classifier.shadow.model is None
        await until(lambda: engine.closed)


async def test_stopped_while_it_loads_and_another_begun() -> None:
    """The end of the first is not the end of the second."""
    async with classifying() as (classifier, _):
        first = asyncio.create_task(classifier.shadow.start(candidate(Constant()), share=1))
        await asyncio.sleep(0)
        await classifier.shadow.stop()
        second = asyncio.create_task(classifier.shadow.start(candidate(slow := Slow()), share=1))
        with pytest.raises(Conflict, match="stopped"):
            await first
        slow.may_load.set()
        await second
        assert classifier.shadow.model is not None


async def test_a_candidate_that_cannot_be_loaded() -> None:
    """The reason is told, and another may follow."""

    class Damaged(GatedEngine):
        def load(self) -> None:
            raise FileDamaged("the hash is another")

    async with classifying() as (classifier, _):
        with pytest.raises(StartError, match="hash"):
            await classifier.shadow.start(candidate(Damaged()), share=1)
        await classifier.shadow.start(candidate(Constant()), share=1)


@pytest.mark.parametrize("share", [0, -1, 1.1, float("nan")])
async def test_shares_out_of_range(share: float) -> None:
    """Refused before anything is loaded."""
    async with classifying() as (classifier, _):
        with pytest.raises(ValueError, match="share"):
            await classifier.shadow.start(candidate(Constant()), share=share)
