"""What an account owns: taken out whole, deleted whole, and the pictures that go with the rows about them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from service.errors import Conflict
from service.settings import KeepImages
from service.store import belongings, history
from service.store.belongings import Belongings
from service.store.feedback import FeedbackDraft, FeedbackRow, FeedbackStore
from service.store.history import HistoryDraft, HistoryRow, HistoryStore
from service.store.job_rows import Job
from service.store.jobs import JobStore
from service.store.pictures import PictureStore
from service.store.review import Doubt, ReviewStore
from service.store.tokens import TokenStore
from service.store.users import Role, User, UserStore
from tests.world import make_database


@dataclass(frozen=True)
class World:
    """All stores, and two people."""

    users: UserStore
    tokens: TokenStore
    feedback: FeedbackStore
    history: HistoryStore
    pictures: PictureStore
    jobs: JobStore
    review: ReviewStore
    belongings: Belongings
    ada: User
    bo: User

    async def answered(self, user: User, data: bytes, age: timedelta = timedelta(0)) -> HistoryRow:
        """A row of the account's history about a kept picture."""
        self.history.record(
            HistoryDraft(
                user_id=user.id,
                created_at=datetime.now(UTC) - age,
                image_sha256=await self.pictures.keep(data),
                image_file_name="a.png",
                label="cat",
                score=0.5,
                model_name="toy",
                model_version="1",
            )
        )
        return (await self.history.list(user.id, limit=1))[0]

    async def said(self, user: User | None, data: bytes) -> FeedbackRow:
        """A row of feedback about a kept picture; None is anybody."""
        sha256 = await self.pictures.keep(data)
        draft = FeedbackDraft(
            predicted_class="cat", score=0.5, image_file_name="a.png", image_sha256=sha256, image_kept=True
        )
        owner = user.owner if user else None
        return (await self.feedback.add(draft, owner=owner, idempotency_key=f"secret {sha256}"))[0]

    async def doubted(self, user: User | None, data: bytes) -> str:
        """A picture that is kept for review; None is anybody's."""
        sha256 = await self.pictures.keep(data)
        doubt = Doubt(
            user_id=user.id if user else None, image_sha256=sha256, image_file_name="a.png", labels=(("cat", 0.4),),
            margin=0.1, entropy=1.0, model_name="toy", model_version="1",
        )  # fmt: skip
        await self.review.add(doubt, most=9)
        return sha256

    async def kept(self, *pictures: str | None) -> list[bool]:
        """Which of these are there still."""
        return [await self.pictures.has(picture or "") for picture in pictures]


@asynccontextmanager
async def a_world(folder: Path, keep_images: KeepImages = "feedback") -> AsyncIterator[World]:
    async with make_database(folder) as db, PictureStore(folder / "pictures") as pictures:
        users, tokens, feedback, jobs = UserStore(db), TokenStore(db), FeedbackStore(db), JobStore(db)

        async def forget(job: Job) -> None:
            await jobs.remove(job.id)

        async def person(name: str, role: Role) -> User:
            return await users.add(email=f"{name}@example.org", name=name, password_hash="$argon2id$", role=role)

        async with HistoryStore(db) as history:
            review = ReviewStore(db)
            owned = Belongings(users, tokens, feedback, history, pictures, keep_images, jobs, forget, review)
            people = await person("ada", "user"), await person("bo", "admin")
            yield World(users, tokens, feedback, history, pictures, jobs, review, owned, *people)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as world:
        yield world


@pytest.fixture
async def keeping_all(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path, "all") as world:
        yield world


async def test_an_account_goes_with_all_of_it_and_nothing_of_others(world: World) -> None:
    """Feedback, tokens, history, the row itself, and the pictures only it mentions."""
    await world.tokens.add(world.ada, "token", "nightly", "d" * 64, None)
    alone, shared = await world.said(world.ada, b"one"), await world.said(world.ada, b"two")
    theirs = await world.said(world.bo, b"two")
    await world.answered(world.ada, b"one")
    kept = await world.answered(world.bo, b"two")
    await world.belongings.remove(world.ada)
    assert await world.users.get(world.ada.id) is None
    assert await world.feedback.list(world.ada.owner) == ()
    assert await world.tokens.list(world.ada.id, "token") == ()
    assert await world.history.list(world.ada.id) == ()
    assert await world.feedback.list(world.bo.owner) == (theirs,)
    assert await world.history.list(world.bo.id) == (kept,)
    assert await world.kept(alone.image_sha256, shared.image_sha256) == [False, True]


async def test_jobs_go_with_their_account(world: World) -> None:
    """However many; those of others and of anybody stay."""
    for owner in (world.ada.owner, world.bo.owner, None):
        for _ in range(60 if owner == world.ada.owner else 1):
            await world.jobs.add(owner, "a.zip", 1)
    await world.belongings.remove(world.ada)
    assert await world.jobs.list(world.ada.owner) == ()
    assert len(await world.jobs.ids()) == 2


async def test_where_all_are_kept_history_of_others_keeps_a_picture(keeping_all: World) -> None:
    """A picture in somebody else's history stays; one that only the account had classified goes."""
    alone = await keeping_all.answered(keeping_all.ada, b"one")
    shared = await keeping_all.answered(keeping_all.ada, b"two")
    await keeping_all.answered(keeping_all.bo, b"two")
    await keeping_all.belongings.remove(keeping_all.ada)
    assert await keeping_all.kept(alone.image_sha256, shared.image_sha256) == [False, True]


async def test_the_last_admin_loses_nothing(world: World) -> None:
    """The account cannot go, so its pictures and rows do not either."""
    said = await world.said(world.bo, b"one")
    await world.answered(world.bo, b"one")
    with pytest.raises(Conflict, match="last admin"):
        await world.belongings.remove(world.bo)
    assert await world.kept(said.image_sha256) == [True]
    assert len(await world.history.list(world.bo.id)) == 1


async def test_a_picture_goes_with_the_last_feedback_about_it(world: World) -> None:
    """Kept with feedback: the account's own history does not hold it."""
    row = await world.answered(world.ada, b"one")
    first, second = await world.said(world.ada, b"one"), await world.said(None, b"one")
    assert await world.belongings.remove_feedback(first.id, world.ada.owner)
    assert await world.kept(row.image_sha256) == [True]
    assert await world.belongings.remove_feedback(second.id, None)
    assert await world.kept(row.image_sha256) == [False]


async def test_a_history_row_leaves_a_picture_that_has_feedback(world: World) -> None:
    """It is kept for the feedback, not for the row."""
    said, row = await world.said(world.ada, b"one"), await world.answered(world.ada, b"one")
    assert await world.belongings.remove_prediction(row.id, world.ada)
    assert await world.kept(said.image_sha256) == [True]


async def test_where_all_are_kept_the_last_of_rows_and_feedback_takes_the_picture(keeping_all: World) -> None:
    """In either order."""
    for data, row_first in ((b"one", True), (b"two", False)):
        said, row = await keeping_all.said(None, data), await keeping_all.answered(keeping_all.ada, data)
        undo = keeping_all.belongings.remove_feedback(said.id, None)
        delete = keeping_all.belongings.remove_prediction(row.id, keeping_all.ada)
        for step in (delete, undo) if row_first else (undo, delete):
            assert await keeping_all.kept(row.image_sha256) == [True]
            assert await step
        assert await keeping_all.kept(row.image_sha256) == [row_first]  # anybody's undo forgets nothing where all stay


async def test_where_all_are_kept_an_accounts_feedback_takes_the_picture_too(keeping_all: World) -> None:
    """The row was deleted before: now nothing of the account mentions it."""
    said, row = await keeping_all.said(keeping_all.ada, b"one"), await keeping_all.answered(keeping_all.ada, b"one")
    assert await keeping_all.belongings.remove_prediction(row.id, keeping_all.ada)
    assert await keeping_all.kept(row.image_sha256) == [True]
    assert await keeping_all.belongings.remove_feedback(said.id, keeping_all.ada.owner)
    assert await keeping_all.kept(row.image_sha256) == [False]


async def test_nobody_removes_what_is_anothers(world: World) -> None:
    """False, and everything stays."""
    said, row = await world.said(world.ada, b"one"), await world.answered(world.ada, b"one")
    assert not await world.belongings.remove_feedback(said.id, world.bo.owner)
    assert not await world.belongings.remove_prediction(row.id, world.bo)
    assert await world.kept(said.image_sha256) == [True]


async def test_a_whole_history_goes_in_pieces(keeping_all: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the account's rows with their pictures, over several chunks; others' stay."""
    monkeypatch.setattr(history, "CHUNK_ROWS", 2)
    rows = [await keeping_all.answered(keeping_all.ada, b"%d" % number) for number in range(5)]
    theirs = await keeping_all.answered(keeping_all.bo, b"theirs")
    await keeping_all.belongings.remove_history(keeping_all.ada)
    await keeping_all.belongings.remove_history(keeping_all.ada)
    assert await keeping_all.history.list(keeping_all.ada.id) == ()
    assert await keeping_all.pictures.kept([row.image_sha256 for row in [*rows, theirs]]) == {theirs.image_sha256}


async def test_old_history_expires_with_its_pictures(keeping_all: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows older than the days go, and of too many the oldest; sessions that have ended too."""
    monkeypatch.setattr(history, "MAX_ROWS", 2)
    world = keeping_all
    old = await world.answered(world.ada, b"old", timedelta(days=31))
    rows = [await world.answered(world.ada, b"%d" % number, timedelta(days=29)) for number in range(3)]
    await world.tokens.add(world.ada, "session", "Firefox", "e" * 64, datetime.now(UTC) - timedelta(seconds=1))
    await world.belongings.expire(30)
    assert await world.history.list(world.ada.id) == (rows[2], rows[1])
    assert await world.kept(*(row.image_sha256 for row in (old, *rows))) == [False, False, True, True]
    assert await world.tokens.remove_expired() == 0


async def test_no_history_is_kept_for_no_days(world: World) -> None:
    """history_days 0: what an earlier setting recorded goes as well."""
    await world.answered(world.ada, b"one")
    await world.belongings.expire(0)
    assert await world.history.list(world.ada.id) == ()


async def test_export_is_all_of_the_account_and_no_secret(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each, over several chunks; no hash, no key, nothing of others."""
    monkeypatch.setattr(belongings, "_CHUNK_ROWS", 2)
    await world.tokens.add(world.ada, "token", "nightly", "d" * 64, None)
    await world.tokens.add(world.ada, "session", "Firefox", "e" * 64, None)
    for number in range(3):
        await world.answered(world.ada, b"%d" % number)
    await world.said(world.ada, b"one")
    await world.said(world.bo, b"two")
    await world.answered(world.bo, b"two")
    for name in ("a.zip", "b.zip", "c.zip"):
        await world.jobs.add(world.ada.owner, name, 1)
    await world.jobs.add(world.bo.owner, "theirs.zip", 1)
    lines = [line async for line in world.belongings.export(world.ada)]
    documents = [orjson.loads(line) for line in lines]
    kinds = [document.pop("type") for document in documents]
    assert kinds == ["account", "session", "token", "feedback", *["prediction"] * 3, *["job"] * 3]
    assert documents[0]["email"] == "ada@example.org"
    assert documents[2]["name"] == "nightly"
    assert documents[-1]["file_name"] == "a.zip"
    said = b"".join(lines)
    for secret in (b"argon2", b"d" * 64, b"e" * 64, b"secret", b"bo@", b"password", b"token_version", b"theirs"):
        assert secret not in said


async def test_whose_a_kept_picture_is(keeping_all: World) -> None:
    """An account's with an answer to it or feedback it is kept for; nobody's where no account's row is about it."""
    world = keeping_all
    answered = (await world.answered(world.ada, b"answered")).image_sha256
    said = (await world.said(world.ada, b"said")).image_sha256 or ""
    shared = (await world.said(None, b"shared")).image_sha256 or ""
    await world.answered(world.ada, b"shared")
    alone = await world.pictures.keep(b"alone")
    who = (world.ada.owner, world.bo.owner, None)
    of = {name: [await world.belongings.concerns(name, owner) for owner in who] for name in (answered, said)}
    assert of == {answered: [True, False, False], said: [True, False, False]}
    assert [await world.belongings.concerns(shared, owner) for owner in who] == [True, False, True]
    assert [await world.belongings.concerns(alone, owner) for owner in who] == [False, False, True]


async def test_naming_a_picture_of_others_neither_removes_nor_holds_it(keeping_all: World) -> None:
    """Feedback with the hash of a picture removed it, when it was taken back or its account deleted; and it held the
    picture of somebody who had deleted all of theirs."""
    world = keeping_all
    nobodys, hers = await world.pictures.keep(b"nobody's"), (await world.answered(world.ada, b"hers")).image_sha256
    for sha256 in (nobodys, hers):
        draft = FeedbackDraft(predicted_class="cat", score=0.5, image_file_name="a.png", image_sha256=sha256)
        taken_back, _ = await world.feedback.add(draft, owner=world.bo.owner, idempotency_key=None)
        await world.feedback.add(draft, owner=world.bo.owner, idempotency_key=None)
        assert await world.belongings.remove_feedback(taken_back.id, world.bo.owner)
    assert await world.kept(nobodys, hers) == [True, True]
    await world.belongings.remove_history(world.ada)
    assert await world.kept(nobodys, hers) == [True, False]
    await world.users.set_role(world.ada.id, "admin")
    await world.belongings.remove(world.bo)
    assert await world.kept(nobodys) == [True]


async def test_what_waits_for_review_goes_with_its_account(world: World) -> None:
    """Row and picture, also when a reviewer has decided; what another person sent as well stays."""
    alone, decided = await world.doubted(world.ada, b"one"), await world.doubted(world.ada, b"two")
    shared = await world.doubted(world.ada, b"three")
    await world.doubted(world.bo, b"three")
    draft = FeedbackDraft(
        predicted_class="cat", score=0.5, image_file_name="a.png", image_sha256=decided, verdict="right", reviewed=True
    )
    await world.feedback.add(draft, owner=world.bo.owner, idempotency_key=None)
    lines = [orjson.loads(line) async for line in world.belongings.export(world.ada)]
    assert [line["type"] for line in lines] == ["account", "review", "review", "review"]
    await world.belongings.remove(world.ada)
    assert await world.kept(alone, decided, shared) == [False, False, True]
    assert await world.review.of(world.ada.id) == ()


async def test_deleting_history_deletes_what_waits_for_review(world: World) -> None:
    """One row of it, or all; not what others sent."""
    one, two = await world.answered(world.ada, b"one"), await world.answered(world.ada, b"two")
    for user, data in ((world.ada, b"one"), (world.ada, b"two"), (world.bo, b"two")):
        await world.doubted(user, data)
    assert await world.belongings.remove_prediction(one.id, world.ada)
    assert await world.kept(one.image_sha256, two.image_sha256) == [False, True]
    await world.belongings.remove_history(world.ada)
    assert [row.user_id for row in await world.review.least_certain(9)] == [world.bo.id]


async def test_what_nobody_reviews_in_time_goes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody's picture, once it has waited for long enough."""
    old = await world.doubted(None, b"one")
    await world.belongings.expire(30)
    assert await world.kept(old) == [True]
    monkeypatch.setattr(belongings, "REVIEW_DAYS", -1)
    await world.belongings.expire(30)
    assert await world.kept(old) == [False]
    assert await world.review.least_certain(9) == ()


async def test_a_picture_for_review_is_its_senders(world: World) -> None:
    """Nobody else is told that it is kept."""
    sha256 = await world.doubted(world.ada, b"one")
    assert await world.belongings.concerns(sha256, world.ada.owner)
    assert not await world.belongings.concerns(sha256, world.bo.owner)
    assert not await world.belongings.concerns(sha256, None)
