"""The live panel in a real Chromium, on a real server with a gated fake engine: its queue stands when told to.

Whatever a test does, it fails when the page breaks its Content-Security-Policy, throws, or opens a dialog.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from service.app import Glimt
from service.http.access import SESSION_COOKIE
from tests.e2e.browsing import in_the_one_chromium, visiting
from tests.fakes import GatedEngine
from tests.world import make_app, operator, png, session, under_uvicorn, until

UNKNOWN = "No answer: whether it changed is not known."

pytestmark = in_the_one_chromium


@dataclass(frozen=True)
class Bench:
    """The service, its engine, a client, and the panel open in a browser."""

    app: Glimt
    engine: GatedEngine
    client: httpx2.AsyncClient
    page: Page

    async def limits(self) -> tuple[int, float]:
        """What GET /api/batching says: the largest batch and the window."""
        document = (await self.client.get("/api/batching")).json()
        return document["max_batch"], document["max_wait_ms"]


@asynccontextmanager
async def panel(folder: Path, chromium: Browser, max_batch: int | str = 16, **options: Any) -> AsyncIterator[Bench]:
    """/ops, open."""
    engine = GatedEngine()
    app = make_app(folder, engine, max_batch=max_batch, max_wait_ms=5, max_pending=40)
    async with under_uvicorn(app) as port, visiting(chromium, f"http://127.0.0.1:{port}") as visitors:
        address, faults = visitors.address, visitors.faults
        page = await visitors.page(**options)
        secret = await session(app, "boss", "admin")
        await page.context.add_cookies([{"name": SESSION_COOKIE, "value": secret, "url": address}])
        if options.get("java_script_enabled", True):
            await page.expose_function("reportViolation", lambda directive: faults.append(f"policy: {directive}"))
            await page.add_init_script(
                "document.addEventListener('securitypolicyviolation', (e) => reportViolation(e.violatedDirective))"
            )
        await page.goto("/ops")
        try:
            async with httpx2.AsyncClient(base_url=address, timeout=30, headers=operator(folder)) as client:
                yield Bench(app, engine, client, page)
        finally:
            engine.gate.set()


@pytest_asyncio.fixture(loop_scope="session")
async def bench(tmp_path: Path, chromium: Browser) -> AsyncIterator[Bench]:
    async with panel(tmp_path, chromium) as bench:
        yield bench


async def test_a_slider_acts_at_once(bench: Bench) -> None:
    """By keyboard: a step of the slider moves its number, the service obeys, and the page says so."""
    slider = bench.page.get_by_role("slider", name="Largest batch")
    await slider.press("ArrowLeft")
    await expect(bench.page.locator("#batching-said")).to_have_text(
        "Done. At most 12 pictures in a batch, window 5 ms."
    )
    assert await bench.limits() == (12, 5.0)
    await expect(bench.page.locator("#max_batch")).to_have_value("12")
    await expect(slider).to_have_attribute("aria-valuetext", "12")
    await expect(slider).to_be_focused()

    await bench.page.get_by_role("slider", name="Window").press("End")
    await expect(bench.page.locator("#batching-said")).to_contain_text("window 1000 ms")
    assert await bench.limits() == (12, 1000.0)


async def test_a_number_moves_its_slider(bench: Bench) -> None:
    """A value between two stops can be typed; the slider follows to the stop below."""
    await bench.page.get_by_role("spinbutton", name="Largest batch").fill("7")
    await bench.page.keyboard.press("Enter")
    await expect(bench.page.locator("#batching-said")).to_contain_text("At most 7 pictures")
    assert await bench.limits() == (7, 5.0)
    await expect(bench.page.get_by_role("slider", name="Largest batch")).to_have_value("4")  # 6, of 1 2 3 4 6 8


async def test_a_senseless_number(bench: Bench) -> None:
    """The reason is said where the answer would be, and nothing changes."""
    await bench.page.get_by_role("spinbutton", name="Window").fill("2000")
    await bench.page.keyboard.press("Enter")
    await expect(bench.page.locator("#batching-said .problem")).to_contain_text("less than or equal to 1000")
    assert await bench.limits() == (16, 5.0)


async def test_figures_move_without_reloading(bench: Bench) -> None:
    """The queue fills and empties before one's eyes."""
    await bench.page.evaluate("() => { window.stays = true }")
    places = bench.page.locator(".plate", has_text="Queue").locator(".reading-score")
    await expect(places.first).to_have_text("0 of 40")
    bench.engine.gate.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.client.post("/predict", content=png(0)))
        await until(lambda: bench.app.house.classifier.stats().running == 1)
        for n in range(1, 10):
            tasks.create_task(bench.client.post("/predict", content=png(n)))
        await expect(places.first).to_have_text("9 of 40")
        await expect(places.last).to_have_text("1 of 16")
        bench.engine.gate.set()
    await expect(places.first).to_have_text("0 of 40")
    await expect(bench.page.locator(".ends dd").first).to_have_text("10")
    assert await bench.page.evaluate("() => window.stays")


async def test_the_dials_follow_a_change_from_elsewhere(bench: Bench) -> None:
    """glimt tune or another tab moves them and the sentence too, but no dial under the hands of whoever is at it."""
    await expect(bench.page.locator("#batching-said")).to_be_empty()
    await bench.client.patch("/api/batching", json={"max_batch": 4})
    await expect(bench.page.locator("#max_batch")).to_have_value("4")
    await expect(bench.page.get_by_role("slider", name="Largest batch")).to_have_value("3")
    await expect(bench.page.locator("#live .said")).to_contain_text("At most 4 pictures")
    await expect(bench.page.locator("#batching-said")).to_be_empty()
    await bench.page.locator("#max_wait_ms").fill("77")
    await bench.client.patch("/api/batching", json={"max_batch": 2, "max_wait_ms": 8})
    await expect(bench.page.locator("#live .said")).to_contain_text("At most 2 pictures in a batch, window 8 ms")
    await expect(bench.page.locator("#max_batch")).to_have_value("2")
    await expect(bench.page.locator("#max_wait_ms")).to_have_value("77")


async def test_one_dial_does_not_overwrite_the_other(bench: Bench) -> None:
    """What somebody else changed a moment ago, unseen here, stays when the other dial is moved."""
    await bench.page.get_by_role("checkbox", name="Hold the figures").check()
    await bench.client.patch("/api/batching", json={"max_batch": 4})
    await bench.page.get_by_role("slider", name="Window").press("End")
    await expect(bench.page.locator("#batching-said")).to_contain_text("window 1000 ms")
    assert await bench.limits() == (4, 1000.0)


async def test_two_dials_moved_at_once(bench: Bench) -> None:
    """The second move replaces the first one's request, and takes its value along."""
    hung = asyncio.Event()

    async def first(route: Route) -> None:
        hung.set()

    await bench.page.route("**/ops/batching", first, times=1)
    await bench.page.get_by_role("slider", name="Largest batch").press("ArrowLeft")
    await asyncio.wait_for(hung.wait(), 5)
    await bench.page.get_by_role("slider", name="Window").press("End")
    await expect(bench.page.locator("#batching-said")).to_contain_text("At most 12 pictures in a batch, window 1000 ms")


async def test_back_to_automatic(tmp_path: Path, chromium: Browser) -> None:
    """The button comes with a choice by hand, and goes with the calibration's, which the dials show again."""
    async with panel(tmp_path, chromium, max_batch="auto") as bench:
        back = bench.page.get_by_role("button", name="Back to automatic")
        before = await bench.limits()
        await expect(back).to_be_hidden()
        await bench.page.get_by_role("spinbutton", name="Window").fill("77")
        await bench.page.keyboard.press("Enter")
        await back.click()
        await expect(bench.page.locator("#batching-said")).to_contain_text("as measured at warm-up")
        await expect(bench.page.locator("#max_wait_ms")).to_have_value("5")
        assert await bench.limits() == before
        await bench.page.get_by_role("slider", name="Window").focus()
        await expect(back).to_be_hidden()


async def test_held_figures(bench: Bench) -> None:
    """They stand still as long as one wants, and then are new at once."""
    hold = bench.page.get_by_role("checkbox", name="Hold the figures")
    await hold.check()
    await bench.page.evaluate("""() => {
        window.polls = 0
        window.sent = 0
        document.addEventListener("htmx:beforeRequest", (event) => { polls += event.target.id === "live" })
        document.addEventListener("htmx:beforeSend", (event) => { sent += event.target.id === "live" })
    }""")
    await bench.page.wait_for_function("() => window.polls >= 2")
    assert await bench.page.evaluate("() => window.sent") == 0
    await hold.uncheck()
    await bench.page.wait_for_function("() => window.sent > 0")


async def test_a_service_that_hangs(bench: Bench) -> None:
    """No answer at all is told as such after five seconds: by the figures, by the light, and to a change."""
    for path in ("**/ops/live", "**/ops/batching", "**/health-light"):
        await bench.page.route(path, lambda route: None)
    await bench.page.evaluate("() => htmx.trigger('#health', 'refresh')")
    await bench.page.get_by_role("slider", name="Window").press("End")
    await expect(bench.page.locator(".live-lost")).to_be_visible(timeout=15_000)
    await expect(bench.page.locator("#batching-said")).to_have_text(UNKNOWN, timeout=15_000)
    await expect(bench.page.locator(".health-words")).to_have_text("Not reachable", timeout=15_000)


async def test_a_change_that_is_cut_off(bench: Bench) -> None:
    """A broken connection says nothing about what the service did."""
    await bench.page.route("**/ops/batching", lambda route: route.abort())
    await bench.page.get_by_role("slider", name="Window").press("End")
    await expect(bench.page.locator("#batching-said")).to_have_text(UNKNOWN)


async def test_nobody_answers(bench: Bench) -> None:
    """Old figures say that they are old, and the panel recovers with the service."""
    await bench.page.route("**/ops/live", lambda route: route.abort())
    await expect(bench.page.locator(".live-lost")).to_be_visible()
    await bench.page.unroute("**/ops/live")
    await expect(bench.page.locator(".live-lost")).to_be_hidden()


async def test_the_poll_sleeps_with_the_tab(bench: Bench) -> None:
    """A hidden tab asks nothing; shown again it asks at once."""
    await bench.page.evaluate("""() => {
        window.asked = []
        document.addEventListener("htmx:beforeSend", () => asked.push(document.hidden))
        Object.defineProperty(document, "hidden", { value: true, configurable: true })
        htmx.trigger("#live", "refresh")
        Object.defineProperty(document, "hidden", { value: false, configurable: true })
        document.dispatchEvent(new Event("visibilitychange"))
    }""")
    await bench.page.wait_for_function("() => window.asked.length > 0")
    assert not any(await bench.page.evaluate("() => window.asked"))


async def test_without_javascript(tmp_path: Path, chromium: Browser) -> None:
    """The numbers and a button do it, and no slider stands there dead."""
    async with panel(tmp_path, chromium, java_script_enabled=False) as bench:
        await expect(bench.page.get_by_role("slider")).to_have_count(0)
        await bench.page.get_by_role("spinbutton", name="Largest batch").fill("3")
        await bench.page.get_by_role("button", name="Apply").click()
        await expect(bench.page.get_by_role("checkbox")).to_have_count(0)
        await expect(bench.page.locator("#live .said")).to_contain_text("At most 3 pictures")
        await expect(bench.page.locator("#max_batch")).to_have_value("3")
        assert await bench.limits() == (3, 5.0)


async def test_no_sideways_scrolling(bench: Bench) -> None:
    """From phone to desktop nothing is wider than the window."""
    for width in (360, 390, 768, 1280):
        await bench.page.set_viewport_size({"width": width, "height": 800})
        assert await bench.page.evaluate("document.documentElement.scrollWidth") <= width
