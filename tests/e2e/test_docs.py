"""The API's viewer in a real Chromium: offline, under the page's policy, and it can try what it shows.

Whatever a test does, it fails when the page breaks its Content-Security-Policy, throws, or asks another host.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from service.app import Glimt
from service.http.access import SESSION_COOKIE
from tests.e2e.browsing import in_the_one_chromium, visiting
from tests.world import make_app, png, session, signed_in, under_uvicorn

pytestmark = in_the_one_chromium


@dataclass(frozen=True)
class Viewer:
    """The service, and /docs open in a browser."""

    app: Glimt
    page: Page

    async def opened(self, name: str) -> Locator:
        """An operation, unfolded."""
        operation = self.page.locator(f"[id='operations-{name}']")
        await operation.locator(".opblock-summary-control").click()
        await expect(operation.locator("button.execute")).to_be_visible()
        return operation


@asynccontextmanager
async def viewer(folder: Path, chromium: Browser, **options: Any) -> AsyncIterator[Viewer]:
    """/docs, open. To ask another host is a fault."""
    app = make_app(folder)
    async with under_uvicorn(app) as port, visiting(chromium, f"http://127.0.0.1:{port}") as visitors:
        own, faults = visitors.address, visitors.faults
        page = await visitors.page(**options)
        page.on("request", lambda asked: None if asked.url.startswith(own) else faults.append(asked.url))
        await page.goto("/docs")
        await expect(page.locator(".opblock").first).to_be_visible()
        yield Viewer(app, page)


@pytest_asyncio.fixture(loop_scope="session")
async def docs(tmp_path: Path, chromium: Browser) -> AsyncIterator[Viewer]:
    async with viewer(tmp_path, chromium) as docs:
        yield docs


async def test_it_shows_every_operation(docs: Viewer) -> None:
    """As many as the document has."""
    document = await (await docs.page.request.get("/openapi.json")).json()
    await expect(docs.page.locator(".opblock")).to_have_count(sum(map(len, document["paths"].values())))


@pytest.mark.parametrize("media", ["multipart/form-data", "image/*"])
async def test_a_picture_can_be_tried(docs: Viewer, media: str) -> None:
    """Chosen as a file and sent, in a form or alone, it comes back with its labels."""
    predict = await docs.opened("predict-post_predict")
    await predict.locator(".body-param-content-type select, .content-type-wrapper select").first.select_option(media)
    await predict.locator("input[type=file]").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": png(3)}
    )
    await predict.locator("button.execute").click()
    await expect(predict.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    await expect(predict.locator(".live-responses-table .highlight-code").first).to_contain_text('"success": true')


async def test_a_session_counts(docs: Viewer) -> None:
    """Who is signed in on the page is so in the viewer."""
    secret = await session(docs.app)
    await docs.page.context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": docs.page.url}])
    me = await docs.opened("accounts-get_api_me")
    await me.locator("button.execute").click()
    await expect(me.locator(".live-responses-table .highlight-code").first).to_contain_text("ada@example.org")


async def test_a_pasted_token_counts(docs: Viewer) -> None:
    """A token given to `Authorize` is sent along, also with a request that changes something."""
    token = (await signed_in(docs.app, "boss", "admin"))["authorization"].removeprefix("Bearer ")
    await docs.page.locator("button.authorize").first.click()
    form = docs.page.locator(".auth-container", has_text="bearer").first
    await form.locator("input").fill(token)
    await form.locator("button[type=submit]").click()
    await docs.page.locator(".dialog-ux button.btn-done").first.click()
    change = await docs.opened("operations-patch_api_batching")
    await change.locator("textarea.body-param__text").fill('{"max_batch": 7}')
    await change.locator("button.execute").click()
    await expect(change.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert docs.app.house.classifier.stats().max_batch == 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_telephone(tmp_path: Path, chromium: Browser, scheme: str) -> None:
    """At 390 pixels nothing is wider than the page, and the scheme is the reader's."""
    async with viewer(tmp_path, chromium, viewport={"width": 390, "height": 844}, color_scheme=scheme) as docs:
        await docs.opened("predict-post_predict")
        assert await docs.page.evaluate("document.documentElement.scrollWidth") == 390
        classes = await docs.page.evaluate("document.documentElement.className")
        assert ("dark-mode" in classes) == (scheme == "dark")
