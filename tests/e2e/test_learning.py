"""The whole loop in a real Chromium, against a real process with real models: teach, serve, classify, correct, teach
again from the corrections, compare, serve that, roll back."""

import io
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, FilePayload, Page, expect

from tests.e2e.browsing import in_the_one_chromium, visiting
from tests.e2e.test_process import glimt_serve

pytestmark = in_the_one_chromium
LEARNS_MS = 200_000
COLOURS = {"red": (200, 60, 60), "blue": (60, 60, 200)}
_random = np.random.default_rng(0)


def picture(colour: str) -> bytes:
    """A noisy one; no two are alike."""
    pixels = np.clip(_random.normal(COLOURS[colour], 30, (40, 40, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def labelled(each: int) -> FilePayload:
    """A zip with a folder for each colour."""
    with zipfile.ZipFile(file := io.BytesIO(), "w") as made:
        for colour in COLOURS:
            for number in range(each):
                made.writestr(f"{colour}/{number}.png", picture(colour))
    return {"name": "colours.zip", "mimeType": "application/zip", "buffer": file.getvalue()}


@pytest_asyncio.fixture(loop_scope="session")
async def admin(
    tmp_path: Path, prepared_models: None, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Page]:
    """A page of the demo account, of a service that trains again after one new label."""
    for name, value in (("GLIMT_DEMO_ACCOUNT", "1"), ("GLIMT_RETRAIN_AFTER", "1"), ("GLIMT_AUTH", "open")):
        monkeypatch.setenv(name, value)
    async with (
        glimt_serve(tmp_path, "--model", "demo") as (_, client),
        visiting(chromium, str(client.base_url).replace("127.0.0.1", "localhost")) as visitors,
    ):
        page = await visitors.page()
        await page.goto("/sign-in?next=/training")
        await page.get_by_label("E-mail").fill("admin@example.com")
        await page.get_by_label("Password").fill("admin")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Teach me")).to_be_visible()
        await page.wait_for_load_state()
        yield page


async def teach(page: Page) -> str:
    """From a zip to a version, NAME:VERSION."""
    await page.locator("#zip").set_input_files(labelled(15))
    await expect(page.get_by_label("Learn from", exact=True)).to_contain_text("colours.zip")
    await page.get_by_label("Name", exact=True).fill("colours")
    await page.get_by_text("How it learns").click()
    await page.get_by_label("Backbone", exact=True).select_option("cnn")
    await page.get_by_label("Epochs", exact=True).fill("3")
    await page.get_by_text("Everything else").click()
    await page.get_by_label("Size", exact=True).fill("32")
    await page.get_by_role("button", name="Train", exact=True).click()
    return await published(page)


async def published(page: Page) -> str:
    """The version, once the run on the page is done."""
    await expect(page.get_by_role("heading", name="The verdict")).to_be_visible(timeout=LEARNS_MS)
    found = re.search(r"colours:[0-9a-f]{12}", await page.locator(".verdict").inner_text())
    assert found
    return found[0]


async def answering(page: Page) -> str:
    """Which model the health light names now."""
    await page.goto("/models")
    return (await page.locator(".models .drop .lead").inner_text()).strip().replace(" ", ":")


async def serve(page: Page, version: str) -> None:
    """By the button on the page of models; also what was not better."""
    await page.goto("/models")
    more = page.get_by_label(f"What to do with {version}", exact=True)
    await more.click()
    row = page.locator(".version").filter(has=more)
    sure = row.get_by_role("checkbox")
    if await sure.count():
        await sure.check()
    await row.get_by_role("button", name="Serve it").click()
    await expect(page.get_by_text("It answers from now on.")).to_be_visible(timeout=60_000)


async def test_the_whole_loop(admin: Page) -> None:
    """One person, one browser, no command line."""
    page = admin
    first = await teach(page)
    await serve(page, first)
    assert await answering(page) == first

    await page.goto("/")
    await page.locator("input[type=file]").first.set_input_files(
        {"name": "new.png", "mimeType": "image/png", "buffer": picture("red")}
    )
    card = page.locator(".card").first
    await expect(card.locator(".reading").first).to_be_visible(timeout=30_000)
    said = await card.locator(".reading").first.get_attribute("data-label")
    await card.get_by_text("Wrong", exact=True).click()
    await card.get_by_role("combobox").fill("blue" if said == "red" else "red")
    await card.get_by_role("button", name=re.compile("Send|Correct|That is it")).click()
    await expect(card.locator(".thanks")).to_be_visible()

    await page.goto("/review")
    await page.get_by_role("button", name=re.compile("Train from 1 new label")).click()
    second = await published(page)
    assert second != first
    await expect(page.get_by_role("heading", name="Against the model that was served")).to_be_visible()

    await page.goto(f"/models/{first}/compare?other={second}")
    await expect(page.get_by_role("row", name=re.compile("accuracy"))).to_be_visible()
    await serve(page, second)
    assert await answering(page) == second
    await page.get_by_role("button", name=f"Roll back to {first}").click()
    await expect(page.get_by_text("What answered before answers again.")).to_be_visible(timeout=60_000)
    assert await answering(page) == first
