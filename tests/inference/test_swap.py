"""Another model takes over while pictures are computed: nobody notices but by the version in the answer."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import Conflict, FileDamaged, NotReady, StartError
from service.inference.classifier import Classifier
from service.inference.engines.engine import Pixels, Scores
from service.inference.labels import ClassTable
from service.inference.predictions import ModelInfo, Prediction
from service.inference.serving import Serving
from service.inference.worker import Worker
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.inference.models import serving
from tests.world import until

SWAPS = 50
CLIENTS = 12


class Numbered(GatedEngine):
    """Its best class is the picture's red plus its own number, modulo 10."""

    def __init__(self, number: int, *, open_gate: bool = True) -> None:
        super().__init__(open_gate=open_gate)
        self.number = number
        self.may_load = threading.Event()
        self.may_load.set()

    def load(self) -> None:
        self.may_load.wait()

    def scores(self, pixels: Pixels) -> Scores:
        best = (pixels[:, 0, 0, 0].astype(int) + self.number) % 10
        return np.asarray(np.eye(10)[best] * 0.5 + 0.05, np.float32)


def picture(red: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (red, 40, 90)).save(file, "PNG")
    return file.getvalue()


def numbered(engine: Numbered, **changes: Any) -> Serving:
    """Version <number>: its labels name it, and odd ones eat larger pictures."""
    number = engine.number
    classes = ClassTable(tuple(f"v{number}_class{n}" for n in range(10)), (None,) * 10, ("",) * 10)
    size = 16 if number % 2 else 8
    return serving(engine, model=ModelInfo("fake", str(number), "gated", "none"), size=size, classes=classes, **changes)


def ask(classifier: Classifier, red: int) -> asyncio.Task[Prediction]:
    return asyncio.create_task(classifier.classify(picture(red)))


def is_of(prediction: Prediction, red: int) -> bool:
    """Whether scores, labels and the named version belong together."""
    version = int(prediction.model.version)
    return prediction.labels[0].label == f"v{version}_class{(red + version) % 10}"


@asynccontextmanager
async def classifying(engine: Numbered, **changes: Any) -> AsyncIterator[tuple[Worker, Classifier]]:
    defaults: dict[str, Any] = {"grace_s": 0, "deadline_ms": 60_000, "max_batch": 4, "max_wait_ms": 5}
    async with Worker(numbered(engine), max_batch=4) as worker:
        await worker.loaded()
        async with Classifier(worker, Settings(**(defaults | changes))) as classifier:
            try:
                yield worker, classifier
            finally:
                engine.gate.set()


async def test_fifty_swaps_under_load() -> None:
    """T33: no failed request; the version named made the answer; who asks after a swap is answered by that version or a
    later one; no batch has pictures of two models."""
    engines = [Numbered(number) for number in range(SWAPS + 1)]
    answered = 0

    async def client(first: int) -> None:
        nonlocal answered
        red = first
        while not done.is_set():
            red = (red + CLIENTS) % 240
            serves = int(worker.model.version)
            prediction = await classifier.classify(picture(red))
            assert is_of(prediction, red)
            assert int(prediction.model.version) >= serves
            answered += 1

    done = asyncio.Event()
    async with classifying(engines[0], cache_entries=8) as (worker, classifier), asyncio.TaskGroup() as group:
        for first in range(CLIENTS):
            group.create_task(client(first))
        for engine in engines[1:]:
            so_far = answered
            await until(lambda so_far=so_far: answered >= so_far + CLIENTS)
            await worker.swap(numbered(engine))
        done.set()
    assert classifier.stats().totals.keys() <= {"submitted", "completed"}
    assert worker.totals == {"swapped": SWAPS}
    for engine in engines:
        await until(lambda engine=engine: engine.closed)
        assert {batch.shape[1] for batch in engine.batches} <= {16 if engine.number % 2 else 8}


async def test_the_old_model_answers_while_the_new_one_loads() -> None:
    """Loading may take minutes; nobody waits for it."""
    old, new = Numbered(0), Numbered(1)
    new.may_load.clear()
    async with classifying(old) as (worker, classifier):
        swap = asyncio.create_task(worker.swap(numbered(new)))
        assert (await classifier.classify(picture(1))).model.version == "0"
        assert (worker.status, swap.done()) == ("ready", False)
        new.may_load.set()
        await swap
        assert (await classifier.classify(picture(2))).model.version == "1"
        assert new.warmed == [1, 2, 3, 4]
        await until(lambda: old.closed)


async def test_a_batch_that_runs_is_finished_by_its_own_model() -> None:
    """The swap falls between two batches; the old engine is closed when its last one is over."""
    old, new = Numbered(0, open_gate=False), Numbered(2)
    async with classifying(old) as (worker, classifier):
        running = ask(classifier, 1)
        await until(lambda: classifier.stats().running)
        waiting = ask(classifier, 2)
        await until(lambda: classifier.stats().pending)
        await worker.swap(numbered(new))
        assert not old.closed
        old.gate.set()
        assert [int((await answer).model.version) for answer in (running, waiting)] == [0, 2]
        await until(lambda: old.closed)


async def test_what_was_decoded_for_the_old_size_is_decoded_again() -> None:
    """It is answered, once, also when others have filled the queue meanwhile; a batch may have both kinds."""
    old, new = Numbered(0, open_gate=False), Numbered(1, open_gate=False)
    async with classifying(old, max_pending=2, max_batch=2) as (worker, classifier):
        answers = [ask(classifier, 1)]
        await until(lambda: classifier.stats().running)
        answers.append(ask(classifier, 2))
        await until(lambda: classifier.stats().pending == 1)
        await worker.swap(numbered(new))
        answers.append(ask(classifier, 3))
        await until(lambda: classifier.stats().pending == 2)
        old.gate.set()
        await until(lambda: classifier.stats().running == 2)
        answers += [ask(classifier, 4), ask(classifier, 5)]
        await until(lambda: classifier.stats().pending == 2)
        classifier.configure(max_batch=1, max_pending=1)
        new.gate.set()
        predictions = await asyncio.gather(*answers)
    assert [int(prediction.model.version) for prediction in predictions] == [0, 1, 1, 1, 1]
    assert all(is_of(prediction, red) for red, prediction in enumerate(predictions, 1))
    assert sum(len(batch) for batch in new.batches) == 4


async def test_a_kept_answer_is_of_the_model_that_answers() -> None:
    """After a swap the same picture is computed again; after the rollback the first answer is good again."""
    first, second = Numbered(0), Numbered(2)
    async with classifying(first) as (worker, classifier):
        assert not (await classifier.classify(picture(1))).receipt.cached
        await worker.swap(numbered(second))
        assert (await classifier.classify(picture(1))).model.version == "2"
        await worker.swap(numbered(Numbered(0)))
        back = await classifier.classify(picture(1))
    assert (back.model.version, back.receipt.cached) == ("0", True)


async def test_a_kept_answer_has_the_labels_of_the_model_that_answers() -> None:
    """A version taken in anew, of the same weights with other labels, once answered with the old ones."""
    async with classifying(Numbered(0)) as (worker, classifier):
        assert is_of(await classifier.classify(picture(1)), 1)
        others = ClassTable(tuple(f"other_{n}" for n in range(10)), (None,) * 10, ("",) * 10)
        await worker.swap(replace(numbered(Numbered(0)), classes=others))
        again = await classifier.classify(picture(1))
    assert again.labels[0].label in others.labels
    assert not again.receipt.cached


async def test_an_answer_is_kept_under_the_model_that_computed_it() -> None:
    """Asked of the old model, computed by the new one: the old one's next caller must not get it."""
    old, new = Numbered(0, open_gate=False), Numbered(2)
    async with classifying(old) as (worker, classifier):
        running = ask(classifier, 1)
        await until(lambda: classifier.stats().running)
        waiting = ask(classifier, 2)
        await until(lambda: classifier.stats().pending)
        await worker.swap(numbered(new))
        old.gate.set()
        await asyncio.gather(running, waiting)
        assert (await classifier.classify(picture(2))).receipt.cached
        await worker.swap(numbered(Numbered(0)))
        assert (await classifier.classify(picture(2))).model.version == "0"


class Damaged(Numbered):
    def load(self) -> None:
        raise FileDamaged("the hash is another")


class Crashing(Numbered):
    def load(self) -> None:
        raise SystemExit(3)


class OfOtherClasses(Numbered):
    def scores(self, pixels: Pixels) -> Scores:
        return super().scores(pixels)[:, :9]


@pytest.mark.parametrize("kind", [Damaged, Crashing, OfOtherClasses])
async def test_a_model_that_cannot_be_loaded_changes_nothing(kind: type[Numbered]) -> None:
    """T31: the old one goes on; what was made of the new one is closed."""
    new = kind(1)
    async with classifying(Numbered(0)) as (worker, classifier):
        with pytest.raises(StartError):
            await worker.swap(numbered(new))
        assert (await classifier.classify(picture(1))).model.version == "0"
        assert (worker.status, worker.totals) == ("ready", {})
        await until(lambda: new.closed)
        await worker.swap(numbered(Numbered(3)))
        assert worker.model.version == "3"


async def test_two_swaps_at_once() -> None:
    """T34: the second is refused; the first goes on."""
    new = Numbered(1)
    new.may_load.clear()
    async with classifying(Numbered(0)) as (worker, _):
        swap = asyncio.create_task(worker.swap(numbered(new)))
        await asyncio.sleep(0)
        with pytest.raises(Conflict, match="loaded already"):
            await worker.swap(numbered(Numbered(2)))
        new.may_load.set()
        await swap
        assert worker.model.version == "1"


async def test_a_cancelled_swap_leaves_the_old_model() -> None:
    """Its engine is closed when its load comes back, and another swap may begin at once."""
    new = Numbered(1)
    new.may_load.clear()
    async with classifying(Numbered(0)) as (worker, _):
        swap = asyncio.create_task(worker.swap(numbered(new)))
        await asyncio.sleep(0)
        swap.cancel()
        await asyncio.wait([swap])
        await worker.swap(numbered(Numbered(2)))
        assert worker.model.version == "2"
        new.may_load.set()
        await until(lambda: new.closed)


async def test_no_swap_before_the_first_model_answers() -> None:
    """T34: it is being loaded as well."""
    first = Numbered(0)
    first.may_load.clear()
    async with Worker(numbered(first), max_batch=1) as worker:
        with pytest.raises(Conflict):
            await worker.swap(numbered(Numbered(1)))
        first.may_load.set()
        await worker.loaded()


async def test_a_hanging_model_can_be_replaced() -> None:
    """T9: a swap brings the service back without a restart."""
    old = Numbered(0, open_gate=False)
    async with Worker(numbered(old), max_batch=1, timeout_s=0.05) as worker:
        await worker.loaded()
        async with Classifier(worker, Settings(grace_s=0, max_batch=1)) as classifier:
            stuck = ask(classifier, 1)
            await until(lambda: classifier.status == "failed")
            with pytest.raises(NotReady):
                await stuck
            await worker.swap(numbered(Numbered(2)))
            assert (await classifier.classify(picture(1))).model.version == "2"
            old.gate.set()


async def test_a_batch_that_hangs_in_a_model_that_was_replaced() -> None:
    """Its thread takes no more work, which was an error 500 for who waited."""
    old = Numbered(0, open_gate=False)
    async with Worker(numbered(old), max_batch=1, timeout_s=0.3) as worker:
        await worker.loaded()
        stuck = asyncio.create_task(worker.run([np.ones((8, 8, 3), np.uint8)]))
        await asyncio.sleep(0)
        await worker.swap(numbered(Numbered(2)))
        with pytest.raises(NotReady):
            await stuck
        assert worker.status == "ready"
        old.gate.set()


async def test_batching_follows_the_kept_curve_only(tmp_path: Path) -> None:
    """A model that was never measured leaves batch and window as they are; one that was brings its own."""
    curve = tmp_path / "curve.json"
    curve.write_text("[[1, 10.0], [2, 12.0], [4, 48.0]]")
    async with classifying(Numbered(0), max_batch="auto", max_wait_ms="auto") as (worker, classifier):
        assert (classifier.stats().max_batch, len(classifier.curve)) == (16, 0)
        await worker.swap(numbered(Numbered(2), curve_file=curve))
        assert (classifier.stats().max_batch, len(classifier.curve), classifier.auto) == (2, 3, True)
        assert classifier.stats().items_per_s == pytest.approx(2 / 0.012)  # who comes first is let in by that
        await worker.swap(numbered(Numbered(4)))
        assert (classifier.stats().max_batch, len(classifier.curve), classifier.auto) == (2, 0, True)


async def test_the_new_model_is_warm_for_the_largest_batch_that_was_run() -> None:
    """Somebody may have made batches larger than the start foresaw."""
    new = Numbered(2)
    async with classifying(Numbered(0)) as (worker, _):
        await worker.run([np.ones((8, 8, 3), np.uint8)] * 6)
        await worker.swap(numbered(new))
    assert new.warmed == [1, 2, 3, 4, 5, 6]


async def test_notice_and_classes_are_of_the_model_that_answers() -> None:
    """The page must not say that the demo model answers when it no longer does."""
    async with classifying(Numbered(0)) as (worker, classifier):
        notices = [classifier.notice]
        await worker.swap(numbered(Numbered(2), notice="Only a test.", brief="A test."))
        prediction = await classifier.classify(picture(1))
        assert [*notices, classifier.notice, prediction.notice] == [None, "Only a test.", "A test."]
        assert classifier.classes.labels[0] == "v2_class0"
