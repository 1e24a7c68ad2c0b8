import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import StoreFull
from service.store import doubts as module
from service.store.doubts import Doubts
from service.store.pictures import PictureStore
from service.store.review import Added, Doubt, ReviewStore
from tests.store.test_review import doubt
from tests.world import belongings, make_database


class Shelf:
    """Doubts with room for two, on a real disk."""

    def __init__(self, review: ReviewStore, pictures: PictureStore, doubts: Doubts) -> None:
        self.review = review
        self.pictures = pictures
        self.doubts = doubts

    async def offered(self, number: int, margin: float) -> Doubt:
        """An answer with that margin to a picture of its own."""
        data = b"%d" % number
        one = replace(doubt(number, margin), image_sha256=hashlib.sha256(data).hexdigest())
        self.doubts.offer(one, data)
        await self.doubts.flush()
        return one

    async def kept(self, *doubts: Doubt) -> list[bool]:
        return [await self.pictures.has(one.image_sha256) for one in doubts]


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with make_database(tmp_path) as db, PictureStore(tmp_path / "pictures") as pictures:
        review = ReviewStore(db)
        async with Doubts(review, pictures, belongings(db, pictures).forget, most=2) as doubts:
            yield Shelf(review, pictures, doubts)


async def test_the_pictures_of_the_least_certain_answers_are_kept(shelf: Shelf) -> None:
    """A less certain one takes the place of the most certain, whose picture goes."""
    first, second, third = [await shelf.offered(n, margin) for n, margin in ((1, 0.3), (2, 0.2), (3, 0.1))]
    assert await shelf.kept(first, second, third) == [False, True, True]


async def test_a_certain_answer_is_never_kept(shelf: Shelf) -> None:
    """Nor, once the shelf is full, one that is surer than all on it."""
    sure = await shelf.offered(1, module.MAX_MARGIN)
    await shelf.offered(2, 0.1)
    await shelf.offered(3, 0.2)
    surer = await shelf.offered(4, 0.3)
    assert await shelf.kept(sure, surer) == [False, False]
    assert not shelf.doubts.wants(0.2)


async def test_overload_drops_what_comes(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and counted; what was taken before is kept."""
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 2)
    one = await shelf.offered(1, 0.2)
    shelf.doubts.offer(doubt(2, 0.1), b"three")
    await shelf.doubts.flush()
    assert shelf.doubts.passed_over == 1
    assert [row.image_sha256 for row in await shelf.review.least_certain(9)] == [one.image_sha256]


async def test_a_picture_whose_row_cannot_be_stored_is_not_left_behind(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one is kept as ever."""

    async def full(_self: ReviewStore, _doubt: Doubt, *, most: int) -> Added:
        raise StoreFull

    with monkeypatch.context() as broken:
        broken.setattr(ReviewStore, "add", full)
        lost = await shelf.offered(1, 0.1)
    kept = await shelf.offered(2, 0.1)
    assert await shelf.kept(lost, kept) == [False, True]
