"""Training in a real Chromium: bring labelled pictures, teach a small network for real, watch it, look at its report.

Whatever a test does, it fails when a page breaks its Content-Security-Policy, throws, or opens a dialog.
"""

import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, FilePayload, Page, expect

from service.app import Glimt
from service.training import processes
from tests.e2e.browsing import Visitors, in_the_one_chromium, visiting
from tests.training import finished, pretended_trainer
from tests.world import PASSWORD, make_app, signed_in, under_uvicorn

pytestmark = in_the_one_chromium


@dataclass(frozen=True)
class School:
    """The service, its data, and who looks at it."""

    app: Glimt
    folder: Path
    visitors: Visitors

    async def admin(self) -> Page:
        """A page of an admin who has signed in."""
        await signed_in(self.app, "boss", role="admin")
        page = await self.visitors.page()
        await page.goto("/sign-in?next=/training")
        await page.get_by_label("E-mail").fill("boss@example.org")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Teach me")).to_be_visible()
        await page.wait_for_load_state()  # before its scripts nothing listens
        return page


@pytest_asyncio.fixture(loop_scope="session")
async def school(tmp_path: Path, chromium: Browser) -> AsyncIterator[School]:
    app = make_app(tmp_path)
    async with under_uvicorn(app) as port, visiting(chromium, f"http://localhost:{port}") as visitors:
        yield School(app, tmp_path, visitors)


def colours() -> FilePayload:
    """A zip of noisy pictures of two colours."""
    random, file = np.random.default_rng(0), io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, mean in (("red", (200, 60, 60)), ("blue", (60, 60, 200))):
            for number in range(12):
                pixels = np.clip(random.normal(mean, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(picture := io.BytesIO(), "PNG")
                made.writestr(f"{name}/{number}.png", picture.getvalue())
    return {"name": "colours.zip", "mimeType": "application/zip", "buffer": file.getvalue()}


async def start(page: Page, name: str) -> None:
    """Bring the pictures and press the button."""
    await page.locator("#zip").set_input_files(colours())
    await expect(page.locator(".dataset")).to_contain_text("24 pictures in 2 classes")
    await expect(page.get_by_label("Learn from", exact=True)).to_contain_text("colours.zip")
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_text("How it learns").click()
    await page.get_by_label("Backbone", exact=True).select_option("cnn")
    await page.get_by_label("Epochs", exact=True).fill("2")
    await page.get_by_label("Augment", exact=True).select_option("yes")
    await page.get_by_text("Everything else").click()
    await page.get_by_label("Size", exact=True).fill("32")
    await page.get_by_role("button", name="Train", exact=True).click()
    await expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


async def test_a_network_is_taught_before_ones_eyes(school: School) -> None:
    """From a zip to a report, without a reload by hand; then its matrix and its tables are used."""
    page = await school.admin()
    await start(page, "colours")
    await expect(page.get_by_role("heading", name="The verdict")).to_be_visible(timeout=150_000)
    assert await page.locator(".chart").count() == 7
    for picture in await page.get_by_role("img").filter(has_not=page.locator("title")).all():
        if await picture.evaluate("it => it.tagName") == "IMG":
            await picture.scroll_into_view_if_needed()
            await expect(picture).not_to_have_js_property("naturalWidth", 0)
    await expect(page.locator(".verdict")).to_contain_text("It is now colours:")

    cell = page.locator("#chart-confusion svg a").first
    await cell.click()
    await expect(page.get_by_role("dialog").locator(".tile").first).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    figures = page.locator("#chart-accuracy details")
    await figures.locator("summary").click()
    await expect(figures.get_by_role("row")).to_have_count(3)

    await page.goto("/training")
    await expect(page.locator(".run")).to_have_attribute("data-state", "done")


async def test_it_is_watched_cancelled_and_gone_on_with(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new epoch is drawn by itself, a table that is open stays so, and the focus stays on its button."""
    monkeypatch.setattr(processes, "trainer", pretended_trainer.command)
    page = await school.admin()
    await start(page, "once")
    figures = page.locator("#chart-loss details")
    await figures.locator("summary").click()
    await page.get_by_role("button", name="Cancel once").focus()
    (run,) = school.app.house.trainings.runs.all()
    run.add(pretended_trainer.EPOCH)
    await expect(figures.get_by_role("row")).to_have_count(3)
    await expect(page.get_by_role("button", name="Cancel once")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Go on where it was").click()
    await expect(page.locator(".run")).to_have_attribute("data-state", "done")


@pytest.mark.parametrize("width", [390, 1280])
async def test_nothing_sticks_out(school: School, width: int) -> None:
    """No page of training scrolls sideways, on a telephone least of all."""
    run, failed = finished.done(school.folder), finished.failed(school.folder)
    page = await school.admin()
    await page.set_viewport_size({"width": width, "height": 844})
    for path in ("", f"/{run.id}", f"/{failed.id}", f"/{run.id}/cell?truth=cat&label=cat"):
        await page.goto(f"/training{path}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
