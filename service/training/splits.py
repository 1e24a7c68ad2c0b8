"""Which set each picture is in. Pure.

The same pictures with the same seed are shared out the same, whatever they are called and in whatever order they come:
each has a rank by a hash of the seed and its bytes, and in each class those with the lowest ranks are the test set.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from service.errors import BadRequest
from service.training.sources import Split

ANY: tuple[Split, ...] = ("train", "validation", "test")
LEAST_PER_CLASS, LEAST_CLASSES, LEAST_PICTURES = 5, 2, 10
"""One to check with, one to choose by, and a few to learn from; and there has to be something to tell apart."""
SHOWN = 10
"""Classes named in an error."""


class Place(NamedTuple):
    """A picture to be put in a set: its class, the SHA-256 of its bytes in hex, and the sets that it may be in."""

    label: int
    sha256: str
    may: tuple[Split, ...] = ANY


def allowed(given: Sequence[Split | None]) -> list[tuple[Split, ...]]:
    """Where pictures may go whose source names sets, or None. What it says holds; but a set that it gives no picture
    is taken from those to learn from."""
    missing = tuple(split for split in ANY[1:] if split not in given)
    return [ANY if split is None else ("train", *missing) if split == "train" else (split,) for split in given]


def share_out(places: Sequence[Place], *, validation: float, test: float, seed: int) -> list[Split]:
    """The set of each. Of each class the shares (at least one picture) are in validation and test, as far as its
    pictures may go there; the others are to learn from."""
    classes: dict[int, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        classes[place.label].append(index)
    splits = [place.may[0] for place in places]
    shares: dict[Split, float] = {"test": test, "validation": validation}
    for members in classes.values():
        free = sorted((i for i in members if len(places[i].may) > 1), key=lambda i: _rank(places[i].sha256, seed))
        for split, share in shares.items():
            missing = max(1, round(share * len(members))) - sum(splits[i] == split for i in members)
            taken = set([i for i in free if split in places[i].may][: max(0, missing)])
            free = [i for i in free if i not in taken]
            for i in taken:
                splits[i] = split
    return splits


def check_enough(classes: Sequence[str], labels: Sequence[int]) -> None:
    """Raises BadRequest when that is too little to learn from, naming the classes that are too small."""
    counts = [0] * len(classes)
    for label in labels:
        counts[label] += 1
    if len(classes) < LEAST_CLASSES:
        found = f"only one class, {classes[0]}" if classes else "no class"
        raise BadRequest(
            f"There is {found}; at least {LEAST_CLASSES} are needed. Put the pictures of each class in a folder that "
            "is called like the class, or name a CSV with the columns path,label."
        )
    small = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < LEAST_PER_CLASS]
    if small:
        raise BadRequest(
            f"Each class needs at least {LEAST_PER_CLASS} different pictures; too few have: {_listed(small)}. Add "
            "pictures to them, or leave them out."
        )
    if len(labels) < LEAST_PICTURES:
        raise BadRequest(f"There are {len(labels)} different pictures; at least {LEAST_PICTURES} are needed.")


def check_learnable(classes: Sequence[str], labels: Sequence[int], splits: Sequence[Split]) -> None:
    """Raises BadRequest when a class has no picture to learn from, because the source put all in other sets."""
    learnt = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    unlearnt = [name for label, name in enumerate(classes) if label not in learnt]
    if unlearnt:
        raise BadRequest(f"These classes have no picture in the training set: {_listed(unlearnt)}.")


def _rank(sha256: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{sha256}".encode()).digest()


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(list(names)[:SHOWN]) + more
