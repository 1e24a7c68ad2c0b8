import numpy as np
import pytest

from service.inference.class_names import UNKNOWN
from service.quantization.quality import Quality, commonest_share

REFERENCE = np.array([[0.9, 0.1, 0, 0, 0, 0], [0.2, 0.8, 0, 0, 0, 0], [0, 0, 0.6, 0.4, 0, 0]], np.float32)
INT8 = np.array([[0.7, 0.3, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0, 0], [0, 0, 0.5, 0.3, 0.2, 0]], np.float32)


def quality(truth: list[int]) -> Quality:
    return Quality.of(INT8, REFERENCE, np.array(truth))


def test_agreement_counts_equal_first_labels() -> None:
    """Two of three pictures keep theirs."""
    assert (quality([UNKNOWN] * 3).agreeing, quality([UNKNOWN] * 3).checked) == (2, 3)
    assert quality([UNKNOWN] * 3).agreement == pytest.approx(2 / 3)


def test_the_difference_is_that_of_float32s_first_label() -> None:
    """Averaged over the pictures, not thinned out by a thousand classes that are 0 in both."""
    assert quality([UNKNOWN] * 3).mean_delta == pytest.approx((0.2 + 0.4 + 0.1) / 3)


def test_accuracy_is_of_labelled_pictures_only() -> None:
    """A picture whose class is not known is neither right nor wrong."""
    found = quality([0, UNKNOWN, 4])
    assert (found.labelled, found.right, found.near) == (2, 1, 2)
    assert (found.top1, found.top5) == (0.5, 1.0)


def test_the_sixth_label_is_not_near() -> None:
    """Top five are five, also among equal scores."""
    assert quality([0, 1, 5]).near == 2


@pytest.mark.parametrize(
    ("agreeing", "checked", "low", "high"), [(105, 105, 0.9647, 1.0), (102, 105, 0.9193, 0.9902), (0, 30, 0, 0.1135)]
)
def test_how_sure_the_agreement_is(agreeing: int, checked: int, low: float, high: float) -> None:
    """Wilson's interval; it says something at 100 % too."""
    assert Quality(checked, agreeing, 0, 0, 0, 0).certain == pytest.approx((low, high), abs=1e-4)


def test_a_model_of_one_answer_is_noticed() -> None:
    """The share of the commonest first label."""
    assert commonest_share(REFERENCE) == pytest.approx(1 / 3)
    assert commonest_share(REFERENCE[[0, 0, 0, 1]]) == 0.75
