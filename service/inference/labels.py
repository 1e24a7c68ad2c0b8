"""Scores -> top-k labels, and the class tables they are read from."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.inference.predictions import Label


@dataclass(frozen=True)
class ClassTable:
    """The classes of a model in the order of its scores. `wnids` and `synonyms` are as long as `labels`."""

    labels: tuple[str, ...]
    wnids: tuple[str | None, ...]
    synonyms: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def read(cls, path: Path) -> "ClassTable":
        """Read a tab-separated table with the header `index wnid label synonyms`; an empty wnid is None."""
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
        if [row[0] for row in rows] != [str(i) for i in range(len(rows))]:
            raise ValueError(f"{path}: the index column must count from 0 without gaps")
        return cls(
            labels=tuple(row[2] for row in rows),
            wnids=tuple(row[1] or None for row in rows),
            synonyms=tuple(row[3] for row in rows),
        )

    @cached_property
    def _searchable(self) -> tuple[str, ...]:
        pairs = zip(self.labels, self.synonyms, strict=True)
        return tuple(f"{label.replace('_', ' ')}, {synonyms}".casefold() for label, synonyms in pairs)

    def search(self, query: str, limit: int = 10) -> tuple[str, ...]:
        """Labels for a typeahead: those with a word that starts with `query` first, then those containing it."""
        needle = query.strip().replace("_", " ").casefold()
        if not needle:
            return ()
        ranked = sorted(
            (0 if text.startswith(needle) else 1 if f" {needle}" in text else 2, index)
            for index, text in enumerate(self._searchable)
            if needle in text
        )
        return tuple(self.labels[index] for _, index in ranked[:limit])


def top_k(scores: NDArray[np.float32], classes: ClassTable, k: int) -> tuple[Label, ...]:
    """The k most probable labels by falling score; equal scores keep the table's order.

    `scores` is float32 (classes,); k is cut to the number of classes.
    """
    candidates = np.arange(len(scores))
    if k < len(scores):  # sorting a few is three times faster than sorting a thousand
        candidates = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    best = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
    return tuple(Label(classes.labels[i], classes.wnids[i], int(i), float(scores[i])) for i in best)
