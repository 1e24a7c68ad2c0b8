"""`glimt evaluate`: a model on labelled pictures, by the engine that would serve it."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.table import Table

from service.counting import counted
from service.errors import BadRequest, ImageError
from service.inference.class_names import UNKNOWN
from service.inference.engines.engine import Engine, Scores
from service.inference.images import Limits
from service.inference.labels import ClassTable
from service.inference.predictions import ModelInfo
from service.models.served import ServedModel
from service.training.dataset import LeftOut, Notes
from service.training.evaluation import Evaluation, Truth, evaluate
from service.training.gate import in_classes_of
from service.training.pixels import Pixels, decoded
from service.training.report import evaluation_tables
from service.training.sources import Found, open_source

T = TypeVar("T")
Say = Callable[[int, int], None]

AT_ONCE = 16
"""Pictures in one batch: as fast as more, on a CPU, and few in memory."""


@dataclass(frozen=True)
class Examined:
    """What a model is worth on a source. `held_out`: the source has a test set, and only that was looked at. `seen`:
    how many of the pictures it had in its training; None where that is not known."""

    model: ModelInfo
    evaluation: Evaluation
    notes: Notes
    held_out: bool
    seen: int | None = None

    def words(self) -> list[str]:
        """For a terminal, below the tables: what is to be known about the figures."""
        pictures = counted(self.evaluation.pictures + self.evaluation.unknown, "picture")
        careful = self.seen and (
            f"Careful: it had {self.seen:,} of these {pictures} in its training, so these figures flatter it. "
            "Measure it with pictures that it never saw."
        )
        return [line for line in (careful, self.notes.words()) if line]

    def tables(self) -> list[Table]:
        """For a terminal."""
        return evaluation_tables(self.evaluation, "test picture" if self.held_out else "picture")

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model.name,
            "version": self.model.version,
            "pictures": "test" if self.held_out else "all",
            "seen_in_training": self.seen,
            "left_out": self.notes,
            "evaluation": self.evaluation.model_dump(),
        }


def examine(
    source: Path, served: ServedModel, engine: Engine, limits: Limits, *, say: Say, learned: Set[str] | None = None
) -> Examined:
    """Each picture of the source once, every copy too; where the source names a test set, of that alone.

    `engine` is loaded when the source is good, and closed. `say` is told the pictures done, and all there are.
    `learned`: the SHA-256 of the pictures that the model had in its training, None where they are not known.
    Raises BadRequest (no source, or no picture whose class the model has), ArchiveInvalid, ArchiveTooLarge, StartError
    (the model cannot be loaded).
    """
    with open_source(source, limits.max_bytes) as everything:
        held_out = any(one.split == "test" for one in everything)
        found = [one for one in everything if one.split == "test" or not held_out]
        labelled = [one for one in found if one.label is not None]
        truth = _truth(labelled, served.classes)
        engine.load()
        try:
            scores, read, hashes, unreadable = _answers(engine, labelled, limits, served.input.size, say)
        finally:
            engine.close()
    if not (truth[read] != UNKNOWN).any():
        pictures = counted(len(labelled), "picture")
        raise BadRequest(f"Of {pictures} none can be read whose class the model has: {unreadable[0]}")
    evaluation = evaluate(scores, truth[read], served.classes.labels, [labelled[row].name for row in read], read)
    notes = Notes(
        unreadable=LeftOut.of(unreadable), unlabelled=LeftOut.of([one.name for one in found if one.label is None])
    )
    seen = None if learned is None else sum(sha256 in learned for sha256 in hashes)
    return Examined(served.info, evaluation, notes, held_out, seen)


def _truth(found: Sequence[Found], classes: ClassTable) -> Truth:
    """The model's class of each picture, by name. Raises BadRequest when it has none of them."""
    names = sorted({one.label for one in found if one.label is not None})
    if not names:
        raise BadRequest(
            "There is no labelled picture. Put the pictures of each class in a folder that is called like the class, "
            "or name a CSV with the columns path,label."
        )
    known = dict(zip(names, in_classes_of(classes, tuple(names)).tolist(), strict=True))
    if set(known.values()) == {UNKNOWN}:
        raise BadRequest(
            f"The model has none of these classes: {_few(names)}. Its own are {_few(classes.labels)}. The folders (or "
            "the CSV's labels) must be called like them."
        )
    return np.array([known[one.label] for one in found if one.label is not None], np.int64)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _answers(
    engine: Engine, found: Sequence[Found], limits: Limits, size: int, say: Say
) -> tuple[Scores, list[int], list[str], list[str]]:
    """The scores of those that could be read, which these are, their SHA-256, and why the others could not."""
    scores: list[Scores] = []
    read: list[int] = []
    hashes: list[str] = []
    unreadable: list[str] = []

    def looks() -> Iterator[Pixels]:
        for row, (one, answer) in enumerate(decoded(found, limits, size)):
            say(row + 1, len(found))
            if isinstance(answer, tuple):
                read.append(row)
                hashes.append(answer[0])
                yield answer[1]
            else:
                reason = answer.detail if isinstance(answer, ImageError) else answer.strerror or answer
                unreadable.append(f"{one.name}: {reason}")

    for batch in _batches(looks()):
        scores.append(engine.predict(np.stack(batch)))
    return np.concatenate(scores) if scores else np.empty((0, 0), np.float32), read, hashes, unreadable


def _batches(pictures: Iterable[Pixels]) -> Iterator[list[Pixels]]:
    rest = iter(pictures)
    while batch := list(islice(rest, AT_ONCE)):
        yield batch
