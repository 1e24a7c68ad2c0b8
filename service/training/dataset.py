"""The pictures of a run: which there are, in which class and which set. Sources become two files of the run's folder.

    pixels.npy      uint8 (n, size, size, 3), RGB, in the samples' order; as serving reads them (profile imagenet)
    dataset.json    Dataset: classes and samples; written last, so that it tells of a whole pixels.npy

The same picture is taken once, also when two sets have it: alike are those with the same bytes and those that look the
same to the model, pixel by pixel. One that stands under two classes is left out: nobody knows which is right.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from service.counting import counted
from service.errors import BadRequest, ImageError, NotFound, StoreFull
from service.files import replace_file
from service.inference.images import Limits
from service.training import pixels
from service.training.orders import Order
from service.training.pixels import Answer, PixelFile, Pixels, decoded
from service.training.runs import Run, Runs
from service.training.sources import MAX_CLASSES, MAX_PICTURES, Found, Origin, Split, open_source
from service.training.splits import ANY, Place, allowed, check_enough, check_learnable, share_out

Say = Callable[[int, int], None]
"""Pictures read, and all there are."""

FILE = "dataset.json"
NAMES_SHOWN = 10
SPARE_BYTES = 256 * 1024 * 1024
"""Left free on the disk: the run's checkpoint and report, and the service's database, need room too."""

open_pixels = pixels.open_pixels


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture. `index` is its row in pixels.npy, `label` its class in Dataset.classes, `sha256` of its file's bytes
    in hex. `name` is for people: where it lay in the source. `origin`: corrected by people, or not."""

    index: int
    name: str
    label: int
    sha256: str
    split: Split
    origin: Origin = "given"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many pictures, and the names of the first few, each with the reason if it has one of its own."""

    count: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> "LeftOut":
        return cls(len(names), tuple(names[:NAMES_SHOWN]))


@dataclass(frozen=True, slots=True)
class Notes:
    """What was not taken. `unlabelled` lie in no class's folder; `conflicting` stand under two classes."""

    unreadable: LeftOut = LeftOut()
    duplicates: LeftOut = LeftOut()
    conflicting: LeftOut = LeftOut()
    unlabelled: LeftOut = LeftOut()

    def words(self) -> str:
        """One sentence for people; empty when everything was taken."""
        parts = [
            counted(left_out.count, one, many)
            for left_out, one, many in (
                (self.unreadable, "cannot be read", "cannot be read"),
                (self.duplicates, "is a copy", "are copies"),
                (self.conflicting, "stands under two classes", "stand under two classes"),
                (self.unlabelled, "lies in no class's folder", "lie in no class's folder"),
            )
            if left_out.count
        ]
        return f"Pictures left out: {', '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class Dataset:
    """`classes` sorted; `samples` by index; `size`: pixels of a side."""

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    size: int
    notes: Notes = Notes()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class of each sample, int64 (n,)."""
        return np.array([sample.label for sample in self.samples], np.int64)

    def of(self, split: Split) -> NDArray[np.int64]:
        """The rows of one set, rising, int64."""
        return np.array([sample.index for sample in self.samples if sample.split == split], np.int64)

    def distribution(self) -> dict[str, dict[Split, int]]:
        """Class -> set -> pictures, each class and each set present."""
        counts: dict[str, dict[Split, int]] = {name: dict.fromkeys(ANY, 0) for name in self.classes}
        for sample in self.samples:
            counts[self.classes[sample.label]][sample.split] += 1
        return counts


def read_dataset(folder: Path) -> Dataset:
    """The one of a run's folder. Raises NotFound when there is none that can be read."""
    try:
        return TypeAdapter(Dataset).validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise NotFound(f"Training run {folder.name} has not gathered its pictures, or they were deleted.") from error


def learned_from(run: str | None, data_path: Path) -> frozenset[str] | None:
    """The SHA-256 of every picture that a run learned from or chose by; None where nothing is known of the run."""
    if run is None:
        return None
    try:
        samples = read_dataset(Runs(data_path).get(run).folder).samples
    except NotFound:
        return None
    return frozenset(sample.sha256 for sample in samples if sample.split != "test")


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Replace dataset.json whole. Raises OSError."""
    replace_file(folder / FILE, orjson.dumps(dataset))


def gather(order: Order, run: Run, limits: Limits, *, say: Say) -> Dataset:
    """Read every picture of `order.source`, and of the run it extends, share them out and write both files.

    A source that is no absolute path lies in the run's own folder. What `say` raises ends it, and leaves no
    dataset.json. Raises BadRequest (the source is none, or too small, large or uneven), NotFound (the run to extend),
    ArchiveInvalid, ArchiveTooLarge, StoreFull.
    """
    (run.folder / FILE).unlink(missing_ok=True)
    earlier = _earlier(order, run)
    with open_source(run.folder / order.source, limits.max_bytes) as found:
        pictures = len(found) + (len(earlier[0].samples) if earlier else 0)
        if pictures > MAX_PICTURES:
            raise BadRequest(f"Together with those of {order.extends} there are more than {MAX_PICTURES:,} pictures.")
        _check_room(run.folder, pictures * order.input_size**2 * 3)
        try:
            with PixelFile(run.folder, order.input_size) as file:
                gathering = Gathering(file)
                if earlier:
                    gathering.take_over(*earlier)
                for done, (one, answer) in enumerate(decoded(found, limits, order.input_size), 1):
                    gathering.take(one, answer)
                    say(done, len(found))
                dataset = gathering.dataset(order)
            write_dataset(run.folder, dataset)
        except OSError as error:
            raise StoreFull(f"The pictures cannot be written to {run.folder}: {error.strerror or error}.") from error
    return dataset


@dataclass(frozen=True, slots=True)
class _Taken:
    """A picture in the file, at the row of its place in the list. `split` is what the source says; `final`: it was
    there in the earlier run."""

    name: str
    label: str
    sha256: str
    split: Split | None
    origin: Origin
    final: bool = False


class Gathering:
    """The pictures so far: each once, and why others were left out."""

    def __init__(self, file: PixelFile) -> None:
        self._file = file
        self._taken: list[_Taken] = []
        self._rows: dict[str | bytes, int] = {}
        """By the hash of a picture's bytes, and by that of its pixels."""
        self._conflicts: dict[int, str] = {}
        self._unreadable: list[str] = []
        self._unlabelled: list[str] = []
        self._duplicates: list[str] = []

    def take_over(self, earlier: Dataset, looks: Pixels) -> None:
        """All of an earlier run, each to stay in its set."""
        for sample in earlier.samples:
            one = _Taken(
                sample.name, earlier.classes[sample.label], sample.sha256, sample.split, sample.origin, final=True
            )
            self._add(one, looks[sample.index])

    def take(self, one: Found, answer: Answer) -> None:
        """A picture of the source: the SHA-256 of its bytes and its pixels, or why it cannot be read."""
        if isinstance(answer, OSError):
            self._unreadable.append(f"{one.name}: {answer.strerror or answer}")
        elif isinstance(answer, ImageError):
            self._unreadable.append(f"{one.name}: {answer.detail}")
        elif one.label is None:
            self._unlabelled.append(one.name)
        else:
            sha256, look = answer
            self._add(_Taken(one.name, one.label, sha256, one.split, one.origin), look)

    def dataset(self, order: Order) -> Dataset:
        """Share out what is to be kept, and finish the file."""
        rows = [row for row in range(len(self._taken)) if row not in self._conflicts]
        kept = [self._taken[row] for row in rows]
        classes = sorted({one.label for one in kept})
        number = {name: index for index, name in enumerate(classes)}
        labels = [number[one.label] for one in kept]
        self._check(classes, labels)
        may = allowed([one.split for one in kept])
        places = [
            Place(label, one.sha256, (one.split,) if one.final and one.split else sets)
            for label, one, sets in zip(labels, kept, may, strict=True)
        ]
        splits = share_out(places, validation=order.validation, test=order.test, seed=order.seed)
        check_learnable(classes, labels, splits)
        self._file.finish(rows)
        samples = tuple(
            Sample(index, one.name, label, one.sha256, split, one.origin)
            for index, (one, label, split) in enumerate(zip(kept, labels, splits, strict=True))
        )
        return Dataset(tuple(classes), samples, order.input_size, self._notes())

    def _add(self, one: _Taken, look: Pixels) -> None:
        keys = one.sha256, hashlib.sha256(look.tobytes()).digest()
        row = next((self._rows[key] for key in keys if key in self._rows), None)
        if row is None:
            row = self._file.add(look)
            self._taken.append(one)
        elif self._taken[row].label == one.label:
            self._duplicates.append(one.name)
        else:
            first = self._taken[row]
            self._conflicts.setdefault(row, f"{first.name} is {first.label}, and {one.name} is {one.label}")
        for key in keys:
            self._rows.setdefault(key, row)

    def _check(self, classes: Sequence[str], labels: Sequence[int]) -> None:
        if len(classes) > MAX_CLASSES:
            raise BadRequest(f"There are {len(classes):,} classes; at most {MAX_CLASSES:,} are allowed.")
        try:
            check_enough(classes, labels)
        except BadRequest as error:
            raise BadRequest(f"{error.detail} {self._notes().words()}".strip()) from error

    def _notes(self) -> Notes:
        return Notes(
            unreadable=LeftOut.of(self._unreadable),
            duplicates=LeftOut.of(self._duplicates),
            conflicting=LeftOut.of(list(self._conflicts.values())),
            unlabelled=LeftOut.of(self._unlabelled),
        )


def _earlier(order: Order, run: Run) -> tuple[Dataset, Pixels] | None:
    """What is extended. Raises NotFound, BadRequest."""
    if order.extends is None:
        return None
    folder = Runs(run.folder.parent.parent).get(order.extends).folder
    dataset = read_dataset(folder)
    if dataset.size != order.input_size:
        raise BadRequest(
            f"The pictures of {order.extends} have {dataset.size} pixels a side, and this run wants {order.input_size}:"
            f" give it --size {dataset.size}, or do not extend it."
        )
    return dataset, open_pixels(folder)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise StoreFull(
            f"The decoded pictures need {needed:,} bytes and {SPARE_BYTES:,} shall stay free; {free:,} are free at "
            f"{folder}. Free some, or train with fewer or smaller pictures (--size)."
        )
