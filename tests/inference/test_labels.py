"""Scores to labels, and the typeahead's search."""

from pathlib import Path

import numpy as np
import pytest

from service.inference.labels import ClassTable, top_k

IMAGENET = ClassTable.read(Path(__file__).parents[2] / "service/models/imagenet_classes.tsv")
THREE = ClassTable(("cat", "dog", "bird"), ("n1", None, "n3"), ("cat", "dog", "bird"))


def test_top_k_sorts_by_falling_score() -> None:
    """The most probable first, each with its index, id and score."""
    first, second = top_k(np.array([0.2, 0.7, 0.1], np.float32), THREE, 2)
    assert (first.label, first.wnid, first.index) == ("dog", None, 1)
    assert first.score == pytest.approx(0.7)
    assert (second.label, second.wnid) == ("cat", "n1")


def test_equal_scores_keep_the_tables_order() -> None:
    """The same picture always gets the same answer."""
    assert [label.label for label in top_k(np.array([0.4, 0.2, 0.4], np.float32), THREE, 3)] == ["cat", "bird", "dog"]


def test_k_is_cut_to_the_classes() -> None:
    """Asking for more than there are is not an error."""
    assert len(top_k(np.array([0.2, 0.7, 0.1], np.float32), THREE, 1000)) == 3


def test_imagenet_table() -> None:
    """1,000 classes in model order, with Keras's names."""
    assert len(IMAGENET) == 1000
    assert (IMAGENET.labels[248], IMAGENET.wnids[248]) == ("Eskimo_dog", "n02109961")
    assert len({*zip(IMAGENET.labels, IMAGENET.wnids, strict=True)}) == 1000


def test_search_prefers_beginnings() -> None:
    """A label that starts with the text comes before one in which another word does."""
    found = IMAGENET.search("esk", limit=3)
    assert found[0] == "Eskimo_dog"
    assert IMAGENET.search("husky")[0] in {"Eskimo_dog", "Siberian_husky"}
    assert IMAGENET.search("  ") == ()
    assert IMAGENET.search("no such thing") == ()


def test_table_with_a_gap_is_refused(tmp_path: Path) -> None:
    """A class table out of order would give every picture a wrong label."""
    (tmp_path / "classes.tsv").write_text("index\twnid\tlabel\tsynonyms\n0\t\ta\ta\n2\t\tb\tb\n")
    with pytest.raises(ValueError, match="count from 0"):
        ClassTable.read(tmp_path / "classes.tsv")
