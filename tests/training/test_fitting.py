"""A network learns from pictures, with real Keras."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.construction import make_engine
from service.errors import BadRequest
from service.inference.engines.preparing import load_weights
from service.models.architectures import build_trained
from service.models.choice import registered
from service.models.registry import Registry
from service.settings import Settings
from service.training import fitting, phases
from service.training.calibration import scaled
from service.training.dataset import gather, open_pixels, read_dataset
from service.training.fitting import Step, cool, fit, pictures, scores
from service.training.phases import go_through
from service.training.runs import Run
from tests.training.pictures import LIMITS, a_run, two_classes, write

# Keras 3.15 saves with np.array(variable), of which numpy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Quiet:
    """A clerk who lets everything go on."""

    def phase(self, state: str) -> None:
        """Nothing."""

    def tell(self, words: str, step: int, steps: int, eta_s: float | None = None) -> None:
        """Nothing."""


def fitted(run: Run, on_step: Callable[[Step], None] = lambda step: None) -> Any:
    """The model that the run's order gives."""
    dataset = gather(run.order, run, LIMITS, say=lambda done, total: None)
    return fit(run.order, dataset, run, Settings(data_dir=run.folder.parents[1]), on_step=on_step)


def tiny(folder: Path, **changes: Any) -> Run:
    options: dict[str, Any] = {"backbone": "cnn", "epochs": 2, "batch": 8} | changes
    return a_run(folder, two_classes(folder / "pets", each=12), **options)


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one version, which has been taught for an epoch."""
    folder = tmp_path_factory.mktemp("school")
    published(tiny(folder, epochs=1))
    return folder


@pytest.fixture
def taught(school: Path) -> str:
    (version,) = Registry(school).list()
    return version.ref


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_b0"])
def test_one_epoch_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str) -> None:
    """What is published, loaded again into Keras and into the engine that serves it, answers as the fitted model."""
    run = tiny(tmp_path, backbone=backbone, weights="random", size=64, epochs=1)
    settings, models = Settings(data_dir=tmp_path), []

    def remembered(*arguments: Any, **options: Any) -> Any:
        models.append(fit(*arguments, **options))
        return models[0]

    monkeypatch.setattr(phases, "fit", remembered)
    ref = go_through(run, settings, Quiet())
    pixels, rows = open_pixels(run.folder), np.arange(8)
    expected = scores(models[0], pictures(run.order, run), rows)
    np.testing.assert_allclose(scores(loaded(ref, tmp_path), pictures(run.order, run), rows), expected, atol=1e-5)
    engine = make_engine(registered(ref, settings), settings)
    engine.load()
    np.testing.assert_allclose(engine.predict(pixels[rows]), expected, atol=1e-5)
    engine.close()


@pytest.mark.slow
def test_the_new_layers_learn_first_then_the_last_ones_of_the_backbone(school: Path, taught: str) -> None:
    """The backbone's first layers and every batch norm stay what they were; both phases are written down."""
    run = tiny(school, weights=taught, epochs=1, fine_tune_epochs=1, fine_tune_learning_rate=1e-4)
    model, original = fitted(run), loaded(taught, school)
    assert [epoch.phase for epoch in run.epochs()] == ["head", "fine-tuning"]
    layers = zip(original.layers, model.layers, strict=True)
    changed = [type(new).__name__ for old, new in layers if not same_weights(old, new)]
    assert changed == ["Conv2D", "Dense", "Dense"]


@pytest.mark.slow
def test_fine_tuning_that_harms_is_undone(school: Path, taught: str) -> None:
    """The best epoch of both phases counts."""
    order = {"weights": taught, "epochs": 3, "dropout": 0.0}
    alone = fitted(run := tiny(school, **order, fine_tune_epochs=0))
    model = fitted(other := tiny(school, **order, fine_tune_epochs=2, fine_tune_learning_rate=1.0))
    assert other.epochs()[-1].val_loss > min(epoch.val_loss for epoch in run.epochs())
    assert all(same_weights(old, new) for old, new in zip(alone.layers, model.layers, strict=True))


@pytest.mark.slow
def test_the_training_loss_is_of_all_pictures(school: Path, taught: str) -> None:
    """It was that of the last batch alone."""
    order = {"weights": taught, "epochs": 1, "fine_tune_epochs": 0, "dropout": 0.0, "learning_rate": 1e-9, "batch": 5}
    model = fitted(run := tiny(school, **order, class_weights=False))
    rows = (dataset := read_dataset(run.folder)).of("train")
    answers, truth = scores(model, pictures(run.order, run), rows), dataset.labels[rows]
    assert run.epochs()[0].loss == pytest.approx(-np.log(answers[np.arange(len(rows)), truth]).mean(), rel=1e-3)
    assert run.epochs()[0].accuracy == pytest.approx((answers.argmax(axis=1) == truth).mean())


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_it_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it; no epoch is written down."""
    monkeypatch.setattr(fitting, "_held_out", lambda *_: (math.nan, 0.0))
    run = tiny(tmp_path)
    with pytest.raises(BadRequest, match="smaller learning rate"):
        fitted(run)
    assert run.epochs() == []


@pytest.mark.slow
def test_it_stops_when_it_gets_no_better(tmp_path: Path) -> None:
    """After `patience` epochs, with the learning rate cut on the way; what is left is told with every step."""
    steps: list[Step] = []
    run = tiny(tmp_path, epochs=1000, patience=3, learning_rate=1.0)
    fitted(run, steps.append)
    losses = [epoch.val_loss for epoch in run.epochs()]
    assert len(losses) - 1 - losses.index(min(losses)) == 3
    assert run.epochs()[-1].learning_rate < 1
    assert (steps[0].epochs, steps[0].at_most) == (0, 1000)
    assert all(step.eta_s is not None and step.eta_s >= 0 for step in steps)


@pytest.mark.slow
def test_a_temperature_goes_into_the_weights(tmp_path: Path) -> None:
    """The model then answers what scaling its answers gives."""
    run = tiny(tmp_path, epochs=1)
    model, rows = fitted(run), np.arange(6)
    before = scores(model, pictures(run.order, run), rows)
    cool(model, 2.5)
    np.testing.assert_allclose(scores(model, pictures(run.order, run), rows), scaled(before, 2.5), atol=1e-6)


def test_rare_classes_count_more(tmp_path: Path) -> None:
    """Each class counts the same in all; unless that is not wanted."""
    source = two_classes(tmp_path / "pets", each=30)
    write(source / "eel", range(2000, 2010))
    run = a_run(tmp_path, source)
    dataset = gather(run.order, run, LIMITS, say=lambda done, total: None)
    counts = [found["train"] for found in dataset.distribution().values()]
    weights = fitting._examples(run.order, dataset, run).weights
    np.testing.assert_allclose(weights * counts, [sum(counts) / 3] * 3, rtol=1e-6)
    plain = run.order.model_copy(update={"class_weights": False})
    assert fitting._examples(plain, dataset, run).weights.tolist() == [1, 1, 1]


def same_weights(old: Any, new: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(old.get_weights(), new.get_weights(), strict=True))


def published(run: Run) -> str:
    """NAME:VERSION of what the run gives."""
    return go_through(run, Settings(data_dir=run.folder.parents[1]), Quiet())


def loaded(ref: str, data: Path) -> Any:
    version = Registry(data).read(ref)
    assert version.recipe is not None
    model = build_trained(version.recipe)
    load_weights(model, version.weights)
    return model
