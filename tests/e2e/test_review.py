"""Reviewing in a real Chromium: by keyboard, and without scripts; and what a model looked at, in a card.

Whatever a test does, it fails when a page breaks its Content-Security-Policy, throws, or opens a dialog.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from service.app import WEB, Glimt, create_app
from service.http.access import SESSION_COOKIE
from service.models.choice import choose
from service.settings import Settings
from service.store.feedback import FeedbackRow, FeedbackStore
from tests.e2e.browsing import Visitors, in_the_one_chromium, visiting
from tests.world import make_app, png, session, under_uvicorn

pytestmark = in_the_one_chromium


@dataclass(frozen=True)
class Bench:
    """The service, with four pictures that wait to be reviewed."""

    app: Glimt
    visitors: Visitors

    async def reviewer(self, *, scripts: bool = True) -> Page:
        page = await self.visitors.page(java_script_enabled=scripts)
        secret = await session(self.app, "boss", "admin")
        await page.context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": self.visitors.address}])
        await page.goto("/review")
        return page

    async def said(self) -> list[FeedbackRow]:
        return [row async for row in FeedbackStore(self.app.house.database).export()]


@pytest_asyncio.fixture(loop_scope="session")
async def bench(tmp_path: Path, chromium: Browser) -> AsyncIterator[Bench]:
    app = make_app(tmp_path, review_pictures=9)
    async with under_uvicorn(app) as port, visiting(chromium, f"http://localhost:{port}") as visitors:
        async with httpx2.AsyncClient(base_url=visitors.address) as client:
            for red in (1, 2, 3, 4):
                await client.post("/predict", content=png(red))
        await app.house.doubts.flush()
        yield Bench(app, visitors)


async def picture(page: Page) -> str | None:
    return await page.locator(".sight .preview img").get_attribute("src")


async def test_a_row_of_pictures_is_reviewed_by_keyboard_alone(bench: Bench) -> None:
    """Right, another of the five, one's own word, cannot tell; skip and undo go forth and back."""
    page = await bench.reviewer()
    best = await page.locator(".choice").first.get_attribute("value")
    first = await picture(page)
    await page.keyboard.press("s")
    await page.wait_for_url("**at=1")  # and until its script is there
    assert await picture(page) != first
    await page.goto("/review")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**done=1")
    await page.keyboard.press("u")
    await page.wait_for_url("**at=0")
    assert await picture(page) == first
    assert await bench.said() == []
    await page.keyboard.press("y")
    await page.wait_for_url("**done=2")
    third = await page.locator(".choice").nth(2).get_attribute("value")
    await page.keyboard.press("3")
    await page.wait_for_url("**done=3")
    await page.keyboard.press("/")
    await page.keyboard.type("y3 a new kind")  # a label: none of its letters decides anything
    await page.keyboard.press("Enter")
    await page.wait_for_url("**done=4")
    await page.keyboard.press("x")
    await expect(page.get_by_role("heading", name="Nothing to look at")).to_be_visible()
    said = [(row.verdict, row.correct_label or row.predicted_class, row.feedback) for row in await bench.said()]
    assert said[:3] == [("right", best, ""), ("wrong", third, ""), ("wrong", "y3 a new kind", "")]
    assert said[3][::2] == (None, "cannot tell")


async def test_all_of_it_works_without_scripts(bench: Bench) -> None:
    """By buttons and a link."""
    page = await bench.reviewer(scripts=False)
    await page.get_by_role("link", name="Skip s").click()
    await page.locator(".choice").nth(1).click()
    await expect(page.get_by_text("Noted: ")).to_be_visible()
    await page.get_by_label("Something else").fill("a thing")
    await page.get_by_role("button", name="That is it").click()
    await page.wait_for_url("**done=2")
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    assert [row.verdict for row in await bench.said()] == ["wrong"]


@pytest.mark.usefixtures("prepared_models")
async def test_a_card_shows_what_the_demo_model_looked_at(tmp_path: Path, chromium: Browser) -> None:
    """And the picture again; programs get the same for a class by its name."""
    settings = Settings(model="demo", data_dir=tmp_path, port=0)
    app, seven = create_app(settings, choose(settings)), WEB / "static/examples/digit-7.png"
    async with under_uvicorn(app) as port, visiting(chromium, f"http://localhost:{port}") as visitors:
        page = await visitors.page()
        await page.goto("/")
        await page.locator("#file").set_input_files(seven)
        await page.get_by_role("button", name="What did it look at?").click()
        await expect(page.get_by_role("button", name="Show the picture")).to_be_visible(timeout=60_000)
        shown = page.locator(".card .preview img")
        await expect(shown).to_have_attribute("alt", "Where the model looked: digit-7.png in grey, with what spoke for "
                                              "the answer in colour")  # fmt: skip
        assert await shown.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 32
        await page.get_by_role("button", name="Show the picture").click()
        await expect(shown).to_have_attribute("alt", "Preview of digit-7.png")
        async with httpx2.AsyncClient(base_url=visitors.address, timeout=60) as client:
            answer = await client.post("/api/explain?label=digit_3", files={"file": ("a.png", seven.read_bytes())})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.content.startswith(b"\x89PNG")
