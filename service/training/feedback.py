"""What people said about answers -> labelled pictures to learn from, as a CSV that `sources` reads."""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from service.counting import counted
from service.errors import BadRequest
from service.files import replace_file
from service.store.feedback import FeedbackRow
from service.store.pictures import PictureStore
from service.training.sources import COLUMNS, MAX_PICTURES, class_name
from service.training.splits import LEAST_PER_CLASS

FILE, TOLD = "feedback.csv", "feedback.txt"
"""In the folder of the run that learns from it: the pictures, and what was left out, in a sentence."""
NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Taken:
    """`pictures` were written down. Left out are: `disputed`, people contradict each other about them; `unnamed`, an
    answer was called wrong and nobody said what is right; `gone`, the picture is not kept; `rare`, by class, of new
    classes with too few pictures to learn them from."""

    pictures: int
    disputed: int
    unnamed: int
    gone: int
    rare: Mapping[str, int]

    def words(self) -> str:
        """One sentence for people."""
        left_out = [
            f"{count:,} {words}"
            for count, words in (
                (self.disputed, "that people disagree on"),
                (self.unnamed, "without the right label"),
                (self.gone, "whose picture is not kept"),
                (sum(self.rare.values()), f"of new classes with fewer than {LEAST_PER_CLASS} ({_few(self.rare)})"),
            )
            if count
        ]
        beside = f" Left out: {', '.join(left_out)}." if left_out else ""
        return f"{counted(self.pictures, 'picture')} from feedback.{beside}"


@dataclass(slots=True)
class Said:
    """The newest words of each person about one picture: what it is (None: not said), and what it is not. A reviewer's
    decision takes the place of all words before it."""

    labels: dict[str | None, str | None] = field(default_factory=dict)
    denied: dict[str | None, str] = field(default_factory=dict)

    def add(self, row: FeedbackRow) -> None:
        """A row with a verdict, newer than those before."""
        if row.reviewed:
            self.labels.clear()
            self.denied.clear()
        self.denied.pop(row.owner, None)
        self.labels[row.owner] = row.predicted_class if row.verdict == "right" else row.correct_label or None
        if row.verdict == "wrong":
            self.denied[row.owner] = row.predicted_class

    def spelled(self, names: dict[str, str]) -> set[str]:
        """All that it is said to be; a label that differs from an earlier one in case alone is the same."""
        return {names.setdefault(label.casefold(), label) for label in map(_clean, self.labels.values()) if label}

    def refuses(self, label: str) -> bool:
        """Whether somebody says that it is not that."""
        return label.casefold() in {denied.strip().casefold() for denied in self.denied.values()}

    def disagrees(self, names: dict[str, str]) -> bool:
        """Whether people contradict each other. `names` as for `spelled`."""
        labels = self.spelled(names)
        return len(labels) > 1 or any(self.refuses(label) for label in labels)


async def write_feedback(
    rows: AsyncIterator[FeedbackRow],
    pictures: PictureStore,
    known: Sequence[str],
    path: Path,
    *,
    since: datetime | None = None,
) -> Taken:
    """Write the CSV of what the rows (oldest first) say since then, whole.

    `known`: the classes there are already; a label that differs from one in case alone is that one. Raises BadRequest
    when there is nothing to learn from, OSError.
    """
    said: dict[str, Said] = {}
    async for row in rows:
        if row.verdict and row.image_sha256 and (since is None or row.created_at >= since):
            said.setdefault(row.image_sha256, Said()).add(row)
    return await asyncio.to_thread(_write, said, pictures, known, path)


def _write(said: dict[str, Said], pictures: PictureStore, known: Sequence[str], path: Path) -> Taken:
    names = {name.casefold(): name for name in known}
    labelled: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for sha256, words in said.items():
        labels = words.spelled(names)
        if words.disagrees(names):
            counts["disputed"] += 1
        elif not labels:
            counts["unnamed"] += 1
        elif not pictures.path(sha256).is_file():
            counts["gone"] += 1
        else:
            labelled[sha256] = labels.pop()
    sizes, old = Counter(labelled.values()), set(known)
    kept = {sha256: label for sha256, label in labelled.items() if label in old or sizes[label] >= LEAST_PER_CLASS}
    rare = Counter(label for sha256, label in labelled.items() if sha256 not in kept)
    taken = Taken(len(kept), counts["disputed"], counts["unnamed"], counts["gone"], rare)
    if not 0 < len(kept) <= MAX_PICTURES:
        bound = f"at most {MAX_PICTURES:,} are taken at once: give --since a later day" if kept else "none is left"
        raise BadRequest(f"{taken.words()} To learn from them, {bound}.")
    replace_file(path.with_name(TOLD), taken.words().encode())
    replace_file(path, _csv([(str(pictures.path(one).absolute()), label) for one, label in kept.items()]))
    return taken


def read_told(folder: Path) -> str | None:
    """What was taken of the feedback that the folder's run learns from, and what was left out; None of other runs."""
    try:
        return (folder / TOLD).read_text(encoding="utf-8")
    except OSError:
        return None


def _few(counts: Mapping[str, int]) -> str:
    shown = [f"{label} {count}" for label, count in list(counts.items())[:NAMES_SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - NAMES_SHOWN:,} more" if len(counts) > NAMES_SHOWN else "")


def _clean(label: str | None) -> str | None:
    """None also for what cannot be a class's name."""
    try:
        return class_name(label) if label else None
    except BadRequest:
        return None


def _csv(lines: Sequence[tuple[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows((path, label, "", "feedback") for path, label in lines)
    return text.getvalue().encode()
