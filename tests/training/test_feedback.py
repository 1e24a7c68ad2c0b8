"""Feedback becomes labelled pictures."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadRequest
from service.store.feedback import FeedbackRow, Verdict
from service.store.pictures import PictureStore
from service.training import feedback
from service.training.feedback import Taken, write_feedback
from service.training.sources import open_source

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)


def sha256(number: int) -> str:
    return f"{number:064x}"


@dataclass
class Said:
    """Rows of feedback on cats, a second apart, whose pictures are kept."""

    folder: Path
    rows: list[FeedbackRow] = field(default_factory=list)

    def add(
        self, number: int, verdict: Verdict | None, correct: str | None = None, *, owner: str | None = "eva",
        predicted: str = "cat", kept: bool = True, reviewed: bool = False,
    ) -> None:  # fmt: skip
        row = FeedbackRow(
            id=len(self.rows) + 1, created_at=BEGIN + timedelta(seconds=len(self.rows)), owner=owner,
            idempotency_key=None, predicted_class=predicted, score=0.5, image_file_name="x.png", verdict=verdict,
            correct_label=correct, image_sha256=sha256(number), image_kept=kept, reviewed=reviewed,
        )  # fmt: skip
        self.rows.append(row)
        if kept:
            path = PictureStore(self.folder).path(sha256(number))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")

    async def write(self, known: Sequence[str] = ("cat", "dog"), **options: Any) -> tuple[Taken, dict[int, str | None]]:
        path = self.folder / "feedback.csv"
        taken = await write_feedback(self._each(), PictureStore(self.folder), known, path, **options)
        with open_source(path, 1000) as found:
            assert all(one.origin == "feedback" and one.split is None and one.read() == b"x" for one in found)
            return taken, {int(one.name[-68:-4], 16): one.label for one in found}

    async def _each(self) -> AsyncIterator[FeedbackRow]:
        for row in self.rows:
            yield row


@pytest.fixture
def said(tmp_path: Path) -> Said:
    return Said(tmp_path / "pictures")


async def test_right_and_wrong_are_both_labels(said: Said) -> None:
    """The class that was said when it is right, the one that somebody names when it is wrong."""
    said.add(1, "right")
    said.add(2, "wrong", "dog")
    assert await said.write() == (Taken(2, 0, 0, 0, {}), {1: "cat", 2: "dog"})


async def test_the_newest_word_of_a_person_counts(said: Said) -> None:
    """Who changes their mind does not contradict anybody."""
    said.add(1, "wrong", "dog")
    said.add(1, "right")
    said.add(2, "right")
    said.add(2, "wrong", "dog")
    assert (await said.write())[1] == {1: "cat", 2: "dog"}


async def test_disputed_pictures_are_left_out(said: Said) -> None:
    """Two labels, or one that another person denies; that two agree is no dispute."""
    said.add(1, "right")
    said.add(2, "right", owner="eva")
    said.add(2, "wrong", "dog", owner="bo")
    said.add(3, "right", owner="eva")
    said.add(3, "wrong", owner=None)
    said.add(4, "wrong", "dog", owner="eva")
    said.add(4, "wrong", owner="bo")
    taken, labels = await said.write()
    assert (taken.disputed, labels) == (2, {1: "cat", 4: "dog"})


async def test_what_teaches_nothing_is_left_out_and_counted(said: Said) -> None:
    """Wrong without the right label, free text alone, a label that cannot be shown, a picture that is not kept."""
    said.add(1, "right")
    said.add(2, "wrong")
    said.add(3, None)
    said.add(4, "wrong", "c\x07t")
    said.add(5, "right", kept=False)
    assert await said.write() == (Taken(1, 0, 2, 1, {}), {1: "cat"})


async def test_case_makes_no_new_class(said: Said) -> None:
    """`Dog ` is the class dog there is already; new ones are spelled as the first person did."""
    said.add(1, "wrong", "Dog ")
    for number in range(2, 7):
        said.add(number, "wrong", "Emu" if number == 2 else "emu")
    assert (await said.write())[1] == {1: "dog"} | dict.fromkeys(range(2, 7), "Emu")


async def test_a_new_class_needs_enough_pictures(said: Said) -> None:
    """One person's one unicorn does not keep the others from being learnt from."""
    said.add(1, "right")
    said.add(2, "wrong", "unicorn")
    assert await said.write() == (Taken(1, 0, 0, 0, {"unicorn": 1}), {1: "cat"})


async def test_labels_that_were_left_out_are_named_beside_the_run(said: Said) -> None:
    """They were only counted, and only in the log: now with their pictures, and how many it takes."""
    said.add(1, "right")
    for number, label in enumerate(("unicorn", "newt", "newt"), 2):
        said.add(number, "wrong", label)
    await said.write()
    assert feedback.read_told(said.folder) == (
        "1 picture from feedback. Left out: 3 of new classes with fewer than 5 (unicorn 1, newt 2)."
    )
    assert feedback.read_told(said.folder / "none") is None


async def test_since_leaves_out_what_is_older(said: Said) -> None:
    """By when it was said."""
    said.add(1, "right")
    said.add(2, "right")
    assert (await said.write(since=BEGIN + timedelta(seconds=1)))[1] == {2: "cat"}


async def test_nothing_to_learn_from_is_said(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """With why, and what was left out; and too much at once."""
    said.add(1, "wrong")
    with pytest.raises(
        BadRequest, match=r"0 pictures from feedback\. Left out: 1 without the right label\..* none is left"
    ):
        await said.write()
    said.add(2, "right")
    said.add(3, "right")
    monkeypatch.setattr(feedback, "MAX_PICTURES", 1)
    with pytest.raises(BadRequest, match="at most 1 are taken at once"):
        await said.write()


async def test_a_reviewer_settles_a_dispute(said: Said) -> None:
    """What was said before does not count any more; what contradicts it afterwards does."""
    for number in (1, 2):
        said.add(number, "right", owner="eva")
        said.add(number, "wrong", "dog", owner="tom")
        said.add(number, "wrong", "dog", owner="boss", reviewed=True)
    said.add(2, "right", owner="eva")
    assert await said.write() == (Taken(1, 1, 0, 0, {}), {1: "dog"})
