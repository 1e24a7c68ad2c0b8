"""The figures of an evaluation: by hand, and once against scikit-learn."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.inference.class_names import UNKNOWN
from service.training.evaluation import (
    CELL_PICTURES,
    NAME_CHARS,
    SHOWN_CLASSES,
    SHOWN_PICTURES,
    Evaluation,
    Scores,
    Share,
    Truth,
    evaluate,
)

LABELS = ("ant", "bee", "cat", "dog")
SCORES = np.array(
    [
        [0.7, 0.1, 0.1, 0.1],  # an ant
        [0.6, 0.2, 0.1, 0.1],  # an ant
        [0.1, 0.8, 0.06, 0.04],  # an ant, taken for a bee
        [0.3, 0.5, 0.1, 0.1],  # a bee
        [0.9, 0.05, 0.03, 0.02],  # a cat, taken for an ant
    ],
    np.float32,
)
TRUTH = np.array([0, 0, 0, 1, 2])
NAMES = ["one.png", "two.png", "three.png", "four.png", "five.png"]


@pytest.fixture(scope="module")
def by_hand() -> Evaluation:
    return evaluate(SCORES, TRUTH, LABELS, NAMES, samples=[10, 11, 12, 13, 14])


def random(pictures: int, classes: int, seed: int = 0) -> tuple[Scores, Truth]:
    """Probabilities that are right a little more often than chance."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, pictures)
    powers = generator.random((pictures, classes)) ** 4
    powers[np.arange(pictures), truth] += 0.5
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (29, 30, 0.8333, 0.9941)],
)
def test_a_share_has_wilsons_interval(hits: int, of: int, low: float, high: float) -> None:
    """As tables have it; never outside 0 and 1."""
    share = Share.among(hits, of)
    assert (share.value, share.low, share.high) == pytest.approx((hits / of, low, high), abs=5e-5)


def test_accuracy_and_means_by_hand(by_hand: Evaluation) -> None:
    """Three of five right; the means are over ant, bee and cat, which have pictures."""
    assert (by_hand.pictures, by_hand.unknown, by_hand.accuracy.hits, by_hand.accuracy.of) == (5, 0, 3, 5)
    assert by_hand.precision == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert by_hand.recall == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert by_hand.f1 == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_each_class_by_hand(by_hand: Evaluation) -> None:
    """A cat was never answered: it has no precision. A dog neither is nor was: it is no class here."""
    ant, bee, cat = by_hand.classes
    assert (ant.label, ant.pictures, ant.predicted, ant.hits) == ("ant", 3, 3, 2)
    assert (bee.precision, bee.recall) == (0.5, 1.0)
    assert (cat.precision, cat.recall, cat.f1) == (None, 0.0, 0.0)


def test_top_3_is_told_where_it_is_not_everything(by_hand: Evaluation) -> None:
    """Of four classes the first three; five of four would be all."""
    assert by_hand.top_3 is not None
    assert by_hand.top_3.hits == 5
    assert by_hand.top_5 is None
    assert evaluate(SCORES[:, :3], TRUTH, LABELS[:3], NAMES).top_3 is None


def test_of_equal_scores_the_first_class_is_the_guess() -> None:
    """As the labels of an answer are sorted: top-k agrees with what a person was shown."""
    scores = np.full((6, 6), 1 / 6, np.float32)
    found = evaluate(scores, np.arange(6), "abcdef", list("abcdef"))
    assert found.top_3 is not None
    assert found.top_5 is not None
    assert (found.accuracy.hits, found.top_3.hits, found.top_5.hits) == (1, 3, 5)


def test_the_matrix_has_the_pictures_of_its_cells(by_hand: Evaluation) -> None:
    """By their places in the data, not by their rows here."""
    cells = {(cell.truth, cell.label): (cell.count, cell.samples) for cell in by_hand.matrix.cells}
    assert by_hand.matrix.labels == ("ant", "bee", "cat")
    assert cells == {(0, 0): (2, (10, 11)), (0, 1): (1, (12,)), (1, 1): (1, (13,)), (2, 0): (1, (14,))}


def test_the_worst_mistake_is_the_surest(by_hand: Evaluation) -> None:
    """Wrong ones only, with what it was and how likely that seemed."""
    assert [(one.sample, one.name) for one in by_hand.worst] == [(14, "five.png"), (12, "three.png")]
    worst = by_hand.worst[0]
    assert (worst.truth, worst.label, worst.second) == ("cat", "ant", "bee")
    assert (worst.score, worst.truth_score, worst.margin) == pytest.approx((0.9, 0.03, 0.85))


def test_the_least_certain_has_the_smallest_margin(by_hand: Evaluation) -> None:
    """Right or wrong."""
    assert [one.sample for one in by_hand.least_certain] == [13, 11, 10, 12, 14]


@pytest.mark.parametrize(("scores", "entropy"), [([1, 0, 0, 0], 0), ([0.25] * 4, 1), ([0.5, 0.5, 0, 0], 0.5)])
def test_entropy_is_a_share_of_the_most(scores: list[float], entropy: float) -> None:
    """Between certain and all alike; a score of 0 has no logarithm and counts nothing."""
    found = evaluate(np.array([scores], np.float32), np.array([0]), LABELS, ["a"])
    assert found.least_certain[0].entropy == pytest.approx(entropy)


def test_pictures_of_unknown_classes_are_counted_apart() -> None:
    """They change no figure, and the others keep their places."""
    truth = np.array([0, UNKNOWN, 0, 1, UNKNOWN])
    found = evaluate(SCORES, truth, LABELS, NAMES)
    assert (found.pictures, found.unknown, found.accuracy.hits) == (3, 2, 2)
    assert [one.sample for one in found.worst] == [2]


@pytest.mark.parametrize(
    ("scores", "truth", "names", "told"),
    [
        (SCORES, TRUTH[:4], NAMES, "do not fit"),
        (SCORES, TRUTH, NAMES[:4], "do not fit"),
        (SCORES[:, :3], TRUTH, NAMES, "do not fit"),
        (np.full((5, 4), np.nan, np.float32), TRUTH, NAMES, "no finite number"),
        (SCORES, np.full(5, UNKNOWN), NAMES, "no picture is of a class"),
        (SCORES[:0], TRUTH[:0], [], "no picture is of a class"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores: Scores, truth: Truth, names: list[str], told: str) -> None:
    """Shapes that do not fit, scores that are none, nothing to judge."""
    with pytest.raises(ValueError, match=told):
        evaluate(scores, truth, LABELS, names)


def test_it_stays_small() -> None:
    """However many pictures and classes there are."""
    scores, truth = random(2000, SHOWN_CLASSES + 10)
    labels = [f"class {index}" for index in range(scores.shape[1])]
    found = evaluate(scores, truth, labels, ["n" * 1000] * len(truth))
    assert (len(found.worst), len(found.least_certain)) == (SHOWN_PICTURES, SHOWN_PICTURES)
    assert (len(found.matrix.labels), found.matrix.left_out) == (SHOWN_CLASSES, 10)
    assert max(len(cell.samples) for cell in found.matrix.cells) == CELL_PICTURES
    assert {len(one.name) for one in found.worst} == {NAME_CHARS}


def test_the_matrix_shows_the_classes_with_the_most_mistakes() -> None:
    """A class that is always right is the first to be left out, however many pictures it has."""
    classes = SHOWN_CLASSES + 1
    truth = np.array([0] * 100 + list(range(1, classes)))
    guesses = np.array([0] * 100 + [*range(2, classes), 1])
    scores = np.eye(classes, dtype=np.float32)[guesses]
    found = evaluate(scores, truth, [str(index) for index in range(classes)], [""] * len(truth))
    assert "0" not in found.matrix.labels
    assert found.matrix.left_out == 1


def test_as_scikit_learn_says() -> None:
    """Accuracy, top-3, the means, and the confusion matrix of 300 random pictures."""
    sklearn = pytest.importorskip("sklearn.metrics")
    scores, truth = random(300, 7)
    first: NDArray[np.int64] = scores.argmax(axis=1)
    found = evaluate(scores, truth, list("abcdefg"), [""] * 300)
    assert found.top_3 is not None
    assert found.accuracy.value == pytest.approx(sklearn.accuracy_score(truth, first))
    assert found.top_3.value == pytest.approx(sklearn.top_k_accuracy_score(truth, scores, k=3))
    means = sklearn.precision_recall_fscore_support(truth, first, average="macro")[:3]
    assert (found.precision, found.recall, found.f1) == pytest.approx(means)
    counts = np.zeros((7, 7), int)
    for cell in found.matrix.cells:
        counts[cell.truth, cell.label] = cell.count
    assert (counts == sklearn.confusion_matrix(truth, first)).all()
