"""Candidate against served model, picture by picture."""

import numpy as np
import pytest

from service.inference.class_names import UNKNOWN
from service.inference.labels import ClassTable
from service.training.gate import Contender, Gate, Verdict, in_classes_of, judge

RIGHT, WRONG = True, False


def contender(name: str, right: list[bool], *, unknown: int = 0) -> Contender:
    """Has two classes; every picture is of class 0, the last `unknown` of none that it has."""
    guesses = np.where(right, 0, 1)
    truth = np.zeros(len(right), np.int64)
    truth[len(right) - unknown :] = UNKNOWN
    return Contender(name, np.eye(2, dtype=np.float32)[guesses], truth)


def judged(candidate: list[bool], served: list[bool], feedback: int = 0, unknown: int = 0) -> Gate:
    """All are test pictures but the last `feedback`, which people brought."""
    test = np.arange(len(candidate)) < len(candidate) - feedback
    return judge(
        contender("pets:new", candidate),
        contender("pets:old", served, unknown=unknown),
        test=test,
        feedback=~test,
        samples=np.arange(len(candidate)) + 100,
    )


@pytest.mark.parametrize(
    ("candidate", "served", "verdict", "passed"),
    [
        ([RIGHT, RIGHT], [RIGHT, WRONG], "better", True),
        ([RIGHT, WRONG], [RIGHT, RIGHT], "worse", False),
        ([RIGHT, WRONG], [WRONG, RIGHT], "as good", False),
        ([RIGHT, RIGHT], [RIGHT, RIGHT], "as good", False),
    ],
)
def test_without_feedback_it_has_to_be_better(
    candidate: list[bool], served: list[bool], verdict: Verdict, passed: bool
) -> None:
    """By how many of the test pictures each has right."""
    gate = judged(candidate, served)
    assert (gate.test.verdict, gate.feedback, gate.passed) == (verdict, None, passed)


@pytest.mark.parametrize(
    ("on_test", "on_feedback", "passed"),
    [(1, 1, True), (1, 0, True), (0, 1, True), (0, 0, False), (1, -1, False), (-1, 1, False), (-1, -1, False)],
)
def test_it_must_be_worse_on_neither_and_better_on_one(on_test: int, on_feedback: int, passed: bool) -> None:
    """1: the candidate has one more right; -1: one fewer."""
    sides = {1: (RIGHT, WRONG), 0: (RIGHT, RIGHT), -1: (WRONG, RIGHT)}
    pairs = [sides[on_test], sides[on_feedback]]
    gate = judged([pair[0] for pair in pairs], [pair[1] for pair in pairs], feedback=1)
    assert gate.passed is passed


def test_a_picture_can_be_in_both_sets() -> None:
    """A correction that was held out for the test counts in the test and as feedback."""
    everything = np.array([True, True])
    gate = judge(
        contender("a", [RIGHT, RIGHT]),
        contender("b", [RIGHT, WRONG]),
        test=everything,
        feedback=np.array([False, True]),
        samples=np.arange(2),
    )
    assert gate.feedback is not None
    assert (gate.test.pictures, gate.feedback.pictures) == (2, 1)


def test_who_had_what_right() -> None:
    """The four fields of the table, and where only one was right: the served model's first."""
    gate = judged([RIGHT, RIGHT, RIGHT, WRONG, WRONG], [RIGHT, WRONG, WRONG, RIGHT, WRONG])
    found = gate.test
    assert (found.both, found.only_candidate, found.only_served, found.neither) == (1, 2, 1, 1)
    assert found.differing == (103, 101, 102)


@pytest.mark.parametrize(
    ("won", "lost", "chance"), [(0, 0, 1), (1, 0, 1), (6, 0, 2 / 64), (5, 1, 14 / 64), (3, 3, 1), (1, 8, 20 / 512)]
)
def test_chance_is_mcnemars(won: int, lost: int, chance: float) -> None:
    """Two-sided binomial of the pictures that one alone had right; by hand."""
    gate = judged([RIGHT] * won + [WRONG] * lost + [RIGHT], [WRONG] * won + [RIGHT] * lost + [RIGHT])
    assert gate.test.chance == pytest.approx(chance)


def test_chance_of_many_pictures_is_a_number() -> None:
    """Factorials of thousands overflow."""
    gate = judged([RIGHT] * 6000 + [WRONG] * 5500, [WRONG] * 6000 + [RIGHT] * 5500)
    assert 0 < gate.test.chance < 1e-4


def test_a_class_that_the_served_model_lacks_counts_as_wrong() -> None:
    """And is told apart: nobody should think that the model failed at it."""
    gate = judged([RIGHT, RIGHT, RIGHT], [RIGHT, RIGHT, RIGHT], unknown=1)
    assert (gate.test.served.accuracy.hits, gate.test.served.unknown, gate.test.verdict) == (2, 1, "better")
    assert "pets:old does not have the class of 1 of the 3 test pictures. That counts as wrong." in gate.words


def test_f1_is_of_the_true_classes() -> None:
    """Each by the model's own table, whose order is another one; a class it lacks has 0."""
    truth = np.array([0, 0, 1, 2])
    theirs = np.array([2, UNKNOWN, 0])[truth]
    gate = judge(
        Contender("a", np.eye(3, dtype=np.float32)[[0, 1, 1, 2]], truth),
        Contender("b", np.eye(3, dtype=np.float32)[[2, 2, 2, 0]], theirs),
        test=np.full(4, True),
        feedback=np.full(4, False),
        samples=np.arange(4),
    )
    assert gate.test.candidate.f1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert gate.test.served.f1 == pytest.approx((4 / 5 + 0 + 1) / 3)


def test_the_words_of_a_pass() -> None:
    """The answer, with both sets."""
    gate = judged([RIGHT] * 9, [WRONG] * 8 + [RIGHT], feedback=1)
    assert gate.words == (
        "Passed: pets:new is better on the 8 test pictures (8 right against 0), and is as good on the 1 feedback "
        "picture (1 right), compared with pets:old.",
    )


def test_the_words_of_a_refusal() -> None:
    """What it would have needed, that a person decides, and that so few pictures tell little."""
    gate = judged([WRONG, WRONG, RIGHT], [RIGHT, RIGHT, RIGHT])
    assert gate.words == (
        "Not passed: pets:new is worse on the 3 test pictures (1 right against 3), compared with pets:old.",
        "It has to be better. A person may put it into service all the same.",
        "3 test pictures are too few to tell: only 2 tell the two apart, and two equally good models would differ as "
        "much in 50% of such tests.",
    )


def test_nothing_to_beat_is_said() -> None:
    """A model for other things has none of the classes."""
    gate = judged([RIGHT] * 8, [RIGHT] * 8, unknown=8)
    assert gate.passed
    assert gate.words[1] == "pets:old has none of the classes of the 8 test pictures: there was nothing to beat."


def test_classes_are_found_by_name() -> None:
    """However they are written, in whatever order."""
    table = ClassTable(("golden_retriever", "cat"), ("n02099601", None), ("", ""))
    assert in_classes_of(table, ("Cat", "ship", "Golden Retriever")).tolist() == [1, UNKNOWN, 0]


def test_it_travels_as_json() -> None:
    """There and back."""
    gate = judged([RIGHT, RIGHT], [RIGHT, WRONG], feedback=1)
    assert Gate.model_validate_json(gate.model_dump_json()) == gate
