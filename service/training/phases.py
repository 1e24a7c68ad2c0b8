"""What a run does, one phase after the other: gathering, fitting, evaluating, publishing."""

import logging
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from service.errors import Conflict, NotFound, StartError
from service.files import replace_file, sha256
from service.inference.engines.engine import Scores
from service.inference.images import Limits
from service.inference.labels import ClassTable
from service.models.architectures import input_of
from service.models.registry import Registry, check_name
from service.models.served import ServedModel
from service.models.versions import ModelVersion, short_version
from service.settings import Settings
from service.training.calibration import calibrate, find_temperature, scaled
from service.training.dataset import Dataset, gather, open_pixels, read_dataset
from service.training.evaluation import evaluate
from service.training.explaining import draw_sheets
from service.training.fitting import CHECKPOINT, Step, Tick, cool, fit, pictures, scores
from service.training.gate import Contender, Gate, in_classes_of, judge
from service.training.orders import Order
from service.training.report import Report, Timings, count_classes, metrics
from service.training.rivals import answers, rival
from service.training.runs import Run, State

WEIGHTS = "model.weights.h5"
_log = logging.getLogger(__name__)


class Clerk(Protocol):
    """Who is told how it goes. What it raises ends the run."""

    def phase(self, state: State) -> None:
        """A new phase."""

    def tell(self, words: str, step: int, steps: int, eta_s: float | None = None) -> None:
        """Within a phase."""


def go_through(run: Run, settings: Settings, clerk: Clerk) -> str:
    """NAME:VERSION of what was published. Pictures and epochs from before a restart are not gone through again.

    Raises GlimtError, OSError, and what the clerk raises.
    """
    order, times = run.order, [time.monotonic()]
    check_name(order.name)
    against = rival(order, settings)
    clerk.phase("gathering")
    dataset = _gathered(order, run, settings, clerk)
    times.append(time.monotonic())
    clerk.phase("fitting")
    model = fit(order, dataset, run, settings, on_step=lambda step: _tell(clerk, step))
    times.append(time.monotonic())
    clerk.phase("evaluating")
    report = HeldOut(order, dataset, run, settings, clerk).report(model, against, times)
    replace_file(run.folder / "report.json", report.to_json())
    clerk.phase("publishing")
    return _published(order, dataset, run, report, settings).ref


def tidy(run: Run) -> None:
    """Forget what a run that is done has no use for: the version has the weights."""
    if run.status().state != "done":  # it could not be written down: the next trainer needs them
        return
    shutil.rmtree(run.folder / CHECKPOINT, ignore_errors=True)
    with suppress(OSError):
        (run.folder / WEIGHTS).unlink()


def _gathered(order: Order, run: Run, settings: Settings, clerk: Clerk) -> Dataset:
    try:
        open_pixels(run.folder)
        return read_dataset(run.folder)
    except NotFound:
        limits = Limits(settings.max_image_bytes, settings.max_image_pixels)
        return gather(order, run, limits, say=lambda done, of: clerk.tell("Reading pictures", done, of))


def _tell(clerk: Clerk, step: Step) -> None:
    clerk.tell(step.words, step.epochs, step.at_most, step.eta_s)


class HeldOut:
    """The pictures that the model did not learn from, and what it can do with them."""

    def __init__(self, order: Order, dataset: Dataset, run: Run, settings: Settings, clerk: Clerk) -> None:
        self._order, self._dataset, self._run, self._settings, self._clerk = order, dataset, run, settings, clerk
        self._test, self._validation = dataset.of("test"), dataset.of("validation")

    def report(self, model: Any, against: ServedModel | str, times: list[float]) -> Report:
        """Everything about the run. The model gets its temperature, and its weights are saved in the run's folder."""
        dataset, truth = self._dataset, self._dataset.labels
        inputs = pictures(self._order, self._run)
        validation = scores(model, inputs, self._validation, self._tick("Validation pictures"))
        test = scores(model, inputs, self._test, self._tick("Test pictures"))
        temperature = find_temperature(validation, truth[self._validation])
        uncalibrated = calibrate(test, truth[self._test])
        if temperature.applied:
            cool(model, temperature.value)
            validation, test = scaled(validation, temperature.value), scaled(test, temperature.value)
        self._clerk.tell("Drawing", 0, 0)
        draw_sheets(
            model, self._order, open_pixels(self._run.folder), dataset.of("train"), self._test, self._run.folder
        )
        model.save_weights(self._run.folder / WEIGHTS)
        names = [dataset.samples[row].name for row in self._test]
        gate = against if isinstance(against, str) else self._gate(against, np.concatenate([validation, test]))
        return Report(
            run=self._run.id,
            created=datetime.now(UTC),
            order=self._order,
            classes=count_classes(dataset),
            notes=dataset.notes,
            epochs=tuple(self._run.epochs()),
            test=evaluate(test, truth[self._test], dataset.classes, names, self._test.tolist()),
            uncalibrated=uncalibrated,
            temperature=temperature,
            gate=gate if isinstance(gate, Gate) else None,
            no_gate=gate if isinstance(gate, str) else None,
            timings=self._timings(times),
        )

    def _timings(self, times: list[float]) -> Timings:
        """What was fitted before a restart counts too."""
        fitting = max(times[2] - times[1], sum(epoch.seconds for epoch in self._run.epochs()))
        return Timings(gathering=times[1] - times[0], fitting=fitting, evaluating=time.monotonic() - times[2])

    def _gate(self, against: ServedModel, candidates: Scores) -> Gate | str:
        """Why there is none when the other model cannot be loaded: that shall not cost what was learned here."""
        rows = np.concatenate([self._validation, self._test])
        truth = self._dataset.labels[rows]
        pixels = open_pixels(self._run.folder)
        try:
            served = answers(against, self._settings, pixels, rows, self._tick(f"Comparing with {against.info.name}"))
        except StartError as error:
            _log.exception("%s cannot be compared with", against.info.name)
            return f"{against.info.name} {against.info.version} cannot be loaded. {error.detail}"
        version = short_version(sha256(self._run.folder / WEIGHTS))
        return judge(
            Contender(f"{self._order.name}:{version}", candidates, truth),
            Contender(
                f"{against.info.name}:{against.info.version}",
                served,
                in_classes_of(against.classes, self._dataset.classes)[truth],
            ),
            test=np.isin(rows, self._test),
            feedback=np.array([self._dataset.samples[row].origin == "feedback" for row in rows]),
            samples=rows,
        )

    def _tick(self, words: str) -> Tick:
        return lambda share: self._clerk.tell(words, round(share * 100), 100)


def _published(order: Order, dataset: Dataset, run: Run, report: Report, settings: Settings) -> ModelVersion:
    """In the registry, with its report and its sheets. These very weights may be there: from before a restart."""
    registry, weights, labels = Registry(settings.data_path), run.folder / WEIGHTS, dataset.classes
    recipe = order.recipe(len(labels))
    try:
        return registry.publish(
            order.name,
            weights=weights,
            architecture=order.backbone,
            input_spec=input_of(recipe),
            metrics=metrics(report),
            classes=ClassTable(labels, (None,) * len(labels), ("",) * len(labels)),
            others=[run.folder / "report.json", run.folder / "maps.json", *sorted(run.folder.glob("*.png"))],
            recipe=recipe,
            run=run.id,
            beats_served=report.gate.passed if report.gate else None,
        )
    except Conflict:
        return registry.read(f"{order.name}:{short_version(sha256(weights))}")
