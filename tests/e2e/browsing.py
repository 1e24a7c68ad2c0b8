"""What tests in a real Chromium have in common. What goes wrong unseen in any page fails the test."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Dialog, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox"]

in_chromium = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install the package `chromium`"),
]
in_the_one_chromium = [*in_chromium, pytest.mark.asyncio(loop_scope="session")]
"""For tests that take the fixture `chromium`: it belongs to one event loop."""


class Visitors:
    """Whoever comes to the service at `address` during a test, each with a browser profile of their own."""

    def __init__(self, chromium: Browser, address: str, leaving: AsyncExitStack) -> None:
        self.address = address
        self.faults: list[str] = []
        self._chromium = chromium
        self._leaving = leaving

    async def page(self, **options: Any) -> Page:
        """No cookies, nothing open. `options`: of Playwright's new_context."""
        context = await self._chromium.new_context(base_url=self.address, reduced_motion="reduce", **options)
        self._leaving.push_async_callback(context.close)
        page = await context.new_page()
        page.on("console", lambda said: self.faults.append(said.text) if "Security Policy" in said.text else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", self._on_dialog)
        return page

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        await dialog.dismiss()


@asynccontextmanager
async def visiting(chromium: Browser, address: str) -> AsyncIterator[Visitors]:
    """They leave at the end. Fails when a page broke its Content-Security-Policy, threw, or opened a dialog."""
    async with AsyncExitStack() as leaving:
        visitors = Visitors(chromium, address, leaving)
        yield visitors
    assert visitors.faults == []
