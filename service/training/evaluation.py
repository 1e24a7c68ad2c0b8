"""How good a model is, from its scores on pictures whose class is known. Pure: arrays in, figures out."""

from collections.abc import Sequence
from math import log
from statistics import fmean
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from service.inference.class_names import UNKNOWN
from service.training.calibration import Calibration, calibrate
from service.wilson import interval

Scores = NDArray[np.float32]
Truth = NDArray[np.int64]

SHOWN_CLASSES = 50
"""In the matrix: nobody reads more, and it has their square."""
SHOWN_PICTURES = 24
"""Of the worst mistakes and of the least certain."""
CELL_PICTURES = 12
NAME_CHARS = 200


class Frozen(BaseModel):
    """A value that travels as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(Frozen):
    """`hits` of `of`, `of` > 0. On all pictures like these it lies between `low` and `high`, 95 % sure."""

    hits: int
    of: int
    value: float
    low: float
    high: float

    @classmethod
    def among(cls, hits: int, of: int) -> Self:
        """With Wilson's interval (JASA 22, 1927)."""
        value = hits / of
        low, high = interval(hits, of)
        return cls(hits=hits, of=of, value=value, low=low, high=high)


class ClassFigures(Frozen):
    """One class. Of `pictures` that are it and `predicted` that were taken for it, `hits` are both.

    `precision` is None where nothing was taken for it, `recall` where it has no pictures.
    """

    label: str
    pictures: int
    predicted: int
    hits: int
    precision: float | None
    recall: float | None
    f1: float


class Cell(Frozen):
    """`count` pictures of class `truth` were taken for `label`; both are places in the matrix's labels. `samples`: the
    first CELL_PICTURES of them, as Judged.sample."""

    truth: int
    label: int
    count: int
    samples: tuple[int, ...]


class Matrix(Frozen):
    """The confusion matrix of at most SHOWN_CLASSES classes, those with the most mistakes; cells with pictures only."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    left_out: int


class Judged(Frozen):
    """One picture. `sample`: its place among all pictures of the data. `truth`, `label`: what it is, and its first
    guess; `second`: the next. `score`, `truth_score`: their probabilities. `margin`: between the first two guesses.
    `entropy`: of all scores, from 0 (certain) to 1 (all classes alike)."""

    sample: int
    name: str
    truth: str
    label: str
    second: str
    score: float
    truth_score: float
    margin: float
    entropy: float


class Evaluation(Frozen):
    """Of `pictures` whose class the model has; `unknown` more are of none of its classes and in no figure here.

    `top_3` and `top_5` are None where the model has no more classes than that. `precision`, `recall` and `f1` are means
    over the classes with pictures, each class counting the same, an undefined precision as 0. `classes` are those that
    occur as truth or guess, in the model's order. `worst`: wrong with most confidence first.
    `least_certain`: smallest margin first, right or wrong.
    """

    pictures: int
    unknown: int
    accuracy: Share
    top_3: Share | None
    top_5: Share | None
    precision: float
    recall: float
    f1: float
    classes: tuple[ClassFigures, ...]
    matrix: Matrix
    calibration: Calibration
    worst: tuple[Judged, ...] = Field(max_length=SHOWN_PICTURES)
    least_certain: tuple[Judged, ...] = Field(max_length=SHOWN_PICTURES)


def evaluate(
    scores: Scores,
    truth: Truth,
    labels: Sequence[str],
    names: Sequence[str],
    samples: Sequence[int] | None = None,
) -> Evaluation:
    """Scores: probabilities (n, classes); truth (n,): the class of each, or UNKNOWN; labels: the classes' names;
    names: the pictures'; samples: what Judged.sample and Cell.samples say, else 0 to n - 1.

    Raises ValueError where shapes do not fit, a score is no finite number, or no picture has a known class.
    """
    if len(scores) != len(truth) or len(truth) != len(names) or scores.shape[1:] != (len(labels),):
        raise ValueError(
            f"scores {scores.shape} do not fit {len(truth)} truths, {len(names)} names, {len(labels)} labels"
        )
    if not np.isfinite(scores).all():
        raise ValueError("the model gave a score that is no finite number")
    known = np.flatnonzero(truth != UNKNOWN)
    if not len(known):
        raise ValueError("no picture is of a class that the model has")
    samples = range(len(truth)) if samples is None else samples
    kept = _Kept(scores[known], truth[known], labels, [(samples[row], names[row]) for row in known.tolist()])
    classes = kept.figures()
    shown = [figures for figures in classes if figures.pictures]
    return Evaluation(
        pictures=len(known),
        unknown=len(truth) - len(known),
        accuracy=kept.among_first(1),
        top_3=kept.among_first(3) if len(labels) > 3 else None,
        top_5=kept.among_first(5) if len(labels) > 5 else None,
        precision=fmean(figures.precision or 0.0 for figures in shown),
        recall=fmean(figures.recall or 0.0 for figures in shown),
        f1=fmean(figures.f1 for figures in shown),
        classes=classes,
        matrix=kept.matrix(),
        calibration=calibrate(kept.scores, kept.truth),
        worst=kept.worst(),
        least_certain=kept.least_certain(),
    )


class _Kept:
    """The pictures of known classes, and what was guessed."""

    def __init__(self, scores: Scores, truth: Truth, labels: Sequence[str], pictures: list[tuple[int, str]]) -> None:
        self.scores, self.truth, self.labels, self.pictures = scores, truth, labels, pictures
        rows = np.arange(len(scores))
        self.first = scores.argmax(axis=1)
        self.score = scores[rows, self.first]
        others = scores.copy()
        others[rows, self.first] = -np.inf
        self.second = others.argmax(axis=1)
        self.margin = self.score - scores[rows, self.second]
        own = scores[rows, truth][:, None]
        earlier = np.arange(scores.shape[1]) < truth[:, None]
        self.rank = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)

    def among_first(self, k: int) -> Share:
        """How often the true class is among the first k guesses; of equal scores the first class comes first."""
        return Share.among(int((self.rank < k).sum()), len(self.truth))

    def figures(self) -> tuple[ClassFigures, ...]:
        count = len(self.labels)
        pictures, predicted = np.bincount(self.truth, minlength=count), np.bincount(self.first, minlength=count)
        hits = np.bincount(self.truth[self.first == self.truth], minlength=count)
        occurring = np.flatnonzero(pictures + predicted)
        return tuple(
            _class(self.labels[i], int(pictures[i]), int(predicted[i]), int(hits[i])) for i in occurring.tolist()
        )

    def matrix(self) -> Matrix:
        count = len(self.labels)
        wrong = self.rank > 0
        weight = np.bincount(self.truth, minlength=count) + np.bincount(self.first, minlength=count)
        mistakes = np.bincount(self.truth[wrong], minlength=count) + np.bincount(self.first[wrong], minlength=count)
        occurring = np.flatnonzero(weight)
        by_mistakes = sorted(occurring.tolist(), key=lambda i: (-mistakes[i], -weight[i]))
        place = {index: place for place, index in enumerate(sorted(by_mistakes[:SHOWN_CLASSES]))}
        rows: dict[tuple[int, int], list[int]] = {}
        for row, pair in enumerate(zip(self.truth.tolist(), self.first.tolist(), strict=True)):
            rows.setdefault(pair, []).append(row)
        return Matrix(
            labels=tuple(self.labels[index] for index in place),
            cells=tuple(
                Cell(
                    truth=place[truth],
                    label=place[label],
                    count=len(found),
                    samples=tuple(self.pictures[row][0] for row in found[:CELL_PICTURES]),
                )
                for (truth, label), found in sorted(rows.items())
                if truth in place and label in place
            ),
            left_out=len(occurring) - len(place),
        )

    def worst(self) -> tuple[Judged, ...]:
        wrong = np.flatnonzero(self.rank > 0)
        return self._judged(wrong[np.argsort(-self.score[wrong], kind="stable")])

    def least_certain(self) -> tuple[Judged, ...]:
        return self._judged(np.argsort(self.margin, kind="stable"))

    def _judged(self, rows: NDArray[np.intp]) -> tuple[Judged, ...]:
        return tuple(self._one(row) for row in rows[:SHOWN_PICTURES].tolist())

    def _one(self, row: int) -> Judged:
        sample, name = self.pictures[row]
        return Judged(
            sample=sample,
            name=name if len(name) <= NAME_CHARS else f"…{name[1 - NAME_CHARS :]}",
            truth=self.labels[self.truth[row]],
            label=self.labels[self.first[row]],
            second=self.labels[self.second[row]],
            score=float(self.score[row]),
            truth_score=float(self.scores[row, self.truth[row]]),
            margin=float(self.margin[row]),
            entropy=_entropy(self.scores[row]),
        )


def _class(label: str, pictures: int, predicted: int, hits: int) -> ClassFigures:
    return ClassFigures(
        label=label,
        pictures=pictures,
        predicted=predicted,
        hits=hits,
        precision=hits / predicted if predicted else None,
        recall=hits / pictures if pictures else None,
        f1=2 * hits / (pictures + predicted),
    )


def _entropy(scores: Scores) -> float:
    """Shannon's, as a share of the most that so many classes can have."""
    likely = scores[scores > 0].astype(np.float64)
    return float(-(likely * np.log(likely)).sum() / log(len(scores))) if len(scores) > 1 else 0.0
