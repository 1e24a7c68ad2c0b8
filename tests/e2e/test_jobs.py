"""Bulk jobs in a real Chromium: bring an archive, watch it, take the answers away, correct one.

Whatever a test does, it fails when a page breaks its Content-Security-Policy, throws, or opens a dialog.
"""

import asyncio
import csv
import io
import re
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, FilePayload, Page, expect

from service.app import Glimt
from service.errors import StoreFull
from service.store.job_rows import JobItem
from tests.e2e.browsing import Visitors, in_the_one_chromium, visiting
from tests.fakes import GatedEngine
from tests.world import PASSWORD, make_app, png, signed_in, under_uvicorn

EVIL = "<img src=x onerror=alert(1)>.png"

pytestmark = in_the_one_chromium


@dataclass(frozen=True)
class Bench:
    """The service with its gated engine, and who looks at it."""

    app: Glimt
    engine: GatedEngine
    visitors: Visitors

    async def person(self, name: str) -> Page:
        """A page of somebody who has an account, made now, and has signed in."""
        await signed_in(self.app, name)
        page = await self.visitors.page()
        await page.goto("/sign-in?next=/jobs")
        await page.get_by_label("E-mail").fill(f"{name}@example.org")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Show me thousands")).to_be_visible()
        await page.wait_for_load_state()  # before its scripts nothing listens
        return page


@pytest_asyncio.fixture(loop_scope="session")
async def bench(tmp_path: Path, chromium: Browser) -> AsyncIterator[Bench]:
    engine = GatedEngine()
    app = make_app(tmp_path, engine)
    async with under_uvicorn(app) as port, visiting(chromium, f"http://localhost:{port}") as visitors:
        try:
            yield Bench(app, engine, visitors)
        finally:
            engine.gate.set()


def archive(name: str, files: Mapping[str, bytes]) -> FilePayload:
    """A zip to be chosen."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for member, data in files.items():
            made.writestr(member, data)
    return {"name": name, "mimeType": "application/zip", "buffer": file.getvalue()}


PICTURES = {
    "class_1/one.png": png(10),
    "class_9/two.png": png(200),
    f"class_9/{EVIL}": png(250),
    "class_9/torn.png": png(30)[:50],
    "readme.txt": b"no picture",
}


async def bring(page: Page, zip_file: FilePayload, state: str) -> None:
    """Choose an archive and wait until its row is in this state."""
    await page.locator("#zip").set_input_files(zip_file)
    row = page.locator(".job", has_text=zip_file["name"])
    await expect(row).to_have_attribute("data-state", state)


async def test_upload_watch_cancel_download_correct(bench: Bench) -> None:
    """One archive runs to its end before one's eyes, another is cancelled; the first one's CSV holds every entry, and
    a wrong answer is corrected. Somebody else sees none of it."""
    ada = await bench.person("ada")
    await bring(ada, archive("first.zip", PICTURES), "done")
    first = ada.locator(".job", has_text="first.zip")
    await expect(first.locator(".job-said")).to_have_text(re.compile(r"Done\s+· 5 files\s+· 1 failed\s+· 1 skipped"))

    bench.engine.gate.clear()
    await bring(ada, archive("second.zip", PICTURES | {"new.png": png(99)}), "running")
    second = ada.locator(".job", has_text="second.zip")
    await second.get_by_role("button", name="Cancel second.zip").click()
    await expect(second).to_have_attribute("data-state", "cancelled")
    bench.engine.gate.set()

    async with ada.expect_download() as waiting:
        await first.get_by_role("link", name="Download first.zip as CSV").click()
    download = await waiting.value
    assert download.suggested_filename == "first.csv"
    rows = list(csv.DictReader(io.StringIO(await asyncio.to_thread(Path(await download.path()).read_text))))
    assert [(row["name"], row["status"]) for row in rows][2:] == [
        (f"class_9/{EVIL}", "done"),
        ("class_9/torn.png", "failed"),
        ("readme.txt", "skipped"),
    ]

    await first.get_by_role("link", name="first.zip", exact=True).click()
    await expect(ada.get_by_role("heading", name="How often I was right")).to_be_visible()
    tile = ada.locator(".tile", has=ada.get_by_alt_text("class_1/one.png"))
    await expect(tile.locator("img")).to_have_js_property("naturalWidth", 12)
    await tile.locator("a").click()
    dialog = ada.get_by_role("dialog")
    await dialog.locator("summary", has_text="Wrong").click()
    await dialog.get_by_role("combobox").fill("class 1")
    await dialog.get_by_role("button", name="Send").click()
    await expect(dialog.locator(".thanks")).to_contain_text("class 1")
    assert bench.app.house.pictures.path(sha256(PICTURES["class_1/one.png"]).hexdigest()).exists()
    await dialog.get_by_role("button", name="Close").click()
    await expect(tile.locator(".corrected")).to_be_visible()
    await ada.reload()  # once, it was forgotten then
    await expect(tile.locator(".corrected")).to_contain_text("you said “class 1”")
    await tile.locator("a").click()
    await expect(dialog.locator(".thanks")).to_contain_text("class 1")
    await dialog.get_by_role("button", name="Close").click()

    bo = await bench.person("bo")
    await expect(bo.get_by_text("Nothing to work through yet")).to_be_visible()
    answer = await bo.goto(ada.url)
    assert answer is not None
    assert answer.status == 404


async def test_the_sheet_is_filtered_and_turned_in_place(bench: Bench) -> None:
    """Sixty to a page; by label, by confidence, errors only; the address says what is shown, so a link can be sent."""
    page = await bench.visitors.page()
    await page.goto("/jobs")
    files = {f"{n:03}.png": png(3 * n) for n in range(64)} | {"torn.png": png(1)[:40]}
    await bring(page, archive("many.zip", files), "done")
    await page.get_by_role("link", name="many.zip", exact=True).click()
    await expect(page.locator(".tile")).to_have_count(60)
    await page.get_by_role("link", name="Next").click()
    await expect(page.locator(".tile")).to_have_count(5)
    await page.get_by_role("link", name="First").click()
    await expect(page.locator(".tile")).to_have_count(60)
    await page.get_by_label("Show").select_option("Errors only")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator(".tile")).to_have_count(1)
    await expect(page.locator(".tile")).to_contain_text("image corrupt")
    await page.get_by_label("Show").select_option("Everything")
    await page.get_by_label("Sure at most, %").fill("0")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("Nothing here is so.")).to_be_visible()


async def test_its_own_page_follows_a_job(bench: Bench) -> None:
    """A running job's page has its progress, and the whole of it once it is over, without a hand."""
    bench.engine.gate.clear()
    page = await bench.visitors.page()
    await page.goto("/jobs")
    await bring(page, archive("slow.zip", PICTURES), "running")
    await page.get_by_role("link", name="slow.zip", exact=True).click()
    await expect(page.locator(".job progress")).to_be_visible()
    await expect(page.get_by_role("heading", name="How often I was right")).to_have_count(0)
    bench.engine.gate.set()
    await expect(page.get_by_role("heading", name="How often I was right")).to_be_visible()
    await expect(page.locator(".job")).to_have_attribute("data-state", "done")


async def test_the_first_answers_come_by_themselves(bench: Bench) -> None:
    """The sheet of a running job said that there were none until somebody loaded the page anew."""
    bench.engine.gate.clear()
    page = await bench.visitors.page()
    await page.goto("/jobs")
    await bring(page, archive("slow.zip", {"a.png": png(1), "b.txt": b"-"}), "running")
    await page.get_by_role("link", name="slow.zip", exact=True).click()
    await expect(page.get_by_text("No answers yet.")).to_be_visible()
    await page.get_by_label("Show").focus()
    row = JobItem(position=1, name="b.txt", status="skipped", code="not_a_picture")
    await bench.app.house.own_jobs.store.checkpoint(1, [row])
    await expect(page.locator(".tile")).to_have_count(1)
    await expect(page.locator(".job")).to_have_attribute("data-state", "running")
    await expect(page.get_by_label("Show")).to_be_focused()
    await page.get_by_role("link", name="Show those that have come since").click()
    await expect(page.locator(".tile")).to_have_count(1)


async def test_cancelled_on_its_own_page(bench: Bench) -> None:
    """The page showed its name twice and none of its pictures until somebody loaded it anew."""
    page = await bench.visitors.page()
    await page.goto("/jobs")
    await bring(page, archive("first.zip", {"a.png": png(1)}), "done")
    bench.engine.gate.clear()
    await bring(page, archive("slow.zip", PICTURES | {"b.png": png(3)}), "running")
    await page.get_by_role("link", name="slow.zip", exact=True).click()
    await page.get_by_role("button", name="Cancel slow.zip").click()
    await expect(page.locator(".job")).to_have_attribute("data-state", "cancelled")
    await expect(page.locator(".job-name")).to_have_count(0)
    await expect(page.get_by_text("No answers yet.")).to_have_count(0)


async def test_removed_in_another_window(bench: Bench) -> None:
    """Its own page said for ever that it was running, and asked each second. The list drops its row."""
    bench.engine.gate.clear()
    page = await bench.visitors.page()
    await page.goto("/jobs")
    await bring(page, archive("slow.zip", PICTURES), "running")
    own = await page.context.new_page()
    await own.goto("/jobs")
    await own.get_by_role("link", name="slow.zip", exact=True).click()
    await page.request.delete("/api/jobs/1?remove=true")
    await expect(page.locator(".job")).to_have_count(0)
    await own.bring_to_front()
    await expect(own.locator(".job")).to_have_count(0)
    await expect(own.get_by_text("There is no such job of yours")).to_be_visible()


async def test_why_it_cannot_be_cancelled(bench: Bench) -> None:
    """The reason was thrown away, and the row only turned grey."""
    bench.engine.gate.clear()
    page = await bench.visitors.page()
    await page.goto("/jobs")
    await bring(page, archive("slow.zip", PICTURES), "running")
    end = bench.app.house.own_jobs.store.end

    async def full(*_: object, **__: object) -> bool:
        raise StoreFull("There is no room on the disk.")

    bench.app.house.own_jobs.store.end = full  # type: ignore[method-assign]
    for _ in range(2):
        async with page.expect_response("**/cancel*") as answer:  # the first one's words still stand
            await page.get_by_role("button", name="Cancel slow.zip").click()
        assert (await answer.value).status == 507
        await expect(page.locator("#jobs .problem")).to_have_count(1)
    await expect(page.locator("#jobs .problem")).to_contain_text("There is no room on the disk.")
    await expect(page.locator(".job")).to_have_attribute("data-state", "running")
    bench.app.house.own_jobs.store.end = end  # type: ignore[method-assign]
    await page.get_by_role("button", name="Cancel slow.zip").click()
    await expect(page.locator(".job")).to_have_attribute("data-state", "cancelled")
    await expect(page.locator("#jobs .problem")).to_have_count(0)


async def test_what_is_no_zip_is_refused_at_once(bench: Bench) -> None:
    """A picture is not sent; something that only is called a zip becomes a job that says what is wrong."""
    page = await bench.visitors.page()
    await page.goto("/jobs")
    await page.locator("#zip").set_input_files({"name": "cat.png", "mimeType": "image/png", "buffer": png(1)})
    await expect(page.locator("#zips-message")).to_contain_text("cat.png is no zip")
    await bring(page, {"name": "fake.zip", "mimeType": "application/zip", "buffer": b"not a zip"}, "failed")
    await expect(page.locator(".job")).to_contain_text("The archive cannot be used")


async def test_without_javascript(bench: Bench) -> None:
    """Send, look, correct, remove: plain forms and links."""
    page = await bench.visitors.page(java_script_enabled=False)
    await page.goto("/jobs")
    await page.locator("#zip").set_input_files(archive("plain.zip", PICTURES))
    await page.get_by_role("button", name="Send").click()
    async with asyncio.timeout(20):
        while await page.locator(".job").get_attribute("data-state") != "done":
            await page.goto("/jobs")
    await page.get_by_role("link", name="plain.zip", exact=True).click()
    await page.locator(".tile a").first.click()
    await page.locator("summary", has_text="Wrong").click()
    await page.get_by_label("What is it?").fill("class 1")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".thanks")).to_contain_text("class 1")
    await page.goto("/jobs")
    await page.locator("summary", has_text="Remove").click()
    await page.get_by_role("button", name="Remove for good").click()
    await expect(page.get_by_text("Nothing to work through yet")).to_be_visible()


@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_no_sideways_scrolling(bench: Bench, width: int) -> None:
    """Long names are cut, and a wide matrix scrolls within its plate."""
    page = await bench.visitors.page()
    await page.set_viewport_size({"width": width, "height": 800})
    await page.goto("/jobs")
    files = {f"class_{n % 10}/{'a' * 100}{n}.png": png(20 * n) for n in range(12)}
    await bring(page, archive("a" * 200 + ".zip", files), "done")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    await page.locator(".job-name a").click()
    await expect(page.locator(".matrix")).to_be_attached()
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
