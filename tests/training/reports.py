"""A report as a run would leave it, of pictures that never were."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.inference.class_names import UNKNOWN
from service.training.calibration import calibrate, find_temperature, scaled
from service.training.dataset import Dataset, LeftOut, Notes, Sample
from service.training.evaluation import Scores, Truth, evaluate
from service.training.gate import Contender, judge
from service.training.orders import Order
from service.training.report import Report, Timings, count_classes
from service.training.runs import Epoch
from service.training.sources import Split

CLASSES = ("airplane", "bird", "cat", "golden_retriever")


def a_report(classes: Sequence[str] = CLASSES, pictures: int = 400, *, feedback: bool = True) -> Report:
    """A model that is too sure of itself and gets a temperature; the served one does not have the first class."""
    data = a_dataset(classes, pictures, feedback=feedback)
    random = np.random.default_rng(1)
    truth = random.integers(0, len(classes), pictures)
    names = [sample.name for sample in data.samples]
    test, validation = data.of("test"), data.of("validation")
    scores, served = _scores(random, truth, len(classes), 2.4), _scores(random, truth, len(classes), 2.0)
    temperature = find_temperature(scores[validation], truth[validation])
    cooled = scaled(scores, temperature.value) if temperature.applied else scores
    held_out = np.concatenate([validation, test])
    gate = judge(
        Contender("pets:0123456789ab", cooled[held_out], truth[held_out]),
        Contender("resnet50:ba9876543210", served[held_out], np.where(truth == 0, UNKNOWN, truth)[held_out]),
        test=np.isin(held_out, test),
        feedback=np.array([data.samples[place].origin == "feedback" for place in held_out]),
        samples=held_out,
    )
    return Report(
        run="20260102-030405-abcdef",
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        order=Order(name="pets", source="pictures.zip"),
        classes=count_classes(data),
        notes=data.notes,
        epochs=epochs(8, 3),
        test=evaluate(cooled[test], truth[test], classes, [names[place] for place in test], test.tolist()),
        uncalibrated=calibrate(scores[test], truth[test]),
        temperature=temperature,
        gate=gate,
        timings=Timings(gathering=1.5, fitting=60, evaluating=4),
    )


def a_dataset(classes: Sequence[str] = CLASSES, pictures: int = 400, *, feedback: bool = True) -> Dataset:
    """What the report is about."""
    truth = np.random.default_rng(1).integers(0, len(classes), pictures)
    samples = tuple(
        Sample(
            place,
            f"{classes[label]}/{place:04}.jpg",
            int(label),
            f"{place:064x}",
            _split(place),
            _origin(place, feedback),
        )
        for place, label in enumerate(truth)
    )
    return Dataset(tuple(classes), samples, 32, Notes(duplicates=LeftOut(1, ("cat/again.jpg",))))


def epochs(head: int, fine_tuning: int) -> tuple[Epoch, ...]:
    """Each better than the one before."""
    return tuple(
        Epoch(
            phase="head" if place < head else "fine-tuning",
            epoch=place + 1,
            loss=1 / (place + 1),
            accuracy=1 - 0.5 / (place + 1),
            val_loss=1.2 / (place + 1),
            val_accuracy=1 - 0.6 / (place + 1),
            learning_rate=0.001,
            seconds=2,
        )
        for place in range(head + fine_tuning)
    )


def _split(place: int) -> Split:
    return "test" if place % 5 == 0 else "validation" if place % 5 == 1 else "train"


def _origin(place: int, feedback: bool) -> Literal["given", "feedback"]:
    return "feedback" if feedback and place % 7 == 0 else "given"


def _scores(random: np.random.Generator, truth: Truth, classes: int, skill: float) -> Scores:
    logits: NDArray[np.float64] = random.normal(size=(len(truth), classes))
    logits[np.arange(len(truth)), truth] += skill
    powers = np.exp(4 * logits)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
