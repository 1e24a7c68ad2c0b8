from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.store.database import Database
from service.store.feedback import FeedbackDraft, FeedbackStore
from service.store.review import Doubt, ReviewStore
from service.store.users import UserStore
from tests.world import make_database


def doubt(number: int, margin: float, user_id: int | None = None) -> Doubt:
    return Doubt(
        user_id=user_id, image_sha256=f"{number:064x}", image_file_name="a.png", labels=(("cat", 0.4), ("dog", 0.3)),
        margin=margin, entropy=1.0, model_name="toy", model_version="1",
    )  # fmt: skip


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    async with make_database(tmp_path) as db:
        yield db


async def names(review: ReviewStore) -> list[int]:
    return [int(row.image_sha256, 16) for row in await review.least_certain(100)]


async def test_the_least_certain_stay_and_come_first(db: Database) -> None:
    """When there is no room the most certain goes, whichever came first; it is told, with whose it was."""
    review = ReviewStore(db)
    assert (await review.add(doubt(1, 0.3), most=2)).limit is None
    assert (await review.add(doubt(2, 0.1), most=2)).limit == 0.3
    added = await review.add(doubt(3, 0.2), most=2)
    assert (added.evicted, added.limit) == ([(f"{1:064x}", None)], 0.2)
    assert await names(review) == [2, 3]


async def test_a_picture_stands_once_for_each_person(db: Database) -> None:
    """A newer answer takes the place of the older one, also of somebody who is not signed in."""
    review, users = ReviewStore(db), UserStore(db)
    ada = await users.add(email="ada@example.org", name="Ada", password_hash="x", role="user")
    for margin in (0.3, 0.2):
        for user_id in (None, ada.id):
            await review.add(doubt(1, margin, user_id), most=9)
    assert [(row.user_id, row.margin, row.labels[0]) for row in await review.least_certain(9)] == [
        (None, 0.2, ("cat", 0.4)),
        (ada.id, 0.2, ("cat", 0.4)),
    ]


async def test_what_was_decided_is_not_shown_and_takes_no_room(db: Database) -> None:
    """It is kept to learn from; undone, it is back."""
    review, feedback = ReviewStore(db), FeedbackStore(db)
    await review.add(doubt(1, 0.1), most=1)
    draft = FeedbackDraft(
        predicted_class="cat", score=0.4, image_file_name="a.png", image_sha256=f"{1:064x}", feedback="?", reviewed=True
    )
    row, _ = await feedback.add(draft, owner="7", idempotency_key=None)
    added = await review.add(doubt(2, 0.4), most=1)
    assert (added.evicted, await names(review)) == ([], [2])
    assert await feedback.remove(row.id, "7")
    assert await names(review) == [1, 2]
