"""Feedback rows: stored once, owned, undone, exported."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, InvalidField
from service.store import feedback
from service.store.feedback import FeedbackDraft, FeedbackStore
from tests.world import make_database

CAT = FeedbackDraft(predicted_class="cat", score=0.9346, image_file_name="pet.png", feedback="it is a dog")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FeedbackStore]:
    async with make_database(tmp_path) as db:
        yield FeedbackStore(db)


async def test_a_row_comes_back_as_it_was_given(store: FeedbackStore) -> None:
    """Every column survives the trip, Unicode included; the time is now, in UTC."""
    draft = FeedbackDraft(
        predicted_class="katt",
        score=0.1 + 0.2,
        image_file_name="föto 🐈.png",
        feedback="nej\n\t",
        verdict="wrong",
        correct_label="hund",
        comment="'; DROP TABLE feedback --",
        image_sha256="a" * 64,
        model_name="resnet50",
        model_version="1",
        image_kept=True,
    )
    row, created = await store.add(draft, owner="eva", idempotency_key="k")
    assert created
    assert all(getattr(row, name) == getattr(draft, name) for name in FeedbackDraft.__slots__)
    assert (row.owner, row.idempotency_key) == ("eva", "k")
    assert await store.get(row.id, "eva") == row
    assert row.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - row.created_at) < timedelta(minutes=1)


@pytest.mark.parametrize("owner", [None, "eva"])
async def test_the_same_key_stores_once(store: FeedbackStore, owner: str | None) -> None:
    """Twenty concurrent tries with one key make one row, and all get it."""
    answers = await asyncio.gather(*(store.add(CAT, owner=owner, idempotency_key="k") for _ in range(20)))
    assert sum(created for _, created in answers) == 1
    assert {row.id for row, _ in answers} == {answers[0][0].id}
    assert len(await store.list(owner)) == 1


async def test_a_key_belongs_to_its_owner(store: FeedbackStore) -> None:
    """Two people may use the same key, and nobody learns of another's row by guessing it."""
    first, _ = await store.add(CAT, owner="eva", idempotency_key="k")
    second, created = await store.add(CAT, owner=None, idempotency_key="k")
    assert created
    assert first.id != second.id


async def test_a_key_with_other_content_is_a_conflict(store: FeedbackStore) -> None:
    """A key promises the same request: other content is 409 and not stored."""
    await store.add(CAT, owner=None, idempotency_key="k")
    with pytest.raises(Conflict, match="Idempotency-Key"):
        await store.add(replace(CAT, feedback="no"), owner=None, idempotency_key="k")
    assert len(await store.list(None)) == 1


async def test_without_a_key_every_add_is_a_row(store: FeedbackStore) -> None:
    """Two people may say the same thing."""
    await store.add(CAT, owner=None, idempotency_key=None)
    assert (await store.add(CAT, owner=None, idempotency_key=None))[1]
    assert len(await store.list(None)) == 2


async def test_rows_of_others_are_not_there(store: FeedbackStore) -> None:
    """get, list and remove see only the owner's rows."""
    row, _ = await store.add(CAT, owner="eva", idempotency_key=None)
    for stranger in (None, "bo"):
        assert await store.get(row.id, stranger) is None
        assert await store.list(stranger) == ()
        assert not await store.remove(row.id, stranger)
    assert await store.get(row.id, "eva") == row


async def test_undo_removes_once_and_its_id_is_not_given_again(store: FeedbackStore) -> None:
    """True the first time, False the second; the next row has a new id, so a late second undo harms nobody."""
    row, _ = await store.add(CAT, owner=None, idempotency_key=None)
    assert await store.remove(row.id, None)
    assert not await store.remove(row.id, None)
    later, _ = await store.add(CAT, owner=None, idempotency_key=None)
    assert later.id > row.id


async def test_list_is_newest_first_in_pages(store: FeedbackStore) -> None:
    """before_id continues where the last page ended, without gaps or repeats."""
    ids = [(await store.add(CAT, owner=None, idempotency_key=None))[0].id for _ in range(5)]
    first = await store.list(None, limit=3)
    second = await store.list(None, limit=3, before_id=first[-1].id)
    assert [row.id for row in first + second] == ids[::-1]


async def test_export_gives_every_row_in_order(store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """All owners' rows by rising id, over several chunks and the gap of an undone row."""
    monkeypatch.setattr(feedback, "_EXPORT_CHUNK_ROWS", 2)
    rows = [(await store.add(CAT, owner=owner, idempotency_key=None))[0] for owner in ("a", None, "b", "c", None)]
    await store.remove(rows[1].id, None)
    assert [row async for row in store.export()] == [rows[0], *rows[2:]]


async def test_pictures_are_counted_that_somebody_named(store: FeedbackStore) -> None:
    """Each once, whoever said it; a mere no names nothing, and without its hash nobody knows the picture."""
    said = replace(CAT, verdict="right", image_sha256="a" * 64)
    named = replace(CAT, verdict="wrong", correct_label="dog", image_sha256="b" * 64)
    for owner, draft in (("1", said), ("2", said), (None, named)):
        await store.add(draft, owner=owner, idempotency_key=None)
    for draft in (replace(named, correct_label=None, image_sha256="c" * 64), replace(said, image_sha256=None)):
        await store.add(draft, owner=None, idempotency_key=None)
    assert await store.count_labelled() == 2


async def test_export_of_nothing_is_empty(store: FeedbackStore) -> None:
    """A new service exports no row and no error."""
    assert [row async for row in store.export()] == []


async def test_mentioned_are_every_owners_pictures(store: FeedbackStore) -> None:
    """A picture may be forgotten only when it is kept for nobody's feedback. Feedback that named another's picture
    held it."""
    for owner in ("eva", None):
        await store.add(replace(CAT, image_sha256="a" * 64, image_kept=True), owner=owner, idempotency_key=None)
    for name in "ab":
        await store.add(replace(CAT, image_sha256=name * 64), owner="bo", idempotency_key=None)
    assert await store.mentioned(["a" * 64, "b" * 64]) == {"a" * 64}
    assert await store.owners("a" * 64) == {"eva", None}


@pytest.mark.parametrize(("name", "limit"), [item for item in feedback.MAX_CHARS.items() if item[0] in CAT.__slots__])
async def test_text_is_bounded(store: FeedbackStore, name: str, limit: int) -> None:
    """The longest allowed is stored; one character more is refused, naming the field and the limit."""
    longest: dict[str, Any] = {name: "å" * limit}
    too_long: dict[str, Any] = {name: "å" * (limit + 1)}
    await store.add(replace(CAT, **longest), owner=None, idempotency_key=None)
    with pytest.raises(InvalidField, match=rf"{name} .*{limit}"):
        await store.add(replace(CAT, **too_long), owner=None, idempotency_key=None)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
async def test_text_no_database_can_hold_is_refused(store: FeedbackStore, bad: str) -> None:
    """NUL is refused by PostgreSQL, half a surrogate pair by UTF-8: a clear error for both, everywhere."""
    with pytest.raises(InvalidField, match="comment"):
        await store.add(replace(CAT, comment=bad), owner=None, idempotency_key=None)


async def test_the_last_word_on_each_picture(store: FeedbackStore) -> None:
    """The owner's own, in one reading; of pictures without any there is none."""
    for owner, name, label in (
        ("a", "1", "dog"),
        ("a", "2", "cat"),
        ("a", "1", "fox"),
        ("b", "1", "owl"),
        (None, "3", "x"),
    ):
        draft = replace(CAT, image_sha256=name * 64, verdict="wrong", correct_label=label)
        await store.add(draft, owner=owner, idempotency_key=None)
    found = await store.latest("a", [name * 64 for name in "123"])
    assert {sha256: row.correct_label for sha256, row in found.items()} == {"1" * 64: "fox", "2" * 64: "cat"}
    assert [row.correct_label for row in (await store.latest(None, ["3" * 64])).values()] == ["x"]
    assert await store.latest("a", []) == {}
