"""Whether a candidate may take the place of the model that is served: both on the same pictures. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, lgamma, log
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.counting import counted
from service.inference.class_names import UNKNOWN, ClassNames
from service.inference.labels import ClassTable
from service.training.evaluation import SHOWN_PICTURES, Frozen, Scores, Share, Truth

Verdict = Literal["better", "as good", "worse"]
Rows = NDArray[np.bool_]

CHANCE = 0.05
"""A difference that two equally good models show more often than this proves nothing."""


@dataclass(frozen=True)
class Contender:
    """A model and its scores (n, classes). `truth` (n,): the pictures' classes in its own table, UNKNOWN where it has
    none such."""

    name: str
    scores: Scores
    truth: Truth


class Standing(Frozen):
    """How one model did. `f1` is the mean over the true classes. A picture of a class that the model does not have
    counts as wrong; `unknown` are these."""

    model: str
    accuracy: Share
    f1: float
    unknown: int


class Comparison(Frozen):
    """Both models on the same `pictures`: how many both, one alone or neither had right.

    `verdict` goes by how many each had right. `chance`: how often two equally good models would differ so much or more
    (McNemar's test, exact). `differing`: some of the samples that one alone had right, those of the served model first.
    """

    pictures: int
    candidate: Standing
    served: Standing
    both: int
    only_candidate: int
    only_served: int
    neither: int
    verdict: Verdict
    chance: float
    differing: tuple[int, ...]


class Gate(Frozen):
    """`test`: on the pictures held out from training. `feedback`: on the held-out pictures, validation among them, that
    people corrected or confirmed; None without any. `passed`: worse on neither, better on one. `words`: the answer
    first."""

    candidate: str
    served: str
    test: Comparison
    feedback: Comparison | None
    passed: bool
    words: tuple[str, ...]


def in_classes_of(model: ClassTable, classes: tuple[str, ...]) -> Truth:
    """For each name the model's class, UNKNOWN where it has none: `in_classes_of(table, names)[truth]` is a truth."""
    names = ClassNames(model)
    return np.array([names.find(name) for name in classes], np.int64)


def judge(candidate: Contender, served: Contender, *, test: Rows, feedback: Rows, samples: NDArray[np.int64]) -> Gate:
    """Both have scores of the same n held-out pictures, validation and test, in one order. `test`, `feedback` (n,) say
    which of them those are; `samples` (n,): their places in the data. At least one is a test picture; the candidate has
    the class of each."""
    on_test = _compare(candidate, served, test, samples)
    on_feedback = _compare(candidate, served, feedback, samples) if feedback.any() else None
    verdicts = {found.verdict for found in (on_test, on_feedback) if found}
    passed = "worse" not in verdicts and "better" in verdicts
    return Gate(
        candidate=candidate.name,
        served=served.name,
        test=on_test,
        feedback=on_feedback,
        passed=passed,
        words=tuple(_words(on_test, on_feedback, passed)),
    )


def _compare(candidate: Contender, served: Contender, rows: Rows, samples: NDArray[np.int64]) -> Comparison:
    ours, theirs = _right(candidate)[rows], _right(served)[rows]
    only_ours, only_theirs = ours & ~theirs, theirs & ~ours
    won, lost = int(only_ours.sum()), int(only_theirs.sum())
    classes = candidate.truth[rows]
    return Comparison(
        pictures=len(ours),
        candidate=_standing(candidate, rows, classes),
        served=_standing(served, rows, classes),
        both=int((ours & theirs).sum()),
        only_candidate=won,
        only_served=lost,
        neither=int((~ours & ~theirs).sum()),
        verdict="better" if won > lost else "worse" if won < lost else "as good",
        chance=_mcnemar(won, lost),
        differing=tuple([*samples[rows][only_theirs].tolist(), *samples[rows][only_ours].tolist()][:SHOWN_PICTURES]),
    )


def _right(model: Contender) -> Rows:
    return np.asarray(model.scores.argmax(axis=1) == model.truth)  # UNKNOWN is no column, so never right


def _standing(model: Contender, rows: Rows, classes: Truth) -> Standing:
    first, truth, right = model.scores[rows].argmax(axis=1), model.truth[rows], _right(model)[rows]
    f1s = []
    for index in np.unique(classes):
        own = classes == index
        predicted = (first == truth[own][0]).sum()
        f1s.append(2 * right[own].sum() / (own.sum() + predicted))
    return Standing(
        model=model.name,
        accuracy=Share.among(int(right.sum()), len(right)),
        f1=float(np.mean(f1s)),
        unknown=int((truth == UNKNOWN).sum()),
    )


def _mcnemar(won: int, lost: int) -> float:
    """That a fair coin thrown won + lost times falls so unevenly or more so (McNemar, Psychometrika 12, 1947)."""
    throws = won + lost
    logs = (lgamma(throws + 1) - lgamma(i + 1) - lgamma(throws - i + 1) for i in range(min(won, lost) + 1))
    return min(1.0, 2 * sum(exp(found - throws * log(2)) for found in logs))


def _words(test: Comparison, feedback: Comparison | None, passed: bool) -> Iterator[str]:
    told = f"{_told(test, 'test')}, and {_told(feedback, 'feedback')}" if feedback else _told(test, "test")
    yield f"{'Passed' if passed else 'Not passed'}: {test.candidate.model} {told}, compared with {test.served.model}."
    if not passed:
        needed = "better on one and worse on neither" if feedback else "better"
        yield f"It has to be {needed}. A person may put it into service all the same."
    for found, kind in ((test, "test"), (feedback, "feedback")):
        if found:
            yield from _doubts(found, kind)


def _told(found: Comparison, kind: str) -> str:
    right, against = found.candidate.accuracy.hits, found.served.accuracy.hits
    score = f"{right:,} right" if right == against else f"{right:,} right against {against:,}"
    return f"is {found.verdict} on the {_pictures(found.pictures, kind)} ({score})"


def _doubts(found: Comparison, kind: str) -> Iterator[str]:
    differ, unknown, served = found.only_candidate + found.only_served, found.served.unknown, found.served.model
    pictures = _pictures(found.pictures, kind)
    if unknown == found.pictures:
        yield f"{served} has none of the classes of the {pictures}: there was nothing to beat."
    elif unknown:
        yield f"{served} does not have the class of {unknown:,} of the {pictures}. That counts as wrong."
    if found.verdict != "as good" and found.chance > CHANCE:
        yield (
            f"{pictures} {'is' if found.pictures == 1 else 'are'} too few to tell: only {differ:,} tell the two apart, "
            f"and two equally good models would differ as much in {found.chance:.0%} of such tests."
        )


def _pictures(count: int, kind: str) -> str:
    return counted(count, f"{kind} picture")
