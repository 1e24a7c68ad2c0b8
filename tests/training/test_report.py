"""The report of a run: its file, its figures, its tables."""

import io
import json

import pytest
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from service.training.report import Report, between, evaluation_tables, metrics, percent, tables
from tests.training.reports import CLASSES, a_report


@pytest.fixture(scope="module")
def report() -> Report:
    return a_report()


def printed(shown: list[Table]) -> str:
    console = Console(file=io.StringIO(), width=120)
    for table in shown:
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_comes_back_as_it_was(report: Report) -> None:
    """What the trainer writes, pages and consoles read."""
    assert Report.from_json(report.to_json()) == report


def test_the_file_has_the_shares(report: Report) -> None:
    """Who reads the JSON need not divide."""
    test = json.loads(report.to_json())["test"]
    assert test["accuracy"]["value"] == report.test.accuracy.value
    assert test["classes"][0]["precision"] == report.test.classes[0].precision


def test_another_format_is_refused(report: Report) -> None:
    """A later Glimt's report is not misread."""
    content = json.loads(report.to_json()) | {"format": 2}
    with pytest.raises(ValidationError):
        Report.from_json(json.dumps(content).encode())


def test_classes_are_counted_by_set(report: Report) -> None:
    """In the data's order; nothing is lost."""
    assert tuple(found.label for found in report.classes) == CLASSES
    assert sum(found.train + found.validation + found.test for found in report.classes) == 400
    assert sum(found.test for found in report.classes) == report.test.pictures


def test_it_stays_small_with_many_classes() -> None:
    """The most classes there may be, and 600 test pictures: under a megabyte."""
    big = a_report([f"a class with the number {number}" for number in range(1000)], 3000)
    assert len(big.to_json()) < 1_000_000


def test_the_manifest_gets_the_test_figures(report: Report) -> None:
    """Rounded; top-5 of four classes is none."""
    found = metrics(report)
    assert found["accuracy"] == round(report.test.accuracy.value, 4)
    assert found["calibration_error"] == round(report.test.calibration.error, 4)
    assert found["test_pictures"] == 80
    assert "top_3" in found
    assert "top_5" not in found


def test_the_tables_of_a_run(report: Report) -> None:
    """The figures, each class, and the gate's two with both models."""
    words = printed(tables(report))
    assert report.gate is not None
    assert report.gate.feedback is not None
    for told in (
        "80 test pictures",
        percent(report.test.accuracy.value),
        between(report.test.accuracy),
        percent(report.test.f1),
        f"temperature {report.temperature.value:.2f}",
        "golden_retriever",
        f"{report.gate.feedback.pictures} feedback pictures",
        "pets:0123456789ab (candidate)",
        "resnet50:ba9876543210 (served)",
        percent(report.gate.test.served.accuracy.value),
        "of a class it does not have",
    ):
        assert told in words


def test_without_a_gate_there_are_two_tables(report: Report) -> None:
    """The first model ever has nothing to be compared with."""
    assert len(tables(report)) == 4
    assert len(tables(report.model_copy(update={"gate": None}))) == 2


def test_a_class_name_is_no_markup() -> None:
    """[red] is a name, not a colour, and an unclosed one no error."""
    words = printed(evaluation_tables(a_report(("[red]", "[/nothing]")).test, "pictures"))
    assert "[red]" in words
    assert "[/nothing]" in words


def test_a_console_shows_a_screenful_of_classes() -> None:
    """The worst; how many more there are is said."""
    words = printed(evaluation_tables(a_report([f"c{number}" for number in range(40)], 1000).test, "pictures"))
    assert "and 10 better ones" in words
