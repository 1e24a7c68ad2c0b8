"""The review page: what it shows first, and what becomes of what a reviewer says."""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.app import Glimt
from service.http.access import SESSION_COOKIE
from service.inference.predictions import Label, ModelInfo
from service.inference.shadow import ShadowResult
from service.store.feedback import FeedbackDraft, FeedbackStore
from service.training.orders import Order
from service.training.runs import Runs
from tests.world import in_process, make_app, png, session

PICTURE = png(5)
"""One of which the fake engine is not sure."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Reviewer:
    """An admin's browser, and the app behind it."""

    def __init__(self, app: Glimt, client: httpx2.AsyncClient) -> None:
        self.app = app
        self.client = client
        self.feedback = FeedbackStore(app.house.database)

    async def page(self, address: str = "/review") -> str:
        answer = await self.client.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def shown(self, address: str = "/review") -> str | None:
        """The SHA-256 of the picture on the page."""
        found = re.search(r"/review/pictures/([0-9a-f]{64})", await self.page(address))
        return found[1] if found else None

    async def say(self, data: bytes, who: str | None, **said: Any) -> None:
        """Somebody's feedback on a kept picture that was taken for class_1."""
        await self.app.house.pictures.keep(data)
        draft = FeedbackDraft(
            predicted_class="class_1", score=0.4, image_file_name="a.png", image_sha256=sha256(data), image_kept=True,
            **said,
        )  # fmt: skip
        await self.feedback.add(draft, owner=who, idempotency_key=None)

    async def decide(self, **said: str) -> httpx2.Response:
        """Send the first form of the page, with this besides."""
        page = await self.page()
        form = page[page.index('class="choices"') :]
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[: form.index("</form>")]))
        return await self.client.post("/review", data=hidden | said)


@asynccontextmanager
async def reviewing(folder: Path, **changes: Any) -> AsyncIterator[Reviewer]:
    app = make_app(folder, **changes)
    async with in_process(app) as client:
        client.headers["origin"] = "http://localhost"
        client.cookies.set(SESSION_COOKIE, await session(app, "boss", role="admin"))
        yield Reviewer(app, client)


@pytest.fixture
async def reviewer(tmp_path: Path) -> AsyncIterator[Reviewer]:
    async with reviewing(tmp_path, review_pictures=5) as reviewer:
        yield reviewer


async def test_an_uncertain_answers_picture_is_kept_and_shown(reviewer: Reviewer) -> None:
    """With what the model says today as choices, and the picture itself."""
    await reviewer.client.post("/predict", content=PICTURE)
    await reviewer.app.house.doubts.flush()
    page = await reviewer.page()
    assert f"/review/pictures/{sha256(PICTURE)}" in page
    assert len(re.findall(r'name="pick" value="class_\d"[^>]*data-key="[1-5]"', page)) == 5
    assert "apart" in page
    picture = await reviewer.client.get(f"/review/pictures/{sha256(PICTURE)}")
    assert picture.headers["content-type"] == "image/jpeg"


async def test_without_being_asked_no_picture_is_kept(tmp_path: Path) -> None:
    """The default: the page says which setting would."""
    async with reviewing(tmp_path) as reviewer:
        await reviewer.client.post("/predict", content=PICTURE)
        await reviewer.app.house.doubts.flush()
        assert "GLIMT_REVIEW_PICTURES" in await reviewer.page()
        assert not await reviewer.app.house.pictures.has(sha256(PICTURE))


async def test_who_sends_pictures_is_told_that_some_are_kept(reviewer: Reviewer) -> None:
    """On the first page, before anything is sent."""
    assert "so unsure of it that a person should look at it" in await reviewer.page("/")


async def test_where_pictures_may_not_be_kept_none_is_kept_for_review(tmp_path: Path) -> None:
    """keep_images=none comes first."""
    async with reviewing(tmp_path, review_pictures=5, keep_images="none") as reviewer:
        await reviewer.client.post("/predict", content=PICTURE)
        await reviewer.app.house.doubts.flush()
        assert not await reviewer.app.house.pictures.has(sha256(PICTURE))


async def test_disputed_comes_first_then_differing_then_unsure(reviewer: Reviewer) -> None:
    """Each is one skip further; at the end it says so."""
    unsure, differs, disputed = png(1), png(2), png(3)
    await reviewer.client.post("/predict", content=unsure)
    await reviewer.app.house.doubts.flush()
    await reviewer.app.house.pictures.keep(differs)
    label = Label("class_1", None, 1, 0.5)
    other = Label("class_2", None, 2, 0.5)
    info = ModelInfo("fake", "1", "gated", "none")
    reviewer.app.house.classifier.shadow.on_result(ShadowResult(sha256(differs), info, info, label, other))
    await reviewer.say(disputed, "7", verdict="right")
    await reviewer.say(disputed, "8", verdict="wrong", correct_label="class_3")
    seen = [await reviewer.shown(f"/review?at={at}") for at in range(4)]
    assert seen == [sha256(disputed), sha256(differs), sha256(unsure), None]
    assert "You skipped 3" in await reviewer.page("/review?at=3")


async def test_agreement_is_no_dispute(reviewer: Reviewer) -> None:
    """Nor one's own second thought, nor a wrong answer whose right one somebody else named."""
    for who in ("7", "8"):
        await reviewer.say(png(1), who, verdict="right")
    await reviewer.say(png(2), "7", verdict="right")
    await reviewer.say(png(2), "7", verdict="wrong", correct_label="class_3")
    await reviewer.say(png(3), "7", verdict="wrong")
    await reviewer.say(png(3), "8", verdict="wrong", correct_label="class_3")
    assert await reviewer.shown() is None


async def test_a_wrong_answer_without_the_right_one_is_shown(reviewer: Reviewer) -> None:
    """It says what it is not."""
    await reviewer.say(PICTURE, "7", verdict="wrong")
    assert "it is not class 1" in await reviewer.page()


async def test_a_decision_is_feedback_and_the_next_picture_comes(reviewer: Reviewer) -> None:
    """Of the reviewer, overruling; undone, the picture is back."""
    await reviewer.say(PICTURE, "7", verdict="wrong")
    answer = await reviewer.decide(pick="class_4")
    address = answer.headers["location"]
    assert re.fullmatch(r"/review\?at=0&done=\d+", address)
    assert await reviewer.shown(address) is None
    assert "Noted: class 4." in (await reviewer.client.get(address)).text
    row = [row async for row in reviewer.feedback.export()][-1]
    assert (row.correct_label, row.reviewed, row.image_kept) == ("class_4", True, False)
    undone = await reviewer.client.post(f"/review/{row.id}/undo", data={"at": "0"})
    assert undone.headers["location"] == "/review?at=0"
    assert await reviewer.shown() == sha256(PICTURE)


async def test_picking_what_the_model_says_is_right(reviewer: Reviewer) -> None:
    """No correction, a confirmation."""
    await reviewer.say(PICTURE, "7", verdict="wrong")
    best = re.findall(r'name="pick" value="(class_\d)"', await reviewer.page())[0]
    await reviewer.decide(pick=best)
    row = [row async for row in reviewer.feedback.export()][-1]
    assert (row.verdict, row.predicted_class, row.correct_label) == ("right", best, None)


async def test_what_cannot_be_told_does_not_come_again(reviewer: Reviewer) -> None:
    """Until somebody says something new about it."""
    await reviewer.say(PICTURE, "7", verdict="wrong")
    answer = await reviewer.decide(say="cannot tell")
    assert "Noted: cannot tell." in (await reviewer.client.get(answer.headers["location"])).text
    assert await reviewer.shown() is None
    await reviewer.say(PICTURE, "8", verdict="wrong")
    assert await reviewer.shown() == sha256(PICTURE)


@pytest.mark.parametrize(
    ("label", "words"), [("", "say what it is"), ("tab\there", "cannot be shown"), ("x" * 201, "at most 200")]
)
async def test_a_label_that_cannot_be_one_is_said_at_its_field(reviewer: Reviewer, label: str, words: str) -> None:
    """The picture stays, and nothing is stored."""
    await reviewer.say(PICTURE, "7", verdict="wrong")
    answer = await reviewer.decide(correct_label=label)
    assert answer.status_code in (400, 422)
    assert words in answer.text
    assert f"/review/pictures/{sha256(PICTURE)}" in answer.text
    assert len([row async for row in reviewer.feedback.export()]) == 1


async def test_markup_in_what_people_said_is_only_text(reviewer: Reviewer) -> None:
    """The page is an admin's (T39)."""
    for who, label in (("7", "<script>alert(1)</script>"), ("8", "dog")):
        await reviewer.say(PICTURE, who, verdict="wrong", correct_label=label)
    assert "<script>alert" not in await reviewer.page()


async def test_below_the_number_it_says_how_many_labels_are_missing(reviewer: Reviewer) -> None:
    """And does not train when it is asked to all the same."""
    await reviewer.say(PICTURE, "7", verdict="right")
    assert "1 new label since" in await reviewer.page()
    refused = await reviewer.client.post("/review/train", data={"name": "pets"})
    assert refused.status_code == 409
    assert "99 more labels" in refused.text


async def test_enough_labels_make_a_button(tmp_path: Path) -> None:
    """What was said before the last training from feedback does not count."""
    async with reviewing(tmp_path, retrain_after=2) as reviewer:
        await reviewer.say(png(1), "7", verdict="right")
        run = Runs(tmp_path).create(Order(name="pets", source="feedback.csv", origin="feedback"))
        run.write(run.status().model_copy(update={"state": "done"}))
        await reviewer.say(png(2), "7", verdict="wrong", correct_label="class_3")
        assert "1 new label since" in await reviewer.page()
        await reviewer.say(png(3), "7", verdict="right")
        page = await reviewer.page()
        assert "Train from 2 new labels" in page
        assert 'value="pets"' in page


async def test_training_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """One picture of a new class is too little to learn from."""
    async with reviewing(tmp_path, retrain_after=1) as reviewer:
        await reviewer.say(PICTURE, "7", verdict="right")
        refused = await reviewer.client.post("/review/train", data={"name": "pets"})
        assert refused.status_code == 400
        assert "none is left" in refused.text
