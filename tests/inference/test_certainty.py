import math

import numpy as np
import pytest

from service.inference.certainty import entropy, margin


def test_margin_is_between_the_two_most_probable() -> None:
    """Wherever they stand; a tie is 0."""
    assert margin(np.array([0.1, 0.6, 0.05, 0.25], np.float32)) == pytest.approx(0.35)
    assert margin(np.array([0.5, 0.5], np.float32)) == 0


def test_entropy_is_between_certain_and_a_guess() -> None:
    """0 where one class has it all, ln(n) where none is likelier than another."""
    assert entropy(np.array([1, 0, 0], np.float32)) == 0
    assert entropy(np.full(1000, 1e-3, np.float32)) == pytest.approx(math.log(1000), abs=1e-5)
