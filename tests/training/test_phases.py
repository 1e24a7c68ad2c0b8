"""What a run leaves behind, with real Keras; how it ends otherwise is in test_trainer.py."""

from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, NotFound, StartError
from service.models.registry import Registry
from service.settings import Settings
from service.training import phases
from service.training.phases import go_through
from service.training.report import Report
from service.training.runs import Run, State
from tests.training.pictures import a_run, two_classes

# Keras 3.15 saves with np.array(variable), of which numpy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Listening:
    """A clerk who remembers the phases."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def phase(self, state: State) -> None:
        self.phases.append(state)

    def tell(self, words: str, step: int, steps: int, eta_s: float | None = None) -> None:
        assert step <= steps


def tiny(folder: Path, **changes: Any) -> Run:
    source = two_classes(folder / "pictures", each=12)
    options: dict[str, Any] = {"backbone": "cnn", "epochs": 1, "batch": 8, "augment": True} | changes
    return a_run(folder, source, **options)


def gone_through(run: Run) -> str:
    return go_through(run, Settings(data_dir=run.folder.parents[1]), Listening())


def report_of(run: Run) -> Report:
    return Report.from_json((run.folder / "report.json").read_bytes())


@pytest.mark.slow
def test_a_version_carries_its_report_and_its_sheets(tmp_path: Path) -> None:
    """With the figures of the test pictures in its manifest, under the run's name; it is not served by that."""
    run, clerk = tiny(tmp_path), Listening()
    ref = go_through(run, Settings(data_dir=tmp_path), clerk)
    assert clerk.phases == ["gathering", "fitting", "evaluating", "publishing"]
    registry = Registry(tmp_path)
    version = registry.read(ref)
    assert (version.run, version.recipe, version.classes.labels) == (run.id, run.order.recipe(2), ("cat", "dog"))
    assert version.metrics["accuracy"] == pytest.approx(report_of(run).test.accuracy.value, abs=1e-4)
    carried = {path.name for path in version.weights.parent.iterdir()}
    assert {"report.json", "maps.json", "map-1.png", "map-3.png", "augmentation.png"} <= carried
    assert registry.pointer().served is None


@pytest.mark.slow
def test_the_candidate_is_compared_with_the_served_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its engine, on pictures of its own size. One that cannot be loaded costs only the comparison."""
    served = gone_through(tiny(tmp_path))
    Registry(tmp_path).point(served, None)
    gone_through(run := tiny(tmp_path, size=48, seed=1))
    gate = report_of(run).gate
    assert gate is not None
    assert (gate.served, gate.test.pictures) == (served, report_of(run).test.pictures)

    def broken(*_: object) -> None:
        raise StartError("The engine cannot be loaded.")

    monkeypatch.setattr(phases, "answers", broken)
    gone_through(run := tiny(tmp_path, seed=2))
    assert report_of(run).gate is None
    assert (report_of(run).no_gate or "").endswith("cannot be loaded. The engine cannot be loaded.")


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"name": "resnet50"}, Conflict), ({"compare_with": "pets:1"}, NotFound)],
)
def test_what_would_fail_in_the_end_fails_at_once(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    """Before anything is gathered: a name that cannot be published, a model to compare with that is not there."""
    run, clerk = tiny(tmp_path, **changes), Listening()
    with pytest.raises(error):
        go_through(run, Settings(data_dir=tmp_path), clerk)
    assert clerk.phases == []
