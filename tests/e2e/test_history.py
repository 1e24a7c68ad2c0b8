"""The history in a real Chromium: what one person had classified, and another cannot see.

Whatever a test does, it fails when a page breaks its Content-Security-Policy, throws, or opens a dialog.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, Page, Route, expect

from service.app import Glimt
from service.http.access import SESSION_COOKIE
from tests.e2e.browsing import Visitors, in_the_one_chromium, visiting
from tests.world import PASSWORD, make_app, png, signed_in, under_uvicorn

EVIL = "<img src=x onerror=alert(1)>.png"

pytestmark = in_the_one_chromium


@dataclass(frozen=True)
class Bench:
    """The service, which keeps all pictures, and who looks at it."""

    app: Glimt
    visitors: Visitors

    async def person(self, name: str, *, scripts: bool = True) -> Page:
        """A page of somebody's own browser, who has signed in with the form; `name` is made now."""
        await signed_in(self.app, name)
        page = await self.visitors.page(java_script_enabled=scripts)
        await page.goto("/sign-in?next=/history")
        await page.get_by_label("E-mail").fill(f"{name}@example.org")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="History")).to_be_visible()
        assert [cookie.get("name") for cookie in await page.context.cookies()] == [SESSION_COOKIE]
        return page


@pytest_asyncio.fixture(loop_scope="session")
async def bench(tmp_path: Path, chromium: Browser) -> AsyncIterator[Bench]:
    app = make_app(tmp_path, keep_images="all")
    async with under_uvicorn(app) as port, visiting(chromium, f"http://localhost:{port}") as visitors:
        yield Bench(app, visitors)


async def classify(page: Page, *names: str) -> None:
    """Give pictures of these names to the first page, and wait for their cards."""
    await page.goto("/")
    files: list[FilePayload] = [
        {"name": name, "mimeType": "image/png", "buffer": png(50 + 60 * number)} for number, name in enumerate(names)
    ]
    await page.locator("#file").set_input_files(files)
    await expect(page.locator('.card[data-state="answered"]')).to_have_count(len(names))


async def test_one_sees_ones_own_and_another_none_of_it(bench: Bench) -> None:
    """Ada's pictures are in her history, with names as text and thumbnails that load; Bo's is empty."""
    ada = await bench.person("ada")
    await expect(ada.get_by_text("Nothing to look back on yet")).to_be_visible()
    await classify(ada, "beach.png", EVIL)
    await ada.goto("/history")
    await expect(ada.locator(".past")).to_have_count(2)
    await expect(ada.locator(".past", has_text="beach.png")).to_have_count(1)
    await expect(ada.locator(".past", has_text=EVIL)).to_have_count(1)
    for picture in await ada.locator("img.past-picture").all():
        await expect(picture).to_have_js_property("naturalWidth", 12)

    bo = await bench.person("bo")
    await expect(bo.locator(".past")).to_have_count(0)
    await expect(bo.get_by_text("Nothing to look back on yet")).to_be_visible()


async def test_look_again_and_delete_in_place(bench: Bench) -> None:
    """Then and now stand in the row; a deleted row goes without a reload, and the focus moves to the next."""
    page = await bench.person("ada")
    await classify(page, "one.png", "two.png")
    await page.goto("/history")
    row = page.locator(".past", has_text="one.png")
    await row.get_by_role("button", name="Look again").click()
    await expect(row.locator(".then-now")).to_contain_text("Now")
    await page.evaluate("window.here = true")
    await page.get_by_role("button", name="Delete").and_(page.locator(".past button")).first.click()
    await expect(page.locator(".past")).to_have_count(1)
    await expect(page.locator(".past button", has_text="Delete")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".past")).to_have_count(0)
    await expect(page.get_by_text("Nothing to look back on yet")).to_be_visible()
    await expect(page.locator("#history-title")).to_be_focused()
    assert await page.evaluate("window.here")


async def test_what_fails_is_said_in_its_row(bench: Bench) -> None:
    """A picture that has gone meanwhile, and a service that does not answer: the row stays and says it."""
    page = await bench.person("ada")
    await classify(page, "one.png")
    await page.goto("/history")
    (kept,) = (bench.app.house.pictures.path("0" * 64).parents[1]).glob("*/*.bin")
    kept.unlink()
    await page.get_by_role("button", name="Look again").click()
    await expect(page.locator(".past .problem")).to_contain_text("not kept")

    async def lost(route: Route) -> None:
        await route.abort()

    await page.route("**/delete", lost)
    await page.locator(".past").get_by_role("button", name="Delete").click()
    await expect(page.locator(".past .problem")).to_contain_text("could not reach the service")


async def test_without_javascript(bench: Bench) -> None:
    """Find, look again, delete one, delete all: plain forms."""
    page = await bench.person("ada", scripts=False)
    await page.goto("/")
    pictures: list[FilePayload] = [
        {"name": f"{n}.png", "mimeType": "image/png", "buffer": png(60 * n)} for n in range(3)
    ]
    await page.locator("#file").set_input_files(pictures)
    await page.get_by_role("button", name="Classify").click()
    await page.goto("/history")
    await page.get_by_label("Only labels with").fill("class ")
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator(".past")).to_have_count(3)
    await page.get_by_role("button", name="Look again at 1.png").click()
    await expect(page.locator(".past", has_text="1.png").locator(".then-now")).to_be_visible()
    await page.locator(".past", has_text="2.png").get_by_role("button", name="Delete").click()
    await expect(page.locator(".past", has_text="2.png")).to_have_count(0)
    await expect(page.get_by_label("Only labels with")).to_have_value("class ")
    await page.locator("summary", has_text="Delete all").click()
    await page.get_by_role("button", name="Delete all for good").click()
    await expect(page.get_by_text("Nothing to look back on yet")).to_be_visible()


@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_no_sideways_scrolling(bench: Bench, width: int) -> None:
    """A long name is cut, with then and now open."""
    page = await bench.person("ada")
    await page.set_viewport_size({"width": width, "height": 800})
    await classify(page, "a" * 200 + ".png")
    await page.goto("/history")
    await page.get_by_role("button", name="Look again").click()
    await expect(page.locator(".then-now")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
