"""Accounts in a real Chromium, on a real server with a fake engine.

Whatever a test does, it fails when a page breaks its Content-Security-Policy, throws, or opens a dialog.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from service.app import Glimt
from service.store.users import Role
from tests.e2e.browsing import Visitors, in_the_one_chromium, visiting
from tests.world import PASSWORD, make_app, png, under_uvicorn

pytestmark = in_the_one_chromium


@dataclass(frozen=True)
class House:
    """The service and who comes to it."""

    app: Glimt
    address: str
    visitors: Visitors

    async def made(self, name: str, role: Role = "user") -> None:
        """An account with PASSWORD."""
        email = f"{name}@example.org"
        await self.app.house.accounts.create(name=name.capitalize(), email=email, password=PASSWORD, role=role)


@asynccontextmanager
async def open_house(folder: Path, chromium: Browser, **changes: Any) -> AsyncIterator[House]:
    """Open."""
    app = make_app(folder, **changes)
    async with under_uvicorn(app) as port, visiting(chromium, f"http://127.0.0.1:{port}") as visitors:
        yield House(app, visitors.address, visitors)


@pytest_asyncio.fixture(loop_scope="session")
async def house(tmp_path: Path, chromium: Browser) -> AsyncIterator[House]:
    async with open_house(tmp_path, chromium) as house:
        yield house


async def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """The form, filled in and sent."""
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()


async def choose(page: Page) -> None:
    """A picture, as the browser's dialog gives it, once the page's script listens."""
    await expect(page.locator("#file")).to_be_attached()
    await page.wait_for_load_state()
    await page.locator("#file").set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": png(7)})


async def classify(page: Page) -> Locator:
    """A picture's card, answered."""
    await choose(page)
    card = page.locator('.card[data-state="answered"]')
    await expect(card).to_have_count(1)
    return card


async def feedback(page: Page) -> Any:
    """What GET /feedback/ lists to who is signed in here."""
    return await (await page.request.get("/feedback/")).json()


async def test_from_signing_up_to_signing_out(house: House) -> None:
    """Somebody makes an account, classifies, says it was right, signs out; another one sees none of it."""
    page = await house.visitors.page()
    await page.goto("/")
    await page.get_by_role("link", name="Sign in").click()
    await page.get_by_role("link", name="Make an account").click()
    await page.get_by_label("Name").fill("Ada")
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Make the account").click()
    await expect(page.get_by_role("button", name="Ada: your account")).to_be_visible()

    card = await classify(page)
    await card.get_by_role("button", name="Right").click()
    await expect(card.locator(".thanks")).to_contain_text("Noted as right")
    (row,) = await feedback(page)
    assert row["image_file_name"] == "mine.png"

    await page.get_by_role("button", name="Ada: your account").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert await feedback(page) == []

    await house.made("bob")
    other = await house.visitors.page()
    await other.goto("/sign-in")
    await sign_in(other, "bob@example.org")
    await expect(other.get_by_role("button", name="Bob: your account")).to_be_visible()
    assert await feedback(other) == []
    assert (await other.request.delete(f"/feedback/{row['id']}")).status == 404


async def test_a_wrong_password_says_so(house: House) -> None:
    """At the field, announced, the address kept; the right one then goes where one was going."""
    await house.made("ada")
    page = await house.visitors.page()
    await page.goto("/sign-in?next=/ops")
    await sign_in(page, "ada@example.org", "wrong horse")
    await expect(page.get_by_role("alert")).to_have_text("No account has this e-mail address with this password.")
    await expect(page.get_by_label("E-mail")).to_have_value("ada@example.org")
    await expect(page.get_by_label("Password")).to_be_focused()
    await expect(page.get_by_label("Password")).to_have_accessible_description(
        "No account has this e-mail address with this password."
    )
    await sign_in(page, "ada@example.org")
    await expect(page).to_have_url(f"{house.address}/ops")


@pytest.mark.parametrize("wanted", ["https://evil.test/", "//evil.test/", "/%5Cevil.test/", "/%09/evil.test/"])
async def test_next_cannot_leave_the_site(house: House, wanted: str) -> None:
    """Whatever a link to the form says, one arrives at our own page."""
    await house.made("ada")
    page = await house.visitors.page()
    await page.goto(f"/sign-in?next={wanted}")
    await sign_in(page, "ada@example.org")
    await expect(page).to_have_url(f"{house.address}/")


async def test_where_a_login_is_required(tmp_path: Path, chromium: Browser) -> None:
    """Every page sends one to sign in, and back; a page whose session ends under it finds the form by itself."""
    async with open_house(tmp_path, chromium, auth="required") as house:
        await house.made("ada")
        page = await house.visitors.page()
        await page.goto("/ops?a=1")
        await expect(page).to_have_url(f"{house.address}/sign-in?next=%2Fops%3Fa%3D1")
        await sign_in(page, "ada@example.org")
        await expect(page).to_have_url(f"{house.address}/ops?a=1")
        await expect(page.locator("#live .figures")).to_be_visible()
        await page.context.clear_cookies()
        await expect(page).to_have_url(f"{house.address}/sign-in?next=%2Fops%3Fa%3D1")


async def test_a_picture_after_the_session_has_ended(tmp_path: Path, chromium: Browser) -> None:
    """The card says that one is not signed in, with the way to the form."""
    async with open_house(tmp_path, chromium, auth="required") as house:
        await house.made("ada")
        page = await house.visitors.page()
        await page.goto("/")
        await sign_in(page, "ada@example.org")
        await expect(page.locator("#file")).to_be_attached()
        await page.context.clear_cookies()
        await choose(page)
        await page.locator(".card .problem").get_by_role("link", name="Sign in").click()
        await expect(page).to_have_url(f"{house.address}/sign-in")


async def test_a_token_is_ready_to_be_copied(house: House) -> None:
    """It has the focus, selected whole, and is gone after a reload; revoking it needs no script."""
    await house.made("ada")
    page = await house.visitors.page()
    await page.goto("/sign-in?next=/account")
    await sign_in(page, "ada@example.org")
    await page.get_by_label("What it is for").fill("porch")
    await page.get_by_role("button", name="Make a token").click()
    secret = page.get_by_label("The token “porch”")
    await expect(secret).to_be_focused()
    assert await page.evaluate("document.getSelection().toString()") == await secret.input_value()
    await page.goto("/account")
    await expect(secret).to_have_count(0)
    await page.get_by_role("button", name="Revoke porch").click()
    await expect(page.get_by_role("status")).to_contain_text("revoked")
    await expect(page.get_by_role("button", name="Revoke porch")).to_have_count(0)


async def test_people_without_javascript(house: House) -> None:
    """An admin makes an account and deletes it, each with one plain form; deleting takes two steps."""
    await house.made("ada", "admin")
    page = await house.visitors.page(java_script_enabled=False)
    await page.goto("/sign-in")
    await sign_in(page, "ada@example.org")
    await page.get_by_role("button", name="Ada: your account").click()
    await page.get_by_role("link", name="People").click()
    await page.get_by_label("Name").fill("Eve")
    await page.get_by_label("E-mail").fill("eve@example.org")
    await page.get_by_role("button", name="Make an account").click()
    await expect(page.get_by_label("The password of Eve (eve@example.org)")).to_have_value(
        re.compile(r"(\w{5}-){3}\w{5}")
    )
    await expect(page.get_by_role("button", name="Delete Eve")).to_be_hidden()
    await page.locator("summary", has_text="Change").click()
    await page.locator("summary", has_text="Delete").click()
    await page.get_by_role("button", name="Delete Eve").click()
    await expect(page.get_by_role("status")).to_contain_text("deleted")
    await expect(page.get_by_text("eve@example.org")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
async def test_no_sideways_scrolling(house: House, width: int) -> None:
    """Nothing is wider than the window, with the longest names and everything open."""
    accounts, name = house.app.house.accounts, "W" * 50
    ada = await accounts.create(name=name, email=f"{'w' * 60}@example.org", password=PASSWORD, role="admin")
    await accounts.create(name=name, email=f"{'v' * 60}@example.org", password=PASSWORD)
    await accounts.create_token(ada, "t" * 100)
    page = await house.visitors.page(viewport={"width": width, "height": 800})
    await page.goto("/sign-in?next=/account")
    await sign_in(page, ada.email)
    for path in ("/account", "/people", "/"):
        await page.goto(path)
        for summary in await page.locator("main summary").all():
            await summary.click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await page.get_by_role("button", name=f"{name}: your account").click()
        await expect(page.locator("#who-menu")).to_be_in_viewport(ratio=1)
