"""What the losses of a fitting say about how it goes on."""

import math

from service.training.course import CUT, PLATEAU, course


def test_it_counts_the_epochs_since_the_best_one() -> None:
    """Not those since the last that was worse; one that is as good is not better."""
    assert course([0.9, 0.4, 0.6, 0.5, 0.4], 0.1).waited == 3
    assert course([0.9, 0.4, 0.6, 0.3], 0.1).waited == 0


def test_no_epoch_is_best_that_is_worse_than_the_start() -> None:
    """Fine-tuning that only harms leaves the weights of the head."""
    assert course([0.9, 0.8], 0.1, start=0.7).waited == 2


def test_a_plateau_cuts_the_learning_rate_each_time() -> None:
    """Twice as long a plateau cuts twice; a better epoch in between begins the count anew."""
    assert course([0.5, *[0.6] * PLATEAU], 0.1).rate == 0.1 * CUT
    assert course([0.5, *[0.6] * 2 * PLATEAU], 0.1).rate == 0.1 * CUT**2
    assert course([0.5, *[0.6] * (PLATEAU - 1), 0.4, *[0.6] * (PLATEAU - 1)], 0.1).rate == 0.1


def test_a_loss_that_is_no_number_is_never_best() -> None:
    """It compares as not less."""
    assert course([0.5, math.nan], 0.1).waited == 1
