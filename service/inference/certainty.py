"""How sure an answer is, by its probabilities. Pure."""

import numpy as np
from numpy.typing import NDArray


def margin(scores: NDArray[np.float32]) -> float:
    """Between the two most probable classes, in [0, 1]: 0 is a tie. `scores`: float32 (classes,), at least two."""
    second, first = np.partition(scores, -2)[-2:]
    return float(first - second)


def entropy(scores: NDArray[np.float32]) -> float:
    """In nats (Shannon 1948): 0 is certain, ln(classes) is a guess. `scores`: probabilities, float32 (classes,)."""
    likely = scores[scores > 0].astype(np.float64)
    return float(max(0.0, -(likely * np.log(likely)).sum()))
