"""All that is known of a finished run: report.json, the manifest's figures, the tables for a terminal. Pure."""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from rich.table import Table
from rich.text import Text

from service.counting import counted
from service.training.calibration import Calibration, Temperature
from service.training.dataset import Dataset, Notes
from service.training.evaluation import Evaluation, Frozen, Share
from service.training.gate import Comparison, Gate, Standing
from service.training.orders import Order
from service.training.runs import Epoch

PRINTED_CLASSES = 30
"""A screen; report.json has all."""


class ClassCount(Frozen):
    """How many pictures of a class are in each set."""

    label: str
    train: int
    validation: int
    test: int


class Timings(Frozen):
    """Seconds of each phase."""

    gathering: float
    fitting: float
    evaluating: float


class Report(Frozen):
    """`test` is of what was published, with its temperature if that was applied; `uncalibrated` is of the same pictures
    without it. `notes`: which of the data were left out. `gate` is None when there was no model to compare with; then
    `no_gate` says why."""

    format: Literal[1] = 1
    run: str
    created: datetime
    order: Order
    classes: tuple[ClassCount, ...]
    notes: Notes
    epochs: tuple[Epoch, ...]
    test: Evaluation
    uncalibrated: Calibration
    temperature: Temperature
    gate: Gate | None
    no_gate: str | None = None
    timings: Timings

    def to_json(self) -> bytes:
        """The content of report.json."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Report":
        """Raises pydantic's ValidationError."""
        return cls.model_validate_json(content)


def verdict(report: Report) -> tuple[str, ...]:
    """Sentences: the gate's, or why there is none."""
    if report.gate:
        return report.gate.words
    return tuple(filter(None, ("There was no model to compare it with.", report.no_gate)))


def count_classes(dataset: Dataset) -> tuple[ClassCount, ...]:
    """In the order of the dataset's classes."""
    return tuple(ClassCount(label=label, **found) for label, found in dataset.distribution().items())


def metrics(report: Report) -> dict[str, float]:
    """For the manifest of the published version: the figures of the test pictures."""
    test = report.test
    found = {
        "test_pictures": test.pictures,
        "accuracy": test.accuracy.value,
        "precision": test.precision,
        "recall": test.recall,
        "f1": test.f1,
        "calibration_error": test.calibration.error,
        "loss": test.calibration.loss,
    }
    found |= {name: share.value for name, share in (("top_3", test.top_3), ("top_5", test.top_5)) if share}
    return {name: round(value, 4) for name, value in found.items()}


def tables(report: Report) -> list[Table]:
    """What `glimt train` prints at its end: the figures of the test pictures, the classes, the gate."""
    shown = evaluation_tables(report.test, "test picture")
    shown[0].add_row("  before the temperature", percent(report.uncalibrated.error), _warmth(report.temperature))
    return [*shown, *gate_tables(report.gate)] if report.gate else shown


def evaluation_tables(evaluation: Evaluation, kind: str) -> list[Table]:
    """What `glimt evaluate` prints: the figures of so many pictures of a `kind`, and of each class, the worst first."""
    figures = Table(counted(evaluation.pictures, kind), box=None, pad_edge=False)
    figures.add_column(justify="right")
    figures.add_column("all such pictures, 95 % sure", style="dim")
    for name, value, more in _figures(evaluation):
        figures.add_row(name, value, more)
    return [figures, _classes(evaluation)]


def gate_tables(gate: Gate) -> list[Table]:
    """Candidate and served model side by side, a table for each set of pictures."""
    found = [_gate_table(gate.test, "test picture")]
    return [*found, _gate_table(gate.feedback, "feedback picture")] if gate.feedback else found


def percent(value: float | None, decimals: int = 1) -> str:
    """0.9346 -> `93.5 %`; where nothing can be said, a dash."""
    return "-" if value is None else f"{value * 100:.{decimals}f}\N{NO-BREAK SPACE}%"


def between(share: Share) -> str:
    """Its interval."""
    return f"{share.low * 100:.1f} to {percent(share.high)}"


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, str, str]]:
    for name, share in (("accuracy", evaluation.accuracy), ("top-3", evaluation.top_3), ("top-5", evaluation.top_5)):
        if share:
            yield name, percent(share.value), between(share)
    yield "precision, mean of classes", percent(evaluation.precision), ""
    yield "recall, mean of classes", percent(evaluation.recall), ""
    yield "F1, mean of classes", percent(evaluation.f1), ""
    yield "expected calibration error", percent(evaluation.calibration.error), ""
    if evaluation.unknown:
        yield "pictures of no class it has", f"{evaluation.unknown:,}", "in no figure"


def _warmth(temperature: Temperature) -> str:
    return f"temperature {temperature.value:.2f}" if temperature.applied else "left as it was: no sure gain"


def _classes(evaluation: Evaluation) -> Table:
    shown = Table("class", box=None, pad_edge=False)
    for name in ("pictures", "precision", "recall", "F1"):
        shown.add_column(name, justify="right")
    for found in sorted(evaluation.classes, key=lambda found: found.f1)[:PRINTED_CLASSES]:
        cells = (f"{found.pictures:,}", percent(found.precision), percent(found.recall), percent(found.f1))
        shown.add_row(Text(found.label), *cells)  # which may have [brackets]
    left_out = len(evaluation.classes) - PRINTED_CLASSES
    if left_out > 0:
        shown.add_row(f"and {counted(left_out, 'better one')}", style="dim")
    return shown


def _gate_table(found: Comparison, kind: str) -> Table:
    shown = Table(counted(found.pictures, kind), box=None, pad_edge=False)
    sides = (found.candidate, found.served)
    for side, role in zip(sides, ("candidate", "served"), strict=True):
        shown.add_column(f"{side.model} ({role})", justify="right")
    for name, cells in standings(found, sides):
        shown.add_row(name, *cells)
    return shown


def standings(found: Comparison, sides: tuple[Standing, Standing]) -> Iterator[tuple[str, list[str]]]:
    """Rows of a table of both: a name, and the figure of each side."""
    yield "accuracy", [percent(side.accuracy.value) for side in sides]
    yield "  all such pictures, 95 % sure", [between(side.accuracy) for side in sides]
    yield "F1, mean of classes", [percent(side.f1) for side in sides]
    yield "right", [f"{side.accuracy.hits:,}" for side in sides]
    yield "right where the other is wrong", [f"{found.only_candidate:,}", f"{found.only_served:,}"]
    if any(side.unknown for side in sides):
        yield "of a class it does not have", [f"{side.unknown:,}" for side in sides]
