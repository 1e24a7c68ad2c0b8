"""Requests that a browser makes for a page of another site: they change nothing (T38)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import Forbidden
from service.http.access import Access
from service.store.users import User
from tests.accounts.desk import Desk, a_desk
from tests.http.gates import HOST, gate_of, scope, shown

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
SAFE = ("GET", "HEAD", "OPTIONS")
OWN_PAGES = {
    "our page": {"sec-fetch-site": "same-origin", "origin": "http://localhost:8000"},
    "our page, in another case": {"origin": "HTTP://LocalHost:8000"},
    "our page behind a proxy that ends TLS": {"sec-fetch-site": "same-origin", "origin": "https://localhost:8000"},
    "our page in a browser without Fetch Metadata": {"origin": "http://localhost:8000"},
    "typed by hand": {"sec-fetch-site": "none"},
    "no browser": {},
}
FOREIGN_PAGES = {
    "another site": {"sec-fetch-site": "cross-site", "origin": "https://evil.test"},
    "another site that hides its origin": {"sec-fetch-site": "cross-site"},
    "a neighbour's subdomain": {"sec-fetch-site": "same-site", "origin": "http://evil.localhost:8000"},
    "another port that hides its origin": {"sec-fetch-site": "same-site"},
    "another port": {"sec-fetch-site": "same-site", "origin": "http://localhost:9000"},
    "another site, in a browser without Fetch Metadata": {"origin": "https://evil.test"},
    "another port, in a browser without Fetch Metadata": {"origin": "http://localhost:9000"},
    "no port, in a browser without Fetch Metadata": {"origin": "http://localhost"},
    "a name that ends like ours": {"origin": "http://evil-localhost:8000"},
    "a sandboxed frame": {"sec-fetch-site": "cross-site", "origin": "null"},
    "a sandboxed frame, in a browser without Fetch Metadata": {"origin": "null"},
    "an empty origin": {"origin": ""},
    "an origin without a scheme": {"origin": "localhost:8000"},
    "our page behind a proxy that changes Host": {"sec-fetch-site": "same-origin", "origin": "https://glimt.test"},
    "a word nobody knows": {"sec-fetch-site": "anything"},
    "an empty word": {"sec-fetch-site": ""},
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


@pytest.fixture
async def ada(desk: Desk) -> User:
    return await desk.add()


@pytest.mark.parametrize("method", UNSAFE)
@pytest.mark.parametrize("kind", ["anybody", "session", "basic"])
async def test_another_sites_page_changes_nothing(desk: Desk, ada: User, kind: str, method: str) -> None:
    """Whatever a browser sends along by itself, and where nobody has to be signed in as well."""
    gate, credentials = gate_of(desk), await shown(desk, ada, kind)
    for page, headers in FOREIGN_PAGES.items():
        asked = scope(HOST | headers | credentials, method)
        with pytest.raises(Forbidden, match="GLIMT_CORS_ORIGINS"):
            await gate.admit(asked, Access.PUBLIC)
        assert "identity" not in asked, page


@pytest.mark.parametrize("method", UNSAFE + SAFE)
@pytest.mark.parametrize("kind", ["anybody", "session", "basic", "bearer", "token"])
async def test_our_own_pages_and_programs_do(desk: Desk, ada: User, kind: str, method: str) -> None:
    """With every credential and every method."""
    gate, credentials = gate_of(desk), await shown(desk, ada, kind)
    for headers in OWN_PAGES.values():
        await gate.admit(scope(HOST | headers | credentials, method), Access.GUEST)


@pytest.mark.parametrize("method", UNSAFE + SAFE)
@pytest.mark.parametrize("kind", ["bearer", "token"])
async def test_a_bearer_token_comes_from_no_page_by_itself(desk: Desk, ada: User, kind: str, method: str) -> None:
    """A program of somebody's sends it, whatever else is said; the cookie beside it is not looked at."""
    cookie = await shown(desk, await desk.add("bob"), "session")
    for headers in FOREIGN_PAGES.values():
        asked = scope(HOST | headers | cookie | await shown(desk, ada, kind), method)
        await gate_of(desk).admit(asked, Access.USER)
        assert asked["owner"] == ada.owner


@pytest.mark.parametrize("method", SAFE)
async def test_who_only_reads_may_come_from_anywhere(desk: Desk, ada: User, method: str) -> None:
    """A link on another site leads in; what is read that way, no other page can see."""
    for headers in FOREIGN_PAGES.values():
        await gate_of(desk).admit(scope(HOST | headers | await shown(desk, ada, "session"), method), Access.USER)


async def test_no_host_is_nobodys_own(desk: Desk) -> None:
    """Without Host (HTTP/1.0) no origin is ours."""
    for origin in ("null", "", "https://evil.test"):
        with pytest.raises(Forbidden):
            await gate_of(desk).admit(scope({"origin": origin}, "POST"), Access.PUBLIC)
        with pytest.raises(Forbidden):
            await gate_of(desk).admit(scope({"origin": origin, "host": "localhost"}, "POST"), Access.PUBLIC)


@pytest.mark.parametrize("kind", ["anybody", "session", "basic", "bearer"])
async def test_a_page_the_operator_named_is_as_good_as_ours(desk: Desk, ada: User, kind: str) -> None:
    """That one origin, to the letter."""
    gate = gate_of(desk, origins="https://app.test https://b.test")
    headers = HOST | {"sec-fetch-site": "cross-site"} | await shown(desk, ada, kind)
    await gate.admit(scope(headers | {"origin": "https://app.test"}, "POST"), Access.GUEST)
    if kind != "bearer":
        with pytest.raises(Forbidden):
            await gate.admit(scope(headers | {"origin": "https://app.test:444"}, "POST"), Access.GUEST)
