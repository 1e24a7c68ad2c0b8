"""Accounts over HTTP, for programs: one's own account and tokens, and other people's for admins.

What reference system A's clients do with them is in test_reference_a.py; who may do what at all in test_matrix.py.
"""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.app import Glimt
from service.http.access import SESSION_COOKIE
from service.store.tokens import MAX_TOKENS
from tests.world import PASSWORD, in_process, make_app, operator, signed_in

Headers = dict[str, str]
NEW = "a newer password"
BOB = {"name": "Bob", "email": "bob@example.org", "password": PASSWORD}


@dataclass
class World:
    """The app, a client, and Ada, who is signed in."""

    app: Glimt
    client: httpx2.AsyncClient
    ada: Headers
    folder: Path

    async def ask(self, method: str, path: str, who: Headers, body: Any = None) -> httpx2.Response:
        """With a JSON body if there is one."""
        return await self.client.request(method, path, headers=who, **({} if body is None else {"json": body}))

    async def me(self, who: Headers) -> int:
        """The status of asking who one is: whether this still signs in."""
        return (await self.ask("GET", "/api/me", who)).status_code

    async def login(self, password: str, email: str = "ada@example.org") -> int:
        """The status of POST /login."""
        return (await self.client.post("/login", data={"username": email, "password": password})).status_code

    async def token(self, who: Headers, **fields: Any) -> dict[str, Any]:
        """A new personal token, as it is answered."""
        answer = await self.ask("POST", "/api/tokens", who, {"name": "a script"} | fields)
        assert answer.status_code == 201
        return dict(answer.json())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    app = make_app(tmp_path)
    async with in_process(app) as client:
        yield World(app, client, await signed_in(app), tmp_path)


async def test_one_sees_oneself(world: World) -> None:
    """Number, name, address, role and since when; neither hash nor version."""
    me = (await world.ask("GET", "/api/me", world.ada)).json()
    assert me.keys() == {"id", "name", "email", "role", "created_at"}
    assert (me["name"], me["email"], me["role"]) == ("ada", "ada@example.org", "user")
    assert me["created_at"].endswith("Z")
    assert (await world.ask("GET", f"/user/{me['id']}", world.ada)).json() == me


async def test_basic_is_accepted(world: World) -> None:
    """Address and password, and nothing but the right one."""
    for password, status in ((PASSWORD, 200), ("wrong", 401)):
        shown = base64.b64encode(f"ada@example.org:{password}".encode()).decode()
        assert await world.me({"authorization": f"Basic {shown}"}) == status


# Tokens


async def test_a_token_is_shown_once_and_signs_in(world: World) -> None:
    """With its secret in the answer to making it, which nobody stores; without it in the list."""
    made = await world.token(world.ada)
    answer = await world.ask("GET", "/api/tokens", world.ada)
    assert made["token"].startswith("glimt_")
    assert made["token"] not in answer.text
    assert [one["id"] for one in answer.json()] == [made["id"]]
    assert answer.json()[0].keys() == made.keys() - {"token"}
    assert await world.me({"authorization": f"Bearer {made['token']}"}) == 200


async def test_what_holds_a_secret_is_not_stored(world: World) -> None:
    """By no cache on the way."""
    made = await world.ask("POST", "/api/tokens", world.ada, {"name": "a script"})
    login = await world.client.post("/login", data={"username": "ada@example.org", "password": PASSWORD})
    assert [answer.headers["cache-control"] for answer in (made, login)] == ["no-store"] * 2


async def test_a_revoked_token_ends_at_once(world: World) -> None:
    """204; the second time there is none."""
    made = await world.token(world.ada)
    shown = {"authorization": f"Bearer {made['token']}"}
    assert await world.me(shown) == 200
    path = f"/api/tokens/{made['id']}"
    assert [(await world.ask("DELETE", path, world.ada)).status_code for _ in range(2)] == [204, 404]
    assert await world.me(shown) == 401


async def test_a_token_may_expire(world: World) -> None:
    """In so many days; without a number never."""
    until = datetime.fromisoformat((await world.token(world.ada, days=7))["expires_at"])
    assert 6 <= (until - datetime.now(UTC)).days <= 7
    assert (await world.token(world.ada))["expires_at"] is None


@pytest.mark.parametrize(
    "body",
    [{}, {"name": ""}, {"name": "x" * 101}, {"name": "a\nb"}, {"name": 1}, {"name": "x", "days": 0},
     {"name": "x", "days": 3651}, {"name": "x", "days": "7"}, {"name": "x", "role": "admin"}, [], None],
)  # fmt: skip
async def test_a_bad_token_is_refused(world: World, body: Any) -> None:
    """4xx, and none is made."""
    assert (await world.ask("POST", "/api/tokens", world.ada, body)).status_code in (400, 422)
    assert (await world.ask("GET", "/api/tokens", world.ada)).json() == []


async def test_too_many_tokens_are_409(world: World) -> None:
    """With the way out."""
    for _ in range(MAX_TOKENS):
        await world.token(world.ada)
    answer = await world.ask("POST", "/api/tokens", world.ada, {"name": "one more"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


# Passwords, and ending what they opened


async def test_a_new_password_ends_sessions_and_jwts(world: World) -> None:
    """At once; personal tokens stay, and only the new password signs in."""
    accounts, token = world.app.house.accounts, (await world.token(world.ada))["token"]
    user = await accounts.sign_in("ada@example.org", PASSWORD, "here")
    cookie = {"cookie": f"{SESSION_COOKIE}={await accounts.open_session(user, 'a browser', None)}"}
    assert [await world.me(who) for who in (world.ada, cookie)] == [200, 200]
    answer = await world.ask("PUT", "/api/me/password", world.ada, {"old": PASSWORD, "new": NEW})
    assert answer.status_code == 204
    assert [await world.me(who) for who in (world.ada, cookie)] == [401, 401]
    assert await world.me({"authorization": f"Bearer {token}"}) == 200
    assert [await world.login(password) for password in (PASSWORD, NEW)] == [401, 200]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"old": "wrong", "new": NEW}, 422),
        ({"old": PASSWORD, "new": "short"}, 422),
        ({"old": PASSWORD, "new": "x" * 201}, 422),
        ({"old": PASSWORD}, 422),
        ({"new": NEW}, 422),
    ],
)
async def test_a_password_is_not_changed_by(world: World, body: dict[str, str], status: int) -> None:
    """A wrong old one, a bad new one, half of it: the old one stays, and the caller signed in. A wrong old one is no
    401, for which a program would sign in anew."""
    assert (await world.ask("PUT", "/api/me/password", world.ada, body)).status_code == status
    assert await world.me(world.ada) == 200
    assert await world.login(PASSWORD) == 200


async def test_an_admin_takes_an_account_back(world: World) -> None:
    """A random password, shown once; personal tokens end too."""
    boss, token = await signed_in(world.app, "boss", "admin"), (await world.token(world.ada))["token"]
    path = f"/user/{(await world.ask('GET', '/api/me', world.ada)).json()['id']}/password"
    made = await world.ask("PUT", path, boss, {})
    assert made.headers["cache-control"] == "no-store"
    assert [await world.login(password) for password in (PASSWORD, made.json()["password"])] == [401, 200]
    assert [await world.me(who) for who in (world.ada, {"authorization": f"Bearer {token}"})] == [401, 401]
    assert (await world.ask("PUT", path, boss, {"password": NEW})).json() == {"password": NEW}
    assert await world.login(NEW) == 200


async def test_signing_out_everywhere(world: World) -> None:
    """Sessions and JWTs end, the one that asked too; the password does not."""
    assert (await world.ask("POST", "/api/me/sign-out-everywhere", world.ada)).status_code == 204
    assert await world.me(world.ada) == 401
    assert await world.login(PASSWORD) == 200


# Roles, and leaving


async def test_a_role_counts_with_the_next_request(world: World) -> None:
    """Given and taken, with the same token."""
    boss = await signed_in(world.app, "boss", "admin")
    path = f"/user/{(await world.ask('GET', '/api/me', world.ada)).json()['id']}"
    for role, status in (("admin", 200), ("user", 403)):
        assert (await world.ask("PATCH", path, boss, {"role": role})).json()["role"] == role
        assert (await world.ask("GET", "/user/", world.ada)).status_code == status
    assert (await world.ask("PATCH", path, boss, {"role": "king"})).status_code == 422


async def test_the_last_admin_is_409(world: World) -> None:
    """Neither demoted nor deleted, not even by the machine's own key; with a second one, yes."""
    boss, key = await signed_in(world.app, "boss", "admin"), operator(world.folder)
    path = f"/user/{(await world.ask('GET', '/api/me', boss)).json()['id']}"
    for who in (boss, key):
        assert (await world.ask("PATCH", path, who, {"role": "user"})).status_code == 409
        assert (await world.ask("DELETE", path, who)).status_code == 409
    assert (await world.ask("DELETE", "/api/me", boss)).status_code == 409
    await signed_in(world.app, "second", "admin")
    assert (await world.ask("DELETE", "/api/me", boss)).status_code == 204


async def test_who_leaves_is_gone_at_once(world: World) -> None:
    """No credential signs in any more, and the address is free."""
    token = (await world.token(world.ada))["token"]
    assert await world.me({"authorization": f"Bearer {token}"}) == 200
    assert (await world.ask("DELETE", "/api/me", world.ada)).status_code == 204
    assert [await world.me(who) for who in (world.ada, {"authorization": f"Bearer {token}"})] == [401, 401]
    assert await world.login(PASSWORD) == 401
    assert (await world.ask("POST", "/user/", {}, BOB | {"email": "ada@example.org"})).status_code == 201


# Who makes accounts


async def test_only_an_admin_makes_an_admin(world: World) -> None:
    """Anybody may make themselves a user here."""
    boss, wanted = await signed_in(world.app, "boss", "admin"), BOB | {"role": "admin"}
    assert [(await world.ask("POST", "/user/", who, wanted)).status_code for who in ({}, world.ada)] == [403, 403]
    assert (await world.ask("POST", "/user/", boss, wanted)).json()["role"] == "admin"


async def test_where_registration_is_off_admins_make_accounts(tmp_path: Path) -> None:
    """Others are told so."""
    app = make_app(tmp_path, registration="off")
    async with in_process(app) as client:
        ada, boss = await signed_in(app), await signed_in(app, "boss", "admin")
        answers = [await client.post("/user/", json=BOB, headers=who) for who in ({}, ada, boss)]
    assert [answer.status_code for answer in answers] == [403, 403, 201]
    assert "admins" in answers[0].json()["detail"]


async def test_nobody_makes_accounts_without_end(tmp_path: Path) -> None:
    """Three from one address in this window; an admin is not counted."""
    app = make_app(tmp_path, login_rate_address="3/hour")
    async with in_process(app) as client:
        boss = await signed_in(app, "boss", "admin")

        async def make(number: int, headers: dict[str, str]) -> int:
            new = {"name": "Ada", "email": f"ada{number}@example.org", "password": PASSWORD}
            return (await client.post("/user/", json=new, headers=headers)).status_code

        assert [await make(number, {}) for number in range(4)] == [201, 201, 201, 429]
        assert await make(4, boss) == 201


async def test_numbers_that_no_account_has_are_404(world: World) -> None:
    """Also those that no row could have, and what is no number."""
    boss = await signed_in(world.app, "boss", "admin")
    for number in ("999999", "9" * 18, "9" * 40, "-1", "x", "1.0", "\u0661"):
        assert (await world.ask("GET", f"/user/{number}", boss)).status_code == 404
