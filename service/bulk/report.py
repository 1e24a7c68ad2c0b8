"""How well a job's answers agree with the folders that its pictures came in. Pure: counts in, figures out."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

Confusion = Mapping[tuple[str, str], int]
"""(true label, first label) -> pictures."""


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class. Of `support` pictures in its folder and `predicted` pictures taken for it, `hits` are both.

    Precision is None where nothing was taken for it, recall where it has no pictures (then there is no share of them).
    """

    label: str
    support: int
    predicted: int
    hits: int

    @property
    def precision(self) -> float | None:
        """Of what was taken for it, the share that is it."""
        return self.hits / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Of what is it, the share that was taken for it."""
        return self.hits / self.support if self.support else None

    @property
    def f1(self) -> float:
        """The harmonic mean of both, by the counts: 0 without a hit."""
        return 2 * self.hits / (self.support + self.predicted)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of the `pictures` that have an answer and a folder that names a class. `unknown` have a folder that names none.

    `top_1` and `top_5` are the shares whose class is the first guess, and among the first five; `precision`, `recall`
    and `f1` the means over the classes that have pictures, each class counting the same, an undefined precision as 0.
    All are None without pictures. `classes` occur as truth or answer, those with the most pictures first.
    """

    pictures: int
    unknown: int
    top_1: float | None
    top_5: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    classes: tuple[ClassFigures, ...]
    confusion: Confusion


@dataclass(frozen=True, slots=True)
class Matrix:
    """A confusion matrix to be shown: `rows[i][j]` pictures of class i were taken for class j."""

    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]
    left_out: int


def measure(confusion: Confusion, in_first_five: int, known: Collection[str]) -> Accuracy | None:
    """The figures, None where no picture came in a folder. `known` are the labels of the model's classes;
    `in_first_five` counts the pictures whose class is among the first five guesses."""
    if not confusion:
        return None
    judged = {pair: count for pair, count in confusion.items() if pair[0] in known}
    support, predicted = Counter[str](), Counter[str]()
    for (truth, label), count in judged.items():
        support[truth] += count
        predicted[label] += count
    classes = tuple(
        ClassFigures(label, support[label], predicted[label], judged.get((label, label), 0))
        for label in sorted({*support, *predicted}, key=lambda label: (-support[label], -predicted[label], label))
    )
    pictures, shown = support.total(), [figures for figures in classes if figures.support]
    return Accuracy(
        pictures=pictures,
        unknown=sum(confusion.values()) - pictures,
        top_1=sum(figures.hits for figures in classes) / pictures if pictures else None,
        top_5=in_first_five / pictures if pictures else None,
        precision=fmean(figures.precision or 0.0 for figures in shown) if shown else None,
        recall=fmean(figures.recall or 0.0 for figures in shown) if shown else None,
        f1=fmean(figures.f1 for figures in shown) if shown else None,
        classes=classes,
        confusion=judged,
    )


def matrix(accuracy: Accuracy, most: int) -> Matrix:
    """Of the classes with the most pictures, true or taken for, at most `most`, by name."""
    by_weight = sorted(accuracy.classes, key=lambda figures: -(figures.support + figures.predicted))
    labels = tuple(sorted(figures.label for figures in by_weight[:most]))
    rows = tuple(tuple(accuracy.confusion.get((truth, label), 0) for label in labels) for truth in labels)
    return Matrix(labels, rows, len(accuracy.classes) - len(labels))
