"""How far a fitting is, from the losses of its epochs alone: is the last the best, does it go on, how fast?

What Keras keeps in EarlyStopping, ReduceLROnPlateau and ModelCheckpoint, as pure functions: going on from a checkpoint
needs no more than the epochs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

PLATEAU = 2
"""Epochs without a better validation loss until the learning rate is cut; fewer than `Order.patience` has."""
CUT = 0.5


@dataclass(frozen=True, slots=True)
class Course:
    """`waited`: epochs since the last one that was better than all before it and than the start; 0: the last one is the
    best. `rate`: learning rate of the next epoch."""

    waited: int
    rate: float


def course(losses: Sequence[float], rate: float, start: float = math.inf) -> Course:
    """Where the validation `losses` have led, beginning with learning rate `rate` and the loss `start`."""
    least, waited = start, 0
    for loss in losses:
        if loss < least:
            least, waited = loss, 0
            continue
        waited += 1
        if waited % PLATEAU == 0:
            rate *= CUT
    return Course(waited, rate)
