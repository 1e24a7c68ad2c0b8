"""The figures of a report, against scikit-learn's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bulk.report import matrix, measure

KNOWN = ("ant", "bee", "cat", "dog")
PAIRS = st.dictionaries(st.tuples(st.sampled_from(KNOWN), st.sampled_from(KNOWN)), st.integers(1, 9), min_size=1)


def test_without_folders_there_are_no_figures() -> None:
    """Nothing to compare with is not the same as nothing right."""
    assert measure({}, 0, KNOWN) is None


def test_by_hand() -> None:
    """Three ants, two taken for ants; one bee, taken for an ant."""
    found = measure({("ant", "ant"): 2, ("ant", "cat"): 1, ("bee", "ant"): 1}, 3, KNOWN)
    assert found is not None
    assert (found.pictures, found.unknown, found.top_1, found.top_5) == (4, 0, 0.5, 0.75)
    ant, bee, cat = found.classes
    assert (ant.label, ant.support, ant.precision, ant.recall, ant.f1) == ("ant", 3, 2 / 3, 2 / 3, 2 / 3)
    assert (bee.label, bee.support, bee.precision, bee.recall, bee.f1) == ("bee", 1, None, 0.0, 0.0)
    assert (cat.label, cat.support, cat.precision, cat.recall, cat.f1) == ("cat", 0, 0.0, None, 0.0)
    assert found.precision == pytest.approx(1 / 3)


def test_folders_that_name_no_class_are_counted_apart() -> None:
    """They make nothing better or worse; alone, they leave no figures."""
    found = measure({("ant", "ant"): 1, ("holidays", "ant"): 5}, 1, KNOWN)
    assert found is not None
    assert (found.pictures, found.unknown, found.top_1) == (1, 5, 1.0)
    assert [figures.label for figures in found.classes] == ["ant"]
    found = measure({("holidays", "ant"): 5}, 0, KNOWN)
    assert found is not None
    assert (found.pictures, found.unknown, found.top_1, found.f1, found.classes) == (0, 5, None, None, ())


@settings(deadline=None, max_examples=50)
@given(PAIRS)
def test_as_scikit_learn_says(confusion: dict[tuple[str, str], int]) -> None:
    """Accuracy, and precision, recall, F1 and support of each class."""
    metrics = pytest.importorskip("sklearn.metrics")
    truths = [truth for (truth, _), count in confusion.items() for _ in range(count)]
    guesses = [guess for (_, guess), count in confusion.items() for _ in range(count)]
    found = measure(confusion, 0, KNOWN)
    assert found is not None
    assert found.top_1 == pytest.approx(metrics.accuracy_score(truths, guesses))
    labels = [figures.label for figures in found.classes]
    figures = metrics.precision_recall_fscore_support(truths, guesses, labels=labels, zero_division=0)
    assert [it.precision or 0 for it in found.classes] == pytest.approx(list(figures[0]))
    assert [it.recall or 0 for it in found.classes] == pytest.approx(list(figures[1]))
    assert [it.f1 for it in found.classes] == pytest.approx(list(figures[2]))
    assert [it.support for it in found.classes] == list(figures[3])


def test_the_matrix_has_the_heaviest_classes_by_name() -> None:
    """What is left out is counted."""
    found = measure({("dog", "dog"): 9, ("cat", "dog"): 3, ("ant", "ant"): 5, ("bee", "bee"): 1}, 0, KNOWN)
    assert found is not None
    shown = matrix(found, 3)
    assert shown.labels == ("ant", "cat", "dog")
    assert shown.rows == ((5, 0, 0), (0, 0, 3), (0, 0, 9))
    assert shown.left_out == 1
    assert matrix(found, 50).left_out == 0
