"""Pages of other sites: closed unless named, and then without anybody's cookies."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.http.access import Door
from service.http.cors import ANSWER_HEADERS, REQUEST_HEADERS
from service.http.operation import operation_of
from service.settings import Settings
from tests.world import in_process, make_app, session, signed_in

APP = "https://app.example"
PREFLIGHT = {"origin": APP, "access-control-request-method": "PATCH"}
CHANGE = {"max_batch": 4}


async def test_closed_by_default(tmp_path: Path) -> None:
    """No answer may be read by another site's page, and no preflight passes."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.get("/health", headers={"origin": APP})
        preflight = await client.options("/api/batching", headers=PREFLIGHT)
    for each in (answer, preflight):
        assert not [name for name in each.headers if name.startswith("access-control-")]
    assert (answer.status_code, preflight.status_code) == (200, 405)


@pytest.mark.parametrize(("origins", "allowed"), [(APP, APP), (f"https://b.example {APP}", APP), ("*", "*")])
async def test_a_named_page_may_call_with_a_token(tmp_path: Path, origins: str, allowed: str) -> None:
    """Preflight, the change itself and its headers; a browser's own credentials are not asked for."""
    app = make_app(tmp_path, cors_origins=origins)
    async with in_process(app) as client:
        asks = PREFLIGHT | {"access-control-request-headers": "authorization, content-type"}
        preflight = await client.options("/api/batching", headers=asks)
        sent = await signed_in(app, "boss", "admin") | {"origin": APP, "sec-fetch-site": "cross-site"}
        answer = await client.patch("/api/batching", json=CHANGE, headers=sent)
    assert (preflight.status_code, answer.status_code) == (200, 200)
    for each in (preflight, answer):
        assert each.headers["access-control-allow-origin"] == allowed
        assert "access-control-allow-credentials" not in each.headers
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


def test_every_header_of_an_operation_can_be_used(tmp_path: Path) -> None:
    """Sent, or read, by a named page as by any other program; but not cookies."""
    doors = [route for route in make_app(tmp_path).routes if isinstance(route, Door)]
    said = [operation for door in doors if (operation := operation_of(door.endpoint))]
    assert {header.name for one in said for header in one.takes} <= set(REQUEST_HEADERS)
    assert {header.name for one in said for header in one.sends} - {"Set-Cookie"} <= set(ANSWER_HEADERS)


async def test_an_error_can_be_read_too(tmp_path: Path) -> None:
    """A page that is refused learns why."""
    async with in_process(make_app(tmp_path, cors_origins=APP)) as client:
        answer = await client.patch("/api/batching", json=CHANGE, headers={"origin": APP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, APP)


@pytest.mark.parametrize("origin", ["https://evil.example", f"{APP}.evil.example", "http://app.example", "null", ""])
async def test_others_are_closed_out_still(tmp_path: Path, origin: str) -> None:
    """Naming one opens to that one."""
    async with in_process(make_app(tmp_path, cors_origins=APP)) as client:
        preflight = await client.options("/api/batching", headers=PREFLIGHT | {"origin": origin})
        answer = await client.post("/login", headers={"origin": origin, "sec-fetch-site": "cross-site"})
    assert (preflight.status_code, answer.status_code) == (400, 403)
    for each in (preflight, answer):
        assert "access-control-allow-origin" not in each.headers


async def test_any_page_is_not_any_bodys_page(tmp_path: Path) -> None:
    """With the star, what a browser sends along by itself still counts for our own pages only."""
    app = make_app(tmp_path, cors_origins="*")
    async with in_process(app) as client:
        foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        own = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
        cookie = {"cookie": f"glimt_session={await session(app, 'boss', 'admin')}"}
        basic = {"authorization": "Basic Ym9zc0BleGFtcGxlLm9yZzpjb3JyZWN0IGhvcnNl"}
        answers = [
            (await client.patch("/api/batching", json=CHANGE, headers=site | credential)).status_code
            for site in (foreign, own)
            for credential in (cookie, basic, {})
        ]
    assert answers == [403, 403, 401, 200, 200, 401]


@pytest.mark.parametrize("origins", ["https://a.example/", "a.example", "https://A.example", "https://a.example,x"])
def test_an_origin_that_no_browser_sends_is_refused(origins: str) -> None:
    """At the start: it would never match."""
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=origins)
