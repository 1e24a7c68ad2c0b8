"""Where labelled pictures come from: a folder of class folders, a zip of them, or a CSV of paths and labels.

Nothing is decoded here. Whatever a source holds, what is read of it is bounded, and only regular files are opened.
"""

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from service.bulk.archive import Archive, open_archive
from service.bulk.directory import ArchiveLimits
from service.bulk.names import UNSHOWABLE, skip_by_name
from service.errors import BadRequest

Split = Literal["train", "validation", "test"]
Origin = Literal["given", "feedback"]

SPLITS: dict[str, Split] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""What people call the sets, as folders and in a CSV."""
MAX_PICTURES = 50_000
"""At 224 pixels a side they are 7.5 GB on disk, and an epoch of MobileNetV2 takes half an hour on two cores."""
MAX_LOOKED_AT = 4 * MAX_PICTURES
"""Files of a folder, those that are no pictures too: somebody named the wrong folder."""
MAX_CLASSES = 1_000
MAX_CLASS_CHARS, MAX_NAME_CHARS = 200, 200
"""Of a class, as of a label in feedback; of a picture's name the end is kept."""
MAX_CSV_BYTES = 64 * 1024 * 1024
"""Some 1,300 for each of so many pictures."""
COLUMNS = ("path", "label", "split", "origin")

Laid = tuple[str | None, Split | None]
"""The class and the set that a place among folders means; None: neither is said."""


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """One picture that is said to be of a class. `split` None: it may be in any set. `read` gives its bytes, at most
    one more than the limit; raises OSError or ImageError. `name` is for people, and unique only as far as it is cut."""

    name: str
    label: str | None
    split: Split | None
    origin: Origin
    read: Callable[[], bytes]


@contextmanager
def open_source(path: Path, max_bytes: int) -> Iterator[list[Found]]:
    """Every picture of a source, sorted by name (of a CSV as they stand), to be read before the end.

    `max_bytes`: of one picture. Raises BadRequest (it is no source, holds too much, or a name in it cannot be used),
    ArchiveInvalid, ArchiveTooLarge.
    """
    with ExitStack() as open_files:
        try:
            found = _bounded(_found(path, max_bytes, open_files))
        except OSError as error:
            raise BadRequest(f"{error.filename or path} cannot be read: {error.strerror or error}.") from error
        yield found


def _found(path: Path, max_bytes: int, open_files: ExitStack) -> Iterator[Found]:
    if path.is_dir():
        return _in_folder(path, max_bytes)
    if not path.is_file():
        raise BadRequest(f"There is nothing at {path}. Name a folder of class folders, a zip of them, or a CSV.")
    if path.suffix.lower() == ".csv":
        return _in_csv(path, max_bytes)
    return _in_zip(open_files.enter_context(open_archive(path, ArchiveLimits(max_member_bytes=max_bytes))))


def lay_out(places: Sequence[Sequence[str]]) -> list[Laid]:
    """What the folders mean that each file lies in, the outermost first. Pure.

    A folder round everything means nothing. Then folders called train, validation and test (or as in SPLITS) are the
    sets, if there is nothing beside them; the next one is the class, whatever is below it.
    """
    depth = 0
    while len({place[depth : depth + 1] for place in map(tuple, places)}) == 1 and len(places[0]) > depth:
        depth += 1
    inside = [tuple(place[depth:]) for place in places]
    sets = all(place and place[0].casefold() in SPLITS for place in inside)
    if sets:
        return [(_first(place[1:]), SPLITS[place[0].casefold()]) for place in inside]
    return [(_first(place), None) for place in inside]


def class_name(label: str) -> str:
    """A label as it is kept: composed (a Mac decomposes), without spaces round it.

    Raises BadRequest for one that is empty, too long or not to be shown.
    """
    name = unicodedata.normalize("NFC", label[: MAX_CLASS_CHARS + 1]).strip()
    shown = UNSHOWABLE.sub("\ufffd", name)
    if not name or "\ufffd" in shown:
        raise BadRequest(f"{shown!r} cannot be a class's name: it is empty or has characters that cannot be shown.")
    if len(label) > MAX_CLASS_CHARS:
        raise BadRequest(f"A class's name has at most {MAX_CLASS_CHARS} characters; this one has more: {shown}")
    return name


def _first(place: Sequence[str]) -> str | None:
    return place[0] if place else None


def _bounded(found: Iterator[Found]) -> list[Found]:
    taken: list[Found] = []
    for one in found:
        if len(taken) == MAX_PICTURES:
            raise BadRequest(f"There are more than {MAX_PICTURES:,} pictures. Train with a part of them.")
        taken.append(one)
    return taken


def _in_folder(folder: Path, max_bytes: int) -> Iterator[Found]:
    names = sorted(_walk(folder))
    return _laid_out(names, [partial(read_file, folder.joinpath(*name), max_bytes) for name in names])


def _walk(folder: Path) -> Iterator[tuple[str, ...]]:
    """The files below it that may be pictures. Links to folders are not followed: they could go round in a circle."""
    looked_at = 0
    for here, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(here).relative_to(folder).parts
        looked_at += len(files)
        if looked_at > MAX_LOOKED_AT:
            raise BadRequest(f"{folder} holds more than {MAX_LOOKED_AT:,} files. Name the folder of the classes.")
        yield from ((*inside, name) for name in files if not name.startswith(".") and not skip_by_name(name))


def _in_zip(archive: Archive) -> Iterator[Found]:
    entries = sorted((one for one in archive.entries if one.skip is None), key=lambda one: one.name)
    names = {entry: tuple(entry.name.split("/")) for entry in entries}
    seen = [entry for entry in entries if not any(part.startswith(".") for part in names[entry])]
    return _laid_out([names[entry] for entry in seen], [partial(archive.read, entry) for entry in seen])


def _raise(error: OSError) -> None:
    raise error


def _laid_out(names: Sequence[tuple[str, ...]], reads: Sequence[Callable[[], bytes]]) -> Iterator[Found]:
    laid = lay_out([name[:-1] for name in names]) if names else []
    for name, (label, split), read in zip(names, laid, reads, strict=True):
        yield Found(shown_name("/".join(name)), class_name(label) if label else None, split, "given", read)


def shown_name(name: str) -> str:
    """A picture's name as it is kept."""
    shown = UNSHOWABLE.sub("\ufffd", name)
    return shown if len(shown) <= MAX_NAME_CHARS else "…" + shown[1 - MAX_NAME_CHARS :]


def read_file(path: Path, max_bytes: int) -> bytes:
    """At most one byte more than `max_bytes`, which is enough to see that it is too large.

    Raises OSError, also for what is no regular file: a pipe would be waited for.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "No such file", str(path))
    with path.open("rb") as file:
        return file.read(max_bytes + 1)


def _in_csv(path: Path, max_bytes: int) -> Iterator[Found]:
    if path.stat().st_size > MAX_CSV_BYTES:
        raise BadRequest(f"{path} has more than {MAX_CSV_BYTES:,} bytes.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = [name.strip().lower() for name in rows.fieldnames or ()]
            if not {"path", "label"} <= set(header) <= set(COLUMNS) or max(Counter(header).values()) > 1:
                raise BadRequest(
                    f"{path} must begin with the line path,label (or path,label,split,origin), and have commas between "
                    f"its columns. It begins with: {shown_name(','.join(header))}"
                )
            rows.fieldnames = header
            for row in rows:
                yield _row(row, path, rows.line_num, max_bytes)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{path} is no CSV in UTF-8: {error}.") from error


def _row(row: dict[str, str | None], path: Path, line: int, max_bytes: int) -> Found:
    name, label, split, origin = ((row.get(column) or "").strip() for column in COLUMNS)
    if not name or None in row:
        raise BadRequest(f"{path}, line {line}: it has no path, or more columns than the first line names.")
    if split and split.casefold() not in SPLITS:
        raise BadRequest(f"{path}, line {line}: the split is train, validation, test or empty, not {split[:40]!r}.")
    if origin not in ("", *get_args(Origin)):
        raise BadRequest(f"{path}, line {line}: the origin is given, feedback or empty, not {origin[:40]!r}.")
    try:
        known = class_name(label)
    except BadRequest as error:
        raise BadRequest(f"{path}, line {line}: {error.detail}") from error
    read = partial(read_file, path.parent / name, max_bytes)
    return Found(
        shown_name(name), known, SPLITS.get(split.casefold()), "feedback" if origin == "feedback" else "given", read
    )
