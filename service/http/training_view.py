"""What the page of a training run shows, read from the run's folder. Blocking, but for the values."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from pydantic import ValidationError

from service.errors import NotFound
from service.http.training_documents import WITHOUT, run_document
from service.training.charts import charts, curves
from service.training.dataset import Dataset, Sample, read_dataset
from service.training.drawing import Chart
from service.training.feedback import read_told
from service.training.gate import Comparison
from service.training.report import Report, standings
from service.training.runs import Run

SAMPLED_CLASSES, SAMPLES = 30, 4
"""Of the sheet: so many classes, and pictures of each."""
LOG_BYTES = 4096
"""The end of what the trainer said."""
SHEET = "augmentation"


@dataclass(frozen=True, slots=True)
class Held:
    """Both models on the same pictures: rows of a name, the candidate's figure and the served model's."""

    kind: str
    comparison: Comparison
    rows: tuple[tuple[str, list[str]], ...]


@dataclass(frozen=True, slots=True)
class SampledClass:
    """A class and some of the pictures it is learned from."""

    label: str
    pictures: int
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class ActivationMap:
    """A sheet of what the layers answer to a test picture."""

    name: str
    of: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that is done."""

    report: Report
    charts: Sequence[Chart]
    held: Sequence[Held]
    maps: Sequence[ActivationMap]
    layers: Sequence[str]
    is_augmented: bool


@dataclass(frozen=True, slots=True)
class RunView:
    """`about` as RunDocument. What there is not yet is None or empty; `log` only of a run that failed,
    `feedback` of one that learns from feedback."""

    about: dict[str, Any]
    order: dict[str, Any]
    epochs: int
    charts: Sequence[Chart]
    outcome: Outcome | None
    classes: Sequence[SampledClass]
    more_classes: int
    log: str
    feedback: str | None


def view(run: Run) -> RunView:
    """All of its page. Raises NotFound."""
    about, epochs = run_document(run), run.epochs()
    dataset = _dataset(run)
    outcome = _outcome(run, dataset) if about["state"] == "done" else None
    return RunView(
        about=about,
        order=run.order.model_dump(exclude=WITHOUT | {"name"}, exclude_none=True),
        epochs=len(epochs),
        charts=[] if outcome else curves(epochs),
        outcome=outcome,
        classes=_sampled(dataset) if dataset else (),
        more_classes=max(0, len(dataset.classes) - SAMPLED_CLASSES) if dataset else 0,
        log=_end_of(run.folder / "trainer.log") if about["state"] == "failed" else "",
        feedback=read_told(run.folder),
    )


def cell(run: Run, truth: str, label: str) -> tuple[int, list[Sample]]:
    """How many test pictures of class `truth` were taken for `label`, and some of them. Raises NotFound."""
    report, dataset = read_report(run), _dataset(run)
    matrix = report.test.matrix if report else None
    for found in matrix.cells if matrix else ():
        if matrix and (matrix.labels[found.truth], matrix.labels[found.label]) == (truth, label):
            samples = dataset.samples if dataset else ()
            return found.count, [samples[index] for index in found.samples if index < len(samples)]
    raise NotFound(f"No test picture of {truth!r} was taken for {label!r} in training run {run.id}.")


def read_report(run: Run) -> Report | None:
    """None where there is none that can be read."""
    try:
        return Report.from_json((run.folder / "report.json").read_bytes())
    except (OSError, ValidationError):
        return None


def _dataset(run: Run) -> Dataset | None:
    try:
        return read_dataset(run.folder)
    except NotFound:
        return None


def _outcome(run: Run, dataset: Dataset | None) -> Outcome | None:
    report = read_report(run)
    if report is None:
        return None
    gate = report.gate
    compared = (("test", gate.test), ("feedback", gate.feedback)) if gate else ()
    maps, layers = _maps(run, dataset)
    return Outcome(
        report=report,
        charts=charts(report, partial(_cell_address, run.id)),
        held=[Held(kind, found, _rows(found)) for kind, found in compared if found],
        maps=maps,
        layers=layers,
        is_augmented=(run.folder / f"{SHEET}.png").is_file(),
    )


def _rows(found: Comparison) -> tuple[tuple[str, list[str]], ...]:
    return tuple(standings(found, (found.candidate, found.served)))


def _cell_address(run_id: str, truth: str, label: str) -> str:
    return f"/training/{run_id}/cell?{urlencode({'truth': truth, 'label': label})}"


def _maps(run: Run, dataset: Dataset | None) -> tuple[list[ActivationMap], list[str]]:
    """As `explaining.draw_sheets` wrote them down."""
    try:
        told = orjson.loads((run.folder / "maps.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return [], []
    samples = dataset.samples if dataset else ()
    names = [samples[index].name if index < len(samples) else str(index) for index in told["samples"]]
    maps = [ActivationMap(f"map-{number}", name) for number, name in enumerate(names, 1)]
    return maps, [f"{layer['name']} ({' by '.join(map(str, layer['shape']))})" for layer in told["layers"]]


def _sampled(dataset: Dataset) -> list[SampledClass]:
    found: list[list[Sample]] = [[] for _ in dataset.classes]
    for sample in dataset.samples:
        if sample.split == "train":
            found[sample.label].append(sample)
    shown = zip(dataset.classes[:SAMPLED_CLASSES], found, strict=False)
    return [SampledClass(label, len(samples), tuple(samples[:SAMPLES])) for label, samples in shown]


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            return file.read(LOG_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""
