"""Confidence and what came of it; the temperature."""

import numpy as np
import pytest

from service.training.calibration import BINS, COLDEST, HOTTEST, calibrate, find_temperature, scaled
from service.training.evaluation import Scores, Truth


def two(confidences: list[float]) -> Scores:
    """Scores of two classes, the first being the guess."""
    return np.array([[share, 1 - share] for share in confidences], np.float32)


def drawn(pictures: int, sharpness: float, seed: int = 3) -> tuple[Scores, Truth]:
    """Truths drawn from what softmax(logits) says, and softmax(logits * sharpness): at 1 calibrated by its making."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(pictures, 4)) * 1.5
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (generator.random((pictures, 1)) > honest.cumsum(axis=1)).sum(axis=1)
    sharp = np.exp(logits * sharpness)
    return (sharp / sharp.sum(axis=1, keepdims=True)).astype(np.float32), truth


def test_the_error_by_hand() -> None:
    """0.95, 0.97 in the last bin, one right: |1 - 1.92|; 0.7 in its own, right: |1 - 0.7|; together over three."""
    found = calibrate(two([0.95, 0.97, 0.7]), np.array([0, 1, 0]))
    assert found.error == pytest.approx((0.92 + 0.3) / 3, abs=1e-6)
    assert found.confidence == pytest.approx((0.95 + 0.97 + 0.7) / 3)
    assert found.loss == pytest.approx(-np.log([0.95, 0.03, 0.7]).mean(), abs=1e-6)


def test_bins_by_hand() -> None:
    """BINS of them, the last with what is quite certain; empty ones have no accuracy."""
    found = calibrate(two([0.95, 0.97, 0.7, 1.0]), np.array([0, 1, 0, 0]))
    assert len(found.bins) == BINS
    filled = {place: (one.pictures, one.right) for place, one in enumerate(found.bins) if one.pictures}
    assert filled == {10: (1, 1), 14: (3, 2)}
    assert found.bins[14].accuracy == pytest.approx(2 / 3)
    assert (found.bins[0].accuracy, found.bins[0].confidence) == (None, None)


def test_a_certain_mistake_has_a_finite_loss() -> None:
    """float32 rounds small probabilities to 0, whose logarithm would be infinite."""
    found = calibrate(two([1.0]), np.array([1]))
    assert 80 < found.loss < 90


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_scaling_is_that_of_the_logits(temperature: float) -> None:
    """softmax(logits / T), from the probabilities alone."""
    logits = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, -3.0]])
    expected = np.exp(logits / temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    assert scaled(scores, temperature) == pytest.approx(expected, abs=1e-6)


def test_scores_of_zero_and_one_can_be_scaled() -> None:
    """They stay probabilities."""
    found = scaled(two([1.0, 0.0]), HOTTEST)
    assert np.isfinite(found).all()
    assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("sharpness", [3.0, 0.4])
def test_the_temperature_undoes_what_was_done(sharpness: float) -> None:
    """Scores made three times too sharp need a temperature of about 3; too soft ones, less than 1."""
    found = find_temperature(*drawn(4000, sharpness))
    assert found.value == pytest.approx(sharpness, rel=0.1)
    assert found.applied
    assert found.after.loss < found.before.loss
    assert found.after.error < found.before.error / 3


def test_no_other_temperature_is_likelier() -> None:
    """The valley's lowest point, against a fine grid."""
    scores, truth = drawn(200, 2)
    found = find_temperature(scores, truth)
    grid = [calibrate(scaled(scores, value), truth).loss for value in np.geomspace(COLDEST, HOTTEST, 400)]
    assert found.after.loss <= min(grid) + 1e-9


def test_what_is_calibrated_is_left_as_it_is() -> None:
    """A gain that chance explains is none."""
    found = find_temperature(*drawn(400, 1))
    assert found.value == pytest.approx(1, abs=0.2)
    assert not found.applied


def test_few_pictures_change_nothing() -> None:
    """One mistake among a dozen says too little."""
    found = find_temperature(two([0.9] * 12), np.array([0] * 11 + [1]))
    assert not found.applied


def test_without_a_mistake_there_is_no_best_temperature() -> None:
    """The colder the likelier, without end: it is left at 1."""
    found = find_temperature(two([0.6] * 50), np.zeros(50, np.int64))
    assert (found.value, found.applied) == (1, False)
    assert found.after == found.before
