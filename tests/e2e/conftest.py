"""One Chromium for all tests: to start one takes longer than most of what is tried in it."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.e2e.browsing import ARGUMENTS, CHROMIUM

expect.set_options(timeout=20_000)  # a page may be slow to come while the other half of the tests runs beside it


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()
