"""Other people's accounts, as an admin's browser without JavaScript sees them."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from service.accounts.accounts import Accounts
from service.http import people_pages
from service.store.users import User
from tests.world import PASSWORD, in_process, make_app


@dataclass(frozen=True)
class World:
    """An admin's browser, and somebody to administer."""

    accounts: Accounts
    browser: httpx2.AsyncClient
    bob: User


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    app = make_app(tmp_path)
    async with in_process(app) as browser:
        accounts = app.house.accounts
        await accounts.create(name="ada", email="ada@example.org", password=PASSWORD, role="admin")
        bob = await accounts.create(name="Bob <b>", email="bob@example.org", password=PASSWORD)
        await browser.post("/sign-in", data={"email": "ada@example.org", "password": PASSWORD})
        yield World(accounts, browser, bob)


def secret(page: httpx2.Response) -> str:
    """The password that stands on the page."""
    assert page.headers["cache-control"] == "no-store"
    (found,) = re.findall(r'class="secret"[^>]* value="([^"]+)"', page.text)
    return str(found)


async def test_only_for_admins(world: World) -> None:
    """Others are told so and how to become one, and nobody is listed to them."""
    await world.browser.post("/sign-out")
    await world.browser.post("/sign-in", data={"email": "bob@example.org", "password": PASSWORD})
    page = await world.browser.get("/people", headers={"accept": "text/html"})
    assert page.status_code == 403
    assert "glimt users set-role EMAIL admin" in page.text
    assert "ada@example.org" not in page.text


async def test_everybody_is_listed(world: World) -> None:
    """Names as text, e-mail addresses, never a hash; nothing to change at one's own row."""
    page = (await world.browser.get("/people")).text
    assert "Bob &lt;b&gt;" in page
    assert "ada@example.org" in page
    assert "argon2" not in page
    assert re.findall(r"/people/(\d+)/delete", page) == [str(world.bob.id)]


async def test_many_people(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has an end, and a link to the next."""
    monkeypatch.setattr(people_pages, "PEOPLE_PER_PAGE", 1)
    first = (await world.browser.get("/people")).text
    assert "bob@example.org" not in first
    (link,) = re.findall(r'href="(/people\?after=\d+)"', first)
    second = (await world.browser.get(link)).text
    assert "bob@example.org" in second
    assert "?after=" not in second


@pytest.mark.parametrize("after", ["x", "-1", "²", "9" * 18, "9" * 5000])
async def test_senseless_pages(world: World, after: str) -> None:
    """They are answered like any other."""
    assert (await world.browser.get("/people", params={"after": after})).status_code == 200


async def test_making_an_account(world: World) -> None:
    """The password that was made is shown this once, and signs in."""
    form = {"name": "Eve", "email": "eve@example.org", "role": "admin"}
    page = await world.browser.post("/people", data=form)
    assert "Eve" in page.text
    user = await world.accounts.sign_in("eve@example.org", secret(page), "x")
    assert user.role == "admin"
    assert 'class="secret"' not in (await world.browser.get("/people")).text


@pytest.mark.parametrize(
    ("wrong", "at"),
    [({"name": ""}, "name"), ({"email": "x"}, "email"), ({"email": "bob@example.org"}, "email"),
     ({"role": "king"}, "role must be user or admin")],
)  # fmt: skip
async def test_making_an_account_with_something_wrong(world: World, wrong: dict[str, str], at: str) -> None:
    """Said at its field, and nobody is made."""
    page = await world.browser.post("/people", data={"name": "Eve", "email": "eve@example.org"} | wrong)
    assert page.status_code in (400, 422)
    assert f'aria-describedby="{at}-wrong"' in page.text or at in page.text
    assert 'role="alert"' in page.text
    assert len([user async for user in world.accounts.list()]) == 2


async def test_making_somebody_an_admin(world: World) -> None:
    """At once, and the page says so."""
    answer = await world.browser.post(f"/people/{world.bob.id}/role", data={"role": "admin"})
    assert answer.headers["location"] == "/people?done=role"
    assert (await world.accounts.get(world.bob.id)).role == "admin"
    assert "The role is changed" in (await world.browser.get("/people?done=role")).text


async def test_a_new_password(world: World) -> None:
    """Shown this once; the old one and what was signed in with it are of no use."""
    session = await world.accounts.open_session(world.bob, "bobs", None)
    page = await world.browser.post(f"/people/{world.bob.id}/password")
    await world.accounts.sign_in("bob@example.org", secret(page), "x")
    assert await world.accounts.session_id(session) is None


async def test_deleting_somebody(world: World) -> None:
    """Gone; a second click says that there is no such account."""
    answer = await world.browser.post(f"/people/{world.bob.id}/delete")
    assert answer.headers["location"] == "/people?done=deleted"
    assert "bob@example.org" not in (await world.browser.get("/people")).text
    assert (await world.browser.post(f"/people/{world.bob.id}/delete")).status_code == 404


async def test_the_last_admin_stays(world: World) -> None:
    """By whatever form it is tried: the page says why not."""
    (ada,) = [user.id async for user in world.accounts.list() if user.role == "admin"]
    for path, form in ((f"/people/{ada}/role", {"role": "user"}), (f"/people/{ada}/delete", {})):
        page = await world.browser.post(path, data=form)
        assert page.status_code == 409
        assert "last admin" in page.text
    assert (await world.accounts.get(ada)).role == "admin"
