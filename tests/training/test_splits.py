"""Which set each picture goes to."""

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest
from service.training.sources import Split
from service.training.splits import ANY, Place, allowed, check_enough, check_learnable, share_out


def places(counts: list[int]) -> list[Place]:
    return [
        Place(label, hashlib.sha256(f"{label}-{n}".encode()).hexdigest())
        for label, count in enumerate(counts)
        for n in range(count)
    ]


def shared(pictures: list[Place], validation: float = 0.2, test: float = 0.2, seed: int = 0) -> list[Split]:
    return share_out(pictures, validation=validation, test=test, seed=seed)


@given(
    st.lists(st.integers(5, 60), min_size=2, max_size=5), st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.integers(0, 9)
)
def test_each_class_is_in_each_set_with_its_share(counts: list[int], validation: float, test: float, seed: int) -> None:
    """To the nearest picture, at least one, and some are left to learn from."""
    pictures = places(counts)
    splits = shared(pictures, validation, test, seed)
    found = Counter((place.label, split) for place, split in zip(pictures, splits, strict=True))
    for label, count in enumerate(counts):
        assert found[label, "test"] == max(1, round(test * count))
        assert found[label, "validation"] == max(1, round(validation * count))
        assert found[label, "train"] >= 1


def test_order_does_not_decide() -> None:
    """The same pictures in another order are in the same sets."""
    pictures = places([30, 17])
    mixed = random.Random(1).sample(pictures, len(pictures))
    assert dict(zip(pictures, shared(pictures), strict=True)) == dict(zip(mixed, shared(mixed), strict=True))


def test_the_seed_decides() -> None:
    """Another one shares them out otherwise."""
    pictures = places([30, 30])
    assert shared(pictures, seed=1) == shared(pictures, seed=1) != shared(pictures, seed=2)


def test_what_is_fixed_stays_and_counts() -> None:
    """Pictures of an earlier run keep their set, and new ones fill what is missing of the shares."""
    old = [place._replace(may=("test",) if n < 2 else ("train",)) for n, place in enumerate(places([10]))]
    new = [Place(0, hashlib.sha256(f"new-{n}".encode()).hexdigest()) for n in range(10)]
    splits = shared(old + new)
    assert splits[:10] == ["test"] * 2 + ["train"] * 8
    assert Counter(splits[10:]) == {"test": 2, "validation": 4, "train": 4}


def test_sets_of_the_source_hold() -> None:
    """With all three given nothing is moved; one that it does not give is taken from those to learn from."""
    assert allowed(["train", "validation", "test", None]) == [("train",), ("validation",), ("test",), ANY]
    assert allowed(["train", "test"]) == [("train", "validation"), ("test",)]
    assert allowed(["train", None]) == [ANY, ANY]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([], "There is no class; at least 2"),
        ([50], "only one class, c0; at least 2"),
        ([50, 4, 50, 1], r"at least 5 different pictures; too few have: c1 \(4\), c3 \(1\)"),
        ([1] * 12, r"c9 \(1\) and 2 more"),
    ],
)
def test_too_little_is_refused(counts: list[int], words: str) -> None:
    """And which classes are too small is said."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    with pytest.raises(BadRequest, match=words):
        check_enough([f"c{n}" for n in range(len(counts))], labels)


def test_the_least_is_enough() -> None:
    """Two classes of five."""
    check_enough(["a", "b"], [0] * 5 + [1] * 5)


def test_a_class_that_is_only_tested_is_refused() -> None:
    """Nothing could be learnt of it."""
    with pytest.raises(BadRequest, match="no picture in the training set: b"):
        check_learnable(["a", "b"], [0, 0, 1], ["train", "test", "test"])
