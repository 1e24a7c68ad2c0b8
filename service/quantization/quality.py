"""How near scores are to those of float32, and to the truth. Pure."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from service.inference.class_names import UNKNOWN
from service.inference.engines.engine import Scores
from service.wilson import interval


@dataclass(frozen=True, slots=True)
class Quality:
    """Counts over the checked pictures. `agreeing`: same first label as float32. `right`, `near`: the true class is
    first, or among the first five, of the `labelled` ones. `mean_delta`: mean |Δp| of float32's first label.
    """

    checked: int
    agreeing: int
    mean_delta: float
    labelled: int
    right: int
    near: int

    @classmethod
    def of(cls, scores: Scores, reference: Scores, truth: NDArray[np.int64]) -> Self:
        """Scores float32 (n, classes), truth int64 (n,)."""
        rows, first = np.arange(len(scores)), reference.argmax(axis=1)
        labelled = truth != UNKNOWN
        five = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        return cls(
            checked=len(scores),
            agreeing=int((five[:, 0] == first).sum()),
            mean_delta=float(np.abs(scores[rows, first] - reference[rows, first]).mean()),
            labelled=int(labelled.sum()),
            right=int((five[:, 0] == truth)[labelled].sum()),
            near=int((five == truth[:, None]).any(axis=1)[labelled].sum()),
        )

    @property
    def agreement(self) -> float:
        """Share of pictures with the same first label."""
        return self.agreeing / self.checked

    @property
    def certain(self) -> tuple[float, float]:
        """Between what the agreement on all such pictures lies, 95 % sure."""
        return interval(self.agreeing, self.checked)

    @property
    def top1(self) -> float:
        """Accuracy; only where pictures are labelled."""
        return self.right / self.labelled

    @property
    def top5(self) -> float:
        """Accuracy within the first five labels."""
        return self.near / self.labelled


def commonest_share(scores: Scores) -> float:
    """Share of the pictures that have the commonest first label."""
    return float(np.bincount(scores.argmax(axis=1)).max() / len(scores))
