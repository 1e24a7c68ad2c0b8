import io
from dataclasses import replace
from typing import Any

import orjson
import pytest
from rich.console import Console

from service.quantization.quality import Quality
from service.quantization.report import Attempt, Candidate, Report, document, metrics, sentences, table

FLOAT32 = Candidate("float32", 54, Quality(200, 200, 0.0, 100, 90, 99), (25.0, 30.0, 32.0), 102_000_000)


def int8(agreeing: int, in_float: int = 0, per_s: float = 100.0) -> Candidate:
    name = f"int8, {in_float} in float" if in_float else "int8"
    return Candidate(name, in_float, Quality(200, agreeing, 0.02, 100, 89, 99), (80.0, per_s, 110.0), 25_600_000)


def report(*candidates: Candidate, **changes: Any) -> Report:
    made = Report(
        model="resnet50",
        calibrated=300,
        asked=300,
        unreadable=0,
        duplicates=0,
        layers=54,
        least_agreement=0.97,
        commonest_share=0.1,
        attempts=tuple(Attempt(candidate.in_float, candidate.quality.agreement) for candidate in candidates),
        float32=FLOAT32,
        int8=candidates,
    )
    return replace(made, **changes)


def words(made: Report) -> str:
    return " ".join(sentences(made))


def printed(made: Report) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(table(made))
    assert isinstance(console.file, io.StringIO)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(("agreeing", "passed"), [(200, True), (194, True), (193, False), (0, False)])
def test_exactly_the_least_agreement_is_enough(agreeing: int, passed: bool) -> None:
    """0.97 of 200 pictures are 194."""
    assert report(int8(agreeing)).passed is passed


def test_the_table_has_a_row_per_figure_and_ratios_to_float32() -> None:
    """What the issue asks for, as a person reads it."""
    assert printed(report(int8(198))) == [
        "float32 int8",
        "top-1 agreement 0.990",
        "top-1 accuracy 90.0% 89.0%",
        "top-5 accuracy 99.0% 99.0%",
        "mean |Δp| of the first label 0.0200",
        "pictures/s, batch 1 25.0 80.0 (3.20x)",
        "pictures/s, batch 8 30.0 100.0 (3.33x)",
        "pictures/s, batch 16 32.0 110.0 (3.44x)",
        "weights on disk 102.0 MB 25.6 MB",
        "layers in float 54 of 54 0 of 54",
    ]


def test_without_labels_accuracy_is_not_spoken_of() -> None:
    """No row, no sentence, no figure in the manifest."""
    unlabelled = Quality(200, 198, 0.02, 0, 0, 0)
    made = report(replace(int8(0), quality=unlabelled), float32=replace(FLOAT32, quality=unlabelled))
    assert not any("accuracy" in line for line in printed(made))
    assert "known label" not in words(made)
    assert not any("top" in name for name in metrics(made))


def test_a_pass_says_how_sure_it_is_and_what_accuracy_it_cost() -> None:
    """Counts, the share, its interval, the setting, the points."""
    made = words(report(int8(198)))
    assert "198 of 200 checked pictures keep their first label: 0.990" in made
    assert "0.964 to 0.997, 95 % sure" in made
    assert "0.97 is asked for" in made
    assert "float32 has 90 right, int8 89 (-1.0 points)" in made
    assert "To try" not in made


def test_a_failure_says_what_to_try() -> None:
    """More varied pictures, a lower bar that would pass, or float32."""
    made = words(report(int8(183)))
    assert "Not good enough" in made
    for way_out in ("more and more varied pictures (300 were used", "--least-agreement 0.91 ", "stay with float32"):
        assert way_out in made


def test_layers_left_in_float_are_told_with_their_price() -> None:
    """Every attempt, how many layers of how many, and the share of the speed that they cost; a column more."""
    made = report(int8(180), int8(196, in_float=2, per_s=75.0))
    assert made.passed
    assert "Plain int8 reached 0.900" in words(made)
    assert "(0: 0.900, 2: 0.980)" in words(made)
    assert "With 2 of 54 that costs 25% of the plain speed at batch 8" in words(made)
    assert printed(made)[0] == "float32 int8 int8, 2 in float"


def test_layers_left_in_float_for_nothing_are_told_too() -> None:
    """The plain model was the best of all attempts, and that was not enough."""
    made = report(int8(180), attempts=(Attempt(0, 0.9), Attempt(1, 0.88)))
    assert "did not help (0: 0.900, 1: 0.880)" in words(made)


def test_a_model_that_gives_one_answer_is_doubted() -> None:
    """Random weights agree with themselves on the only label they know."""
    assert "the agreement says little" in words(report(int8(200), commonest_share=1.0))
    assert "the agreement says little" not in words(report(int8(200)))


def test_pictures_left_out_are_counted() -> None:
    """Unreadable ones and duplicates."""
    assert "2 unreadable, 3 duplicate" in words(report(int8(200), unreadable=2, duplicates=3))


def test_the_json_has_all_and_can_be_written() -> None:
    """Every figure of the table, and the verdict."""
    made = orjson.loads(orjson.dumps(document(report(int8(198)))))
    assert made["passed"] is True
    assert made["int8"][0]["per_s"] == [80.0, 100.0, 110.0]
    assert made["metrics"]["agreement"] == 0.99
    assert made["metrics"]["int8_pictures_per_s_at_8"] == 100.0
