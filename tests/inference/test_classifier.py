"""The facade: cache, single-flight, admission, deadlines, receipts."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from PIL import Image

from service.errors import DeadlineExceeded, Draining, ImageCorrupt, NotReady, QueueFull
from service.inference.classifier import Classifier
from service.inference.lanes import BULK
from service.inference.predictions import Prediction, Receipt
from service.inference.worker import Worker
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.inference.models import serving


def png(red: int, size: int = 12) -> bytes:
    """A one-coloured picture."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (red, 40, 90)).save(file, "PNG")
    return file.getvalue()


@asynccontextmanager
async def classifying(engine: GatedEngine, **changes: Any) -> AsyncIterator[Classifier]:
    defaults: dict[str, Any] = {"grace_s": 0, "deadline_ms": 60_000, "max_batch": 16, "max_wait_ms": 5}
    settings = Settings(**(defaults | changes))
    async with Worker(serving(engine), max_batch=1) as worker:
        await worker.loaded()
        async with Classifier(worker, settings) as classifier:
            try:
                yield classifier
            finally:
                engine.gate.set()


async def until_queued(classifier: Classifier, pending: int = 0, running: int = 0) -> None:
    """Wait for the state itself."""
    async with asyncio.timeout(10):
        while (classifier.stats().pending, classifier.stats().running) != (pending, running):  # noqa: ASYNC110 (a thread's)
            await asyncio.sleep(0.001)


async def until_closed(classifier: Classifier) -> None:
    async with asyncio.timeout(10):
        while classifier.stats().alive:  # noqa: ASYNC110 (a task of its own)
            await asyncio.sleep(0.001)


def start(classifier: Classifier, data: bytes, **options: Any) -> asyncio.Task[Prediction]:
    return asyncio.create_task(classifier.classify(data, **options))


async def test_answer_carries_labels_model_image_and_receipt() -> None:
    """Everything a client reads is there and plausible."""
    async with classifying(GatedEngine()) as classifier:
        prediction = await classifier.classify(png(200), top=3)
    assert len(prediction.labels) == 3
    assert prediction.labels[0].score >= prediction.labels[1].score
    assert (prediction.image.width, prediction.image.height, prediction.image.format) == (12, 12, "PNG")
    receipt = prediction.receipt
    assert (receipt.batch_size, receipt.released_by, receipt.cached) == (1, "idle", False)
    assert 0 < receipt.decode_ms < receipt.total_ms
    assert receipt.infer_ms > 0


async def test_pictures_are_kept_but_those_of_archives() -> None:
    """Nobody would know whose they are, nor remove them with their job."""
    kept: list[bytes] = []

    async def keep(data: bytes) -> None:
        kept.append(data)

    settings = Settings(grace_s=0)
    async with Worker(serving(GatedEngine()), max_batch=1) as worker:
        await worker.loaded()
        async with Classifier(worker, settings, keep_picture=keep) as classifier:
            await classifier.classify(png(1))
            await classifier.classify(png(2), lane=BULK)
    assert kept == [png(1)]


async def test_same_picture_is_computed_once_and_then_cached() -> None:
    """The second answer has the same labels and says that it was cached."""
    engine = GatedEngine()
    async with classifying(engine) as classifier:
        first = await classifier.classify(png(1))
        second = await classifier.classify(png(1), top=2)
    assert second.labels == first.labels[:2]
    assert (second.receipt.cached, second.receipt.batch_size, second.receipt.released_by) == (True, 0, None)
    assert len(engine.batches) == 1


async def test_profile_is_part_of_the_key() -> None:
    """The same picture in another profile is another question."""
    engine = GatedEngine()
    async with classifying(engine) as classifier:
        await classifier.classify(png(1), profile="imagenet")
        assert not (await classifier.classify(png(1), profile="keras")).receipt.cached
    assert len(engine.batches) == 2


async def test_cache_is_bounded_and_drops_the_least_recently_used() -> None:
    """With two entries, the one not asked for lately is computed again."""
    engine = GatedEngine()
    async with classifying(engine, cache_entries=2) as classifier:
        for red in (1, 2, 1, 3):
            await classifier.classify(png(red))
        assert (await classifier.classify(png(1))).receipt.cached
        assert not (await classifier.classify(png(2))).receipt.cached


async def test_archives_push_nothing_out_of_the_cache() -> None:
    """A bulk job of a few thousand pictures left none of the answers that people ask for again."""
    engine = GatedEngine()
    async with classifying(engine, cache_entries=2) as classifier:
        await classifier.classify(png(1))
        for red in range(2, 6):
            await classifier.classify(png(red), lane=BULK, patient=True)
        assert (await classifier.classify(png(1))).receipt.cached
        assert (await classifier.classify(png(1), lane=BULK, patient=True)).receipt.cached
        assert not (await classifier.classify(png(5))).receipt.cached


async def test_cache_entries_0_computes_everything() -> None:
    """Off is off: neither cache nor single-flight."""
    engine = GatedEngine()
    async with classifying(engine, cache_entries=0) as classifier:
        await asyncio.gather(*(classifier.classify(png(1)) for _ in range(5)))
    assert sum(len(batch) for batch in engine.batches) == 5


async def test_identical_pictures_in_flight_are_computed_once() -> None:
    """Ten clients send the same picture at once: one computation, ten answers."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine) as classifier:
        tasks = [start(classifier, png(1)) for _ in range(10)]
        await until_queued(classifier, running=1)
        engine.gate.set()
        predictions = await asyncio.gather(*tasks)
    assert [len(batch) for batch in engine.batches] == [1]
    assert [prediction.receipt.cached for prediction in predictions] == [False] + [True] * 9
    assert [prediction.receipt.batch_size for prediction in predictions] == [1] + [0] * 9


async def test_a_leaver_does_not_take_the_others_down() -> None:
    """The client that started a shared computation leaves; who joined it still gets the answer."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine) as classifier:
        leader = start(classifier, png(1))
        await until_queued(classifier, running=1)
        follower = start(classifier, png(1))
        await asyncio.sleep(0)
        leader.cancel()
        await asyncio.wait([leader])
        engine.gate.set()
        assert (await follower).labels


async def test_abandoned_work_is_never_computed() -> None:
    """When the last client of a queued picture leaves, it leaves the queue."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine) as classifier:
        blocker = start(classifier, png(1))
        await until_queued(classifier, running=1)
        leavers = [start(classifier, png(2)), start(classifier, png(2))]
        await until_queued(classifier, running=1, pending=1)
        for leaver in leavers:
            leaver.cancel()
        await until_queued(classifier, running=1)
        engine.gate.set()
        await blocker
    assert sum(len(batch) for batch in engine.batches) == 1


async def test_a_short_deadline_ends_only_its_own_client() -> None:
    """A follower with more time takes over when the client that started it runs out of time."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine) as classifier:
        blocker = start(classifier, png(1))
        await until_queued(classifier, running=1)
        hurried = start(classifier, png(2), deadline_ms=50)
        await until_queued(classifier, running=1, pending=1)
        patient = start(classifier, png(2))
        with pytest.raises(DeadlineExceeded):
            await hurried
        engine.gate.set()
        assert (await patient).labels
        await blocker


async def test_a_damaged_picture_is_not_remembered() -> None:
    """Its error is its client's; the place in the queue is free again."""
    engine = GatedEngine()
    async with classifying(engine) as classifier:
        for _ in range(2):
            with pytest.raises(ImageCorrupt):
                await classifier.classify(png(1)[:60])
        stats = classifier.stats()
    assert (stats.pending, stats.announced) == (0, 0)
    assert engine.batches == []


async def test_full_queue_refuses_before_decoding() -> None:
    """Over max_pending the picture is not even looked at; a patient caller waits instead."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine, max_pending=1, max_batch=1) as classifier:
        blocker = start(classifier, png(1))
        await until_queued(classifier, running=1)
        waiting = start(classifier, png(2))
        await until_queued(classifier, running=1, pending=1)
        with pytest.raises(QueueFull):
            await classifier.classify(b"not even a picture")
        with pytest.raises(QueueFull), classifier.admission():
            pass
        patient = start(classifier, png(3), patient=True)
        await asyncio.sleep(0)
        assert not patient.done()
        engine.gate.set()
        assert all(prediction.labels for prediction in await asyncio.gather(blocker, waiting, patient))


async def test_not_ready_while_loading() -> None:
    """A client that comes too early is told to try again."""
    engine = GatedEngine()
    worker = Worker(serving(engine), max_batch=1)
    async with worker, Classifier(worker, Settings()) as classifier:
        with pytest.raises(NotReady, match="loading"), classifier.admission():
            pass
        await worker.loaded()
        assert (await classifier.classify(png(1))).labels


async def test_draining_refuses_what_is_new_and_answers_the_rest() -> None:
    """What was accepted before the drain is answered."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine, grace_s=20) as classifier:
        with classifier.admission():
            accepted = start(classifier, png(1))
            await until_queued(classifier, running=1)
            classifier.drain()
            with pytest.raises(Draining), classifier.admission():
                pass
            engine.gate.set()
            assert (await accepted).labels
            assert (await classifier.classify(png(2))).labels  # admitted before, so answered
        await until_closed(classifier)


async def test_drain_tells_the_rest_before_the_grace_time_ends() -> None:
    """An engine that does not come back: who was admitted hears Draining, not a cut connection."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine, grace_s=1.05) as classifier:
        with classifier.admission():
            accepted = start(classifier, png(1))
            await until_queued(classifier, running=1)
            classifier.drain()
            with pytest.raises(Draining):
                await accepted
        engine.gate.set()


async def test_uploads_hold_places() -> None:
    """Admitted and not yet here counts as well: the bound is on everybody who is on the way."""
    async with classifying(GatedEngine(), max_pending=2) as classifier:
        with classifier.admission(), classifier.admission():
            with pytest.raises(QueueFull), classifier.admission():
                pass
            with classifier.admission(patient=True):
                pass
        with classifier.admission(patient=True), classifier.admission(patient=True), classifier.admission():
            pass  # idle streams take no places


async def test_a_short_grace_is_still_a_grace() -> None:
    """With less than a second to end in, most of it is for answers; once all of it went to the last words."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine, grace_s=0.8) as classifier:
        with classifier.admission():
            accepted = start(classifier, png(1))
            await until_queued(classifier, running=1)
            classifier.drain()
            await asyncio.sleep(0)
            engine.gate.set()
            assert (await accepted).labels


async def test_ends_are_counted_by_what_they_were() -> None:
    """A deadline that passes in the queue is `expired`, a leaver `cancelled`; once they were mixed up."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine, cache_entries=0, max_batch=1) as classifier:
        blocker = start(classifier, png(1))
        await until_queued(classifier, running=1)
        hurried = [start(classifier, png(red), deadline_ms=40) for red in range(2, 7)]
        leaver = start(classifier, png(9))
        await until_queued(classifier, running=1, pending=6)
        leaver.cancel()
        ends = await asyncio.gather(*hurried, leaver, return_exceptions=True)
        assert [type(end) for end in ends] == [DeadlineExceeded] * 5 + [asyncio.CancelledError]
        assert "40 ms" in str(ends[0])
        engine.gate.set()
        await blocker
        assert classifier.stats().totals == {"submitted": 7, "completed": 1, "expired": 5, "cancelled": 1}


async def test_a_patient_caller_has_no_deadline_but_its_own() -> None:
    """A stream's picture may wait longer than the server's deadline, unless it asked for one."""
    engine = GatedEngine(open_gate=False)
    async with classifying(engine, deadline_ms=30) as classifier:
        patient = start(classifier, png(1), patient=True)
        impatient = start(classifier, png(2), patient=True, deadline_ms=60)
        with pytest.raises(DeadlineExceeded):
            await impatient
        engine.gate.set()
        assert (await patient).labels


async def test_receipts_are_observed() -> None:
    """Metrics see every answer's receipt."""
    seen: list[Receipt] = []
    engine = GatedEngine()
    async with Worker(serving(engine), max_batch=1) as worker:
        await worker.loaded()
        async with Classifier(worker, Settings(), observe_receipt=seen.append) as classifier:
            prediction = await classifier.classify(png(1))
    assert seen == [prediction.receipt]
