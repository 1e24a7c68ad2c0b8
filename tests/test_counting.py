"""Counts in words."""

import pytest

from service.counting import counted


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (counted(0, "picture"), "0 pictures"),
        (counted(1, "picture"), "1 picture"),
        (counted(12_000, "picture"), "12,000 pictures"),
        (counted(1, "class is", "classes are"), "1 class is"),
        (counted(2, "class is", "classes are"), "2 classes are"),
    ],
)
def test_one_is_not_many(words: str, shown: str) -> None:
    """People read `1 pictures` and `1 are copies`."""
    assert words == shown
