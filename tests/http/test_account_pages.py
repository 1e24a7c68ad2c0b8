"""Signing in and one's own account, as a browser without JavaScript sees it."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.app import Glimt
from service.store.users import Role, User
from tests.world import PASSWORD, in_process, make_app

ADA = "ada@example.org"


@dataclass(frozen=True)
class World:
    """The service, and a browser at it."""

    app: Glimt
    browser: httpx2.AsyncClient

    async def made(self, name: str = "ada", role: Role = "user") -> User:
        """An account with PASSWORD."""
        email = f"{name}@example.org"
        return await self.app.house.accounts.create(name=name, email=email, password=PASSWORD, role=role)

    async def signs_in(self, email: str = ADA, password: str = PASSWORD, **more: str) -> httpx2.Response:
        """The form, sent."""
        return await self.browser.post("/sign-in", data={"email": email, "password": password} | more)

    async def ada(self, role: Role = "user") -> User:
        """Ada's account, signed in."""
        user = await self.made(role=role)
        assert (await self.signs_in()).status_code == 303
        return user


@asynccontextmanager
async def open_world(folder: Path, **changes: Any) -> AsyncIterator[World]:
    app = make_app(folder, **changes)
    async with in_process(app) as browser:
        yield World(app, browser)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


def cookie(answer: httpx2.Response) -> "Morsel[str]":
    """The session cookie an answer sets."""
    return SimpleCookie(answer.headers["set-cookie"])["glimt_session"]


def complaint(page: httpx2.Response) -> tuple[str, str]:
    """At which input the page complains, and what it says there."""
    found = re.search(r'aria-describedby="([\w-]+)-wrong".*?role="alert">([^<]+)<', page.text, re.S)
    assert found, page.text
    return found[1], html.unescape(found[2])


async def test_signing_in(world: World) -> None:
    """A session in a cookie that no script reads, and to the page that was wanted."""
    await world.made()
    answer = await world.signs_in(next="/ops?a=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/ops?a=1")
    morsel = cookie(answer)
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "lax", "/")
    assert (morsel["max-age"], morsel["secure"]) == (str(14 * 86_400), "")
    assert ADA in (await world.browser.get("/account")).text


async def test_the_cookie_is_secure_over_https(world: World) -> None:
    """Over https it is never sent in the clear."""
    await world.made()
    answer = await world.browser.post("https://localhost/sign-in", data={"email": ADA, "password": PASSWORD})
    assert cookie(answer)["secure"]


async def test_each_signing_in_is_a_new_session(world: World) -> None:
    """The secret the browser had before is of no use afterwards: nobody can plant one."""
    await world.ada()
    old = world.browser.cookies["glimt_session"]
    await world.signs_in()
    assert world.browser.cookies["glimt_session"] != old
    world.browser.cookies.clear()
    answer = await world.browser.get("/account", headers={"cookie": f"glimt_session={old}"})
    assert answer.status_code == 401


async def test_next_cannot_leave_the_site(world: World) -> None:
    """What is no path of ours becomes the first page; so it is for who is signed in already."""
    await world.made()
    assert (await world.signs_in(next="//evil.test/")).headers["location"] == "/"
    again = await world.browser.get("/sign-in", params={"next": "https://evil.test/"})
    assert (again.status_code, again.headers["location"]) == (303, "/")


@pytest.mark.parametrize("email", [ADA, "nobody@example.org"])
async def test_a_wrong_password(world: World, email: str) -> None:
    """401, the same words whether there is such an account, the address kept and the password not."""
    await world.made()
    page = await world.signs_in(email=email, password="wrong horse", next="/ops")
    assert page.status_code == 401
    assert complaint(page) == ("password", "No account has this e-mail address with this password.")
    assert f'value="{email}"' in page.text
    assert 'name="next" value="/ops"' in page.text
    assert "wrong horse" not in page.text
    assert "set-cookie" not in page.headers


async def test_too_many_wrong_passwords(tmp_path: Path) -> None:
    """429 with Retry-After, said at the field."""
    async with open_world(tmp_path, login_rate="1/hour") as world:
        await world.made()
        await world.signs_in(password="wrong")
        page = await world.signs_in()
    assert page.status_code == 429
    assert int(page.headers["retry-after"]) > 0
    assert "wrong passwords" in complaint(page)[1]


async def test_an_empty_form(world: World) -> None:
    """422, and it counts as no try."""
    page = await world.signs_in(password="")
    assert page.status_code == 422
    assert "Type your e-mail" in complaint(page)[1]


async def test_what_was_typed_is_text(world: World) -> None:
    """Markup in the form comes back as text."""
    page = await world.signs_in(email='"><script>alert(1)</script>', password="x", next='"><b>')
    assert "<script>alert" not in page.text
    assert '"><b>' not in page.text


@pytest.mark.parametrize("role", ["user", "admin"])
async def test_who_makes_the_first_account(world: World, role: Role) -> None:
    """As long as nobody administers the service, the form says how that is changed."""
    await world.made(role=role)
    assert ("glimt users create" in (await world.browser.get("/sign-in")).text) == (role == "user")


async def test_signing_out(world: World) -> None:
    """The session ends here and at the service; doing it twice is no fault."""
    await world.ada()
    secret = world.browser.cookies["glimt_session"]
    answer = await world.browser.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "glimt_session" not in world.browser.cookies
    stolen = await world.browser.get("/account", headers={"cookie": f"glimt_session={secret}"})
    assert stolen.status_code == 401
    assert (await world.browser.post("/sign-out")).status_code == 303


async def test_signing_up(world: World) -> None:
    """Where people register themselves: an account that is no admin's, signed in with it."""
    form = {"name": "Ada", "email": "Ada@Example.org", "password": PASSWORD, "next": "/ops", "role": "admin"}
    answer = await world.browser.post("/sign-up", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ops")
    me = (await world.browser.get("/api/me")).json()
    assert (me["name"], me["email"], me["role"]) == ("Ada", ADA, "user")


@pytest.mark.parametrize(
    ("wrong", "at", "says"),
    [
        ({"name": "A"}, "name", "name must have 2 to 50 printable characters."),
        ({"email": "nonsense"}, "email", "An email address must have an @-sign."),
        ({"email": "bob@example.org"}, "email", "There is an account of bob@example.org already."),
        ({"password": "short"}, "password", "password must have 8 to 200 characters; this one has 5."),
        ({"password": ""}, "password", "password must have 8 to 200 characters; this one has 0."),
    ],
)
async def test_signing_up_with_something_wrong(world: World, wrong: dict[str, str], at: str, says: str) -> None:
    """The words stand at the field they are about; what was typed stays, but the password."""
    await world.made("bob")
    form = {"name": "Ada", "email": ADA, "password": PASSWORD} | wrong
    page = await world.browser.post("/sign-up", data=form)
    assert page.status_code in (400, 422)
    field, words = complaint(page)
    assert field == at
    assert says in words
    assert f'value="{form["email"]}"' in page.text
    assert PASSWORD not in page.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_signing_up_where_admins_make_accounts(tmp_path: Path, method: str) -> None:
    """404 with the reason, and no link to it."""
    async with open_world(tmp_path, registration="off") as world:
        page = await world.browser.request(method, "/sign-up")
        form = await world.browser.get("/sign-in")
    assert page.status_code == 404
    assert "made by admins" in page.text
    assert "/sign-up" not in form.text


async def test_another_password(world: World) -> None:
    """Other sessions end, this browser goes on, and only the new password signs in."""
    user = await world.ada()
    other = await world.app.house.accounts.open_session(user, "elsewhere", None)
    form = {"old": PASSWORD, "new": "a better horse"}
    answer = await world.browser.post("/account/password", data=form)
    assert answer.headers["location"] == "/account?done=password"
    assert "Your password is changed" in (await world.browser.get("/account?done=password")).text
    assert await world.app.house.accounts.session_id(other) is None
    world.browser.cookies.clear()
    assert (await world.signs_in()).status_code == 401
    assert (await world.signs_in(password="a better horse")).status_code == 303


@pytest.mark.parametrize(
    ("form", "at", "status"),
    [
        ({"old": "wrong horse", "new": "a better horse"}, "old", 401),
        ({"old": PASSWORD, "new": "short"}, "new", 422),
        ({"old": ""}, "new", 422),
    ],
)
async def test_another_password_with_something_wrong(world: World, form: dict[str, str], at: str, status: int) -> None:
    """Said at its field, and nothing has changed."""
    await world.ada()
    page = await world.browser.post("/account/password", data=form)
    assert (page.status_code, complaint(page)[0]) == (status, at)
    assert (await world.signs_in()).status_code == 303


async def test_a_token_is_shown_once(world: World) -> None:
    """Its secret stands on the answer, works, and is on no page later."""
    await world.ada()
    page = await world.browser.post("/account/tokens", data={"name": "porch <b>", "days": "30"})
    (secret,) = re.findall(r'value="(glimt_[\w-]+)"', page.text)
    assert page.headers["cache-control"] == "no-store"
    assert "porch &lt;b&gt;" in page.text
    later = (await world.browser.get("/account")).text
    assert secret not in later
    ends = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d")
    assert ends in later
    world.browser.cookies.clear()
    me = await world.browser.get("/api/me", headers={"authorization": f"Bearer {secret}"})
    assert me.json()["email"] == ADA


@pytest.mark.parametrize(
    ("form", "at"),
    [({"name": " "}, "token-name"), ({"days": ""}, "token-name"), ({"name": "x", "days": "0"}, "token-days"),
     ({"name": "x", "days": "3651"}, "token-days"), ({"name": "x", "days": "-1"}, "token-days"),
     ({"name": "x", "days": "²"}, "token-days"), ({"name": "x", "days": "9" * 5000}, "token-days")],
)  # fmt: skip
async def test_a_senseless_token(world: World, form: dict[str, str], at: str) -> None:
    """422 at the field, and no token is made."""
    user = await world.ada()
    page = await world.browser.post("/account/tokens", data=form)
    assert (page.status_code, complaint(page)[0]) == (422, at)
    assert await world.app.house.accounts.tokens(user.id) == ()


async def test_a_token_is_revoked(world: World) -> None:
    """It is gone from the list; a second click is no fault."""
    user = await world.ada()
    secret, token = await world.app.house.accounts.create_token(user, "porch")
    for _ in range(2):
        answer = await world.browser.post(f"/account/tokens/{token.id}/revoke")
        assert answer.headers["location"] == "/account?done=revoked"
    world.browser.cookies.clear()
    assert (await world.browser.get("/api/me", headers={"authorization": f"Bearer {secret}"})).status_code == 401


async def test_nobody_ends_what_is_anothers(world: World) -> None:
    """Another account's token and session stay, by whatever number they are called."""
    bob = await world.made("bob")
    accounts = world.app.house.accounts
    _, token = await accounts.create_token(bob, "bobs")
    session = await accounts.session_id(await accounts.open_session(bob, "bobs", None))
    await world.ada()
    await world.browser.post(f"/account/tokens/{token.id}/revoke")
    await world.browser.post(f"/account/sessions/{session}/end")
    assert (len(await accounts.tokens(bob.id)), len(await accounts.sessions(bob.id))) == (1, 1)


async def test_another_browser_is_signed_out(world: World) -> None:
    """The list tells this browser from others; another one's session can be ended from here."""
    user = await world.ada()
    accounts = world.app.house.accounts
    other = await accounts.open_session(user, "Safari on an iPhone", None)
    page = (await world.browser.get("/account")).text
    assert page.count("this browser") == 1
    (number,) = re.findall(r"/account/sessions/(\d+)/end", page)
    await world.browser.post(f"/account/sessions/{number}/end")
    assert await accounts.session_id(other) is None
    assert (await world.browser.get("/account")).status_code == 200


async def test_signing_out_everywhere(world: World) -> None:
    """Every session ends, this one too, and the form says so."""
    user = await world.ada()
    await world.app.house.accounts.open_session(user, "elsewhere", None)
    answer = await world.browser.post("/account/sign-out-everywhere")
    assert answer.headers["location"] == "/sign-in?done=everywhere"
    assert await world.app.house.accounts.sessions(user.id) == ()
    assert "signed out everywhere" in (await world.browser.get("/sign-in?done=everywhere")).text


async def test_deleting_the_account(world: World) -> None:
    """With the password typed again it is gone; without, nothing happens."""
    await world.ada()
    page = await world.browser.post("/account/delete", data={"password": "wrong horse"})
    assert (page.status_code, complaint(page)) == (401, ("delete-password", "This is not your password."))
    answer = await world.browser.post("/account/delete", data={"password": PASSWORD})
    assert answer.headers["location"] == "/sign-in?done=deleted"
    assert "glimt_session" not in world.browser.cookies
    assert (await world.signs_in()).status_code == 401


async def test_the_last_admin_stays(world: World) -> None:
    """The reason is said where the password was asked for."""
    await world.ada("admin")
    page = await world.browser.post("/account/delete", data={"password": PASSWORD})
    assert page.status_code == 409
    assert "last admin" in complaint(page)[1]


async def test_no_answer_is_stored(world: World) -> None:
    """Pages and redirects about an account are in no cache, and not in the browser's way back."""
    await world.ada()
    answers = [await world.browser.get(path) for path in ("/account", "/sign-in", "/sign-up")]
    answers += [await world.signs_in(password="x"), await world.browser.post("/sign-out")]
    answers += [await world.browser.get(path) for path in ("/sign-in", "/sign-up")]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


async def test_the_masthead_says_who(world: World) -> None:
    """Every page: a link to sign in for anybody, one's name when signed in, People for admins."""
    anybody = (await world.browser.get("/ops")).text
    assert 'href="/sign-in?next=/ops"' in anybody
    await world.ada()
    mine = (await world.browser.get("/ops")).text
    assert '<button class="quiet who-name"' in mine
    assert 'href="/history"' in mine
    assert 'href="/people"' not in mine
    assert "/sign-in" not in mine


async def test_the_live_panel_for_who_may_not_move_it(world: World) -> None:
    """Somebody signed in is told that it is for admins, and not to sign in."""
    await world.ada()
    page = (await world.browser.get("/ops")).text
    assert "Only admins can move these." in page
    assert 'id="controls"' not in page


async def test_where_nobody_can_say_who_asks(world: World) -> None:
    """An address that does not exist asks no gate: its page neither says "Sign in" nor a name."""
    await world.ada()
    page = await world.browser.get("/nowhere", headers={"accept": "text/html"})
    assert 'class="who"' not in page.text


async def test_nothing_inline(world: World) -> None:
    """The pages obey their policy: no inline script, no style attribute, no event attribute."""
    pages = [(await world.browser.get(path)).text for path in ("/sign-in", "/sign-up")]
    await world.ada("admin")
    pages.append((await world.browser.post("/account/tokens", data={"name": "x"})).text)
    pages.append((await world.browser.get("/people")).text)
    assert not [page for page in pages if re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)]


async def test_another_sites_form_is_refused(world: World) -> None:
    """A page elsewhere can neither sign a browser in nor out, nor delete anything with its cookie."""
    await world.ada()
    foreign = {"sec-fetch-site": "cross-site"}
    for path in ("/sign-in", "/sign-out", "/account/delete", "/account/tokens"):
        answer = await world.browser.post(path, data={"password": PASSWORD, "name": "x"}, headers=foreign)
        assert answer.status_code == 403
    assert (await world.browser.get("/account")).status_code == 200
