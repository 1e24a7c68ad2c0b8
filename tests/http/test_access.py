"""The gate: whose credentials a request shows, how often it may ask, and what it is let into."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

from service.accounts.accounts import Credential
from service.accounts.keys import read_key
from service.app import Glimt
from service.errors import TooManyRequests, Unauthorized
from service.http.access import SESSION_COOKIE, Access, Gate, authorization, session_of
from service.store.users import User
from tests.accounts.desk import Desk, a_desk
from tests.accounts.forgeries import forgeries
from tests.http.gates import HOST, Headers, gate_of, scope, shown
from tests.world import PASSWORD, in_process, make_app, operator, session, signed_in


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


@pytest.fixture
async def ada(desk: Desk) -> User:
    return await desk.add()


SECRET = "s3-cr_et"


@pytest.mark.parametrize(
    ("cookie", "secret"),
    [
        (f"{SESSION_COOKIE}={SECRET}", SECRET),
        (f"a=1; {SESSION_COOKIE}={SECRET}; b=2", SECRET),
        (f"a=1;{SESSION_COOKIE}={SECRET};b=2", SECRET),
        (f'a={{"json": [1, "two"]}}; {SESSION_COOKIE}={SECRET}', SECRET),
        (f'a="open; {SESSION_COOKIE}={SECRET}', SECRET),
        (f"no equals; =no name; ;;; {SESSION_COOKIE}={SECRET}", SECRET),
        (f"{SESSION_COOKIE}={SECRET}; {SESSION_COOKIE}=another", SECRET),
        (f"x={'y' * 10_000}; {SESSION_COOKIE}={SECRET}", SECRET),
        (f"{SESSION_COOKIE}=", ""),
        (SESSION_COOKIE, ""),
        (f"x{SESSION_COOKIE}={SECRET}", None),
        (f"{SESSION_COOKIE}x={SECRET}", None),
        (f"{SESSION_COOKIE.upper()}={SECRET}", None),
        (f"a={SESSION_COOKIE}={SECRET}", None),
        ("\xff\xfe=\xfd", None),
        ("", None),
        (None, None),
    ],
)
def test_the_session_is_found_among_other_cookies(cookie: str | None, secret: str | None) -> None:
    """Of whatever else runs on this machine: browsers send them all, and some are no good cookies."""
    assert session_of(Request(scope({} if cookie is None else {"cookie": cookie}))) == secret


def test_a_cookie_as_long_as_a_header_takes_no_time() -> None:
    """Python's own cookies once took quadratic time for this."""
    assert session_of(Request(scope({"cookie": f'{SESSION_COOKIE}="' + "\\" * 60_000 + '"'}))) is not None


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Bearer abc", Credential("bearer", "abc")),
        ("bearer abc", Credential("bearer", "abc")),
        ("BEARER   abc ", Credential("bearer", "abc")),
        ("Basic YTpi", Credential("basic", "a:b")),
        ("basic YTpiOmM=", Credential("basic", "a:b:c")),
        ("Basic dcO8OnDDvA==", Credential("basic", "u\u00fc:p\u00fc")),
        ("Basic Og==", Credential("basic", ":")),
        ("Basic", Credential("basic", "")),
        ("Bearer", Credential("bearer", "")),
    ],
)
def test_what_an_authorization_header_says(header: str, found: Credential) -> None:
    """Scheme in any case, Basic in UTF-8; whether it holds is not asked here."""
    assert authorization(Request(scope({"authorization": header}))) == found


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "abc",
        "Digest username=a",
        "Bearer\tabc",
        "Basic !",
        "Basic YTp",
        "Basic /w==",
        "Basic YTpi YTpi",
        "x" * 5000,
        "Bearer " + "x" * 5000,
        "Basic " + base64.b64encode(b"a:" + b"x" * 1_000_000).decode(),
    ],
)
def test_what_cannot_be_read_is_nobody(header: str) -> None:
    """Neither an exception nor somebody."""
    with pytest.raises(Unauthorized):
        authorization(Request(scope({"authorization": header})))


def test_two_authorizations_are_none() -> None:
    """A proxy and we must not take a different one of them."""
    twice = [(b"authorization", b"Bearer a"), (b"authorization", b"Basic YTpi")]
    with pytest.raises(Unauthorized):
        authorization(Request(scope(twice)))


async def test_a_header_counts_before_the_cookie(desk: Desk, ada: User) -> None:
    """Whoever sends one means it: when it does not hold, the cookie beside it does not help."""
    cookie, bob = await shown(desk, ada, "session"), await desk.add("bob")
    asked = scope(HOST | cookie | await shown(desk, bob, "token"))
    await gate_of(desk).admit(asked, Access.USER)
    assert asked["owner"] == bob.owner
    with pytest.raises(Unauthorized):
        await gate_of(desk).admit(scope(HOST | cookie | {"authorization": "Bearer wrong"}), Access.GUEST)


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("cookie", [{}, {"cookie": f"{SESSION_COOKIE}=ended"}])
async def test_whom_anybody_and_an_ended_session_may_see(
    desk: Desk, required: bool, access: Access, cookie: Headers
) -> None:
    """An ended session is nobody, not a fault: the page goes on as for anybody."""
    asked = scope(HOST | cookie)
    if access is Access.PUBLIC or (access is Access.GUEST and not required):
        await gate_of(desk, required=required).admit(asked, access)
        assert (asked["identity"], asked["owner"]) == (None, None)
    else:
        with pytest.raises(Unauthorized):
            await gate_of(desk, required=required).admit(asked, access)


async def test_an_ended_token_does_not_bar_the_way_to_a_new_one(desk: Desk) -> None:
    """Who sends the last token with everything can still ask POST /login for the next; elsewhere it is told."""
    ended = HOST | {"authorization": "Bearer ended"}
    await gate_of(desk).admit(scope(ended, "POST"), Access.PUBLIC)
    with pytest.raises(Unauthorized):
        await gate_of(desk).admit(scope(ended), Access.GUEST)


# How often


async def refused_after(gate: Gate, headers: Headers, access: Access, method: str = "GET") -> int:
    """How many of ten requests pass; what does not hold passes in this count, for the limit is what is asked."""
    for n in range(10):
        try:
            await gate.admit(scope(HOST | headers, method), access)
        except TooManyRequests:
            return n
        except Unauthorized:
            continue
    return 10


async def test_an_account_has_its_limit_and_an_address_has_its_own(desk: Desk, ada: User) -> None:
    """The account's wherever it comes from and whatever it shows, the address's for whoever is nobody."""
    gate = gate_of(desk, account="3/minute", address="5/minute")
    session, token = await shown(desk, ada, "session"), await shown(desk, ada, "token")
    assert await refused_after(gate, session, Access.GUEST) == 3
    assert await refused_after(gate, token, Access.GUEST) == 0
    assert await refused_after(gate, {}, Access.GUEST) == 5


@pytest.mark.parametrize(
    ("headers", "access", "method", "passes"),
    [
        pytest.param({"authorization": "Bearer glimt_wrong"}, Access.USER, "GET", 3, id="guessing tokens"),
        pytest.param({"authorization": "Nonsense"}, Access.PUBLIC, "POST", 3, id="what cannot be read"),
        pytest.param({}, Access.PUBLIC, "POST", 3, id="making accounts, signing in"),
        pytest.param({}, Access.PUBLIC, "GET", 10, id="a probe"),
    ],
)
async def test_who_counts_for_an_address(
    desk: Desk, headers: Headers, access: Access, method: str, passes: int
) -> None:
    """Whoever costs something and is not an account; probes may ask as often as they like."""
    assert await refused_after(gate_of(desk, address="3/minute"), headers, access, method) == passes


async def test_this_installations_own_key_has_no_limit(desk: Desk) -> None:
    """`glimt tune` puts the service under load."""
    key = {"authorization": f"Bearer {desk.signer.sign('local', 0)}"}
    assert await refused_after(gate_of(desk, account="3/minute", address="3/minute"), key, Access.ADMIN) == 10


# Over HTTP


async def test_no_forged_token_opens_anything(tmp_path: Path) -> None:
    """Each way that RFC 8725 warns of, and each is answered to the letter as any other."""
    app = make_app(tmp_path)
    async with in_process(app) as client:
        good = await signed_in(app)
        user = (await client.get("/api/me", headers=good)).json()["id"]
        bodies: set[str] = set()
        for what, token in forgeries(read_key(tmp_path), str(user), 1):
            answer = await client.get("/api/me", headers=[(b"authorization", b"Bearer " + token.encode())])
            assert answer.status_code == 401, what
            assert answer.headers["www-authenticate"] == "Bearer"
            bodies.add(answer.text.replace(answer.json()["request_id"], ""))
    assert len(bodies) == 1


async def login(client: httpx2.AsyncClient, email: str, password: str) -> httpx2.Response:
    """POST /login with this form."""
    return await client.post("/login", data={"username": email, "password": password})


@pytest.mark.parametrize(
    ("email", "password"), [("ada@example.org", "x" * 60_000), ("ada@example.org", "x" * 201), ("x" * 255, PASSWORD)]
)
async def test_a_password_that_is_too_long_is_said_before_it_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, email: str, password: str
) -> None:
    """422 with the limits; a megabyte does not even get as far as a form without files may."""
    async with in_process(make_app(tmp_path)) as client:
        monkeypatch.setattr("argon2.PasswordHasher.verify", lambda *args: pytest.fail("it was hashed"))
        answer = await login(client, email, password)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
        assert "200" in answer.json()["detail"]
        assert (await login(client, email, "x" * 1_000_000)).status_code in (413, 422)


async def test_after_so_many_wrong_ones_there_is_a_wait(tmp_path: Path) -> None:
    """429 with Retry-After, the same for an account that is there and one that is not; a token goes on."""
    app = make_app(tmp_path, login_rate="3/minute")
    async with in_process(app) as client:
        good = await signed_in(app)
        for email in ("ada@example.org", "bob@example.org"):
            assert [(await login(client, email, f"wrong {n}")).status_code for n in range(4)] == [401, 401, 401, 429]
            answer = await login(client, email, PASSWORD)
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 61
        assert (await client.get("/api/me", headers=good)).status_code == 200


async def statuses(app: Glimt, requests: list[tuple[str, str]], headers: Any) -> list[int]:
    """What these are answered."""
    async with in_process(app) as client:
        shows = await headers(app)
        return [(await client.request(method, path, headers=shows)).status_code for method, path in requests]


async def test_head_is_asked_as_get_is(tmp_path: Path) -> None:
    """The same door: no way round the login."""

    async def nobody(app: Glimt) -> Headers:
        return {}

    asked = [("HEAD", "/api/me"), ("HEAD", "/user/"), ("HEAD", "/ops"), ("HEAD", "/healthz"), ("OPTIONS", "/user/")]
    assert await statuses(make_app(tmp_path, auth="required"), asked, nobody) == [401, 401, 401, 200, 405]


async def test_a_session_is_a_login_for_programs_too(tmp_path: Path) -> None:
    """The page's own scripts ask the API with the cookie."""

    async def cookie(app: Glimt) -> Headers:
        return {"cookie": f"{SESSION_COOKIE}={await session(app)}"}

    assert await statuses(make_app(tmp_path), [("GET", "/api/me"), ("GET", "/user/")], cookie) == [200, 403]


async def test_the_local_key_has_no_account(tmp_path: Path) -> None:
    """An admin in everything, but there is nothing of its own to see: it is told to sign in."""
    async with in_process(make_app(tmp_path)) as client:
        assert (await client.get("/user/", headers=operator(tmp_path))).status_code == 200
        answer = await client.get("/api/me", headers=operator(tmp_path))
    assert (answer.status_code, "sign in" in answer.json()["detail"]) == (403, True)
