"""Who may change the service, one row per case."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request

from service.errors import Forbidden
from service.http.access import ELSEWHERE, may_operate, require_operator
from tests.world import make_app, under_uvicorn

LOCAL = {"host": "127.0.0.1:8000"}


def request(headers: dict[str, str], peer: str | None = "127.0.0.1") -> Request:
    """A request from `peer` as the server hands it over."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": (peer, 50_000) if peer else None})


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ({"host": "localhost"}, "127.0.0.1"),
        ({"host": "LocalHost:8000"}, "127.0.0.1"),
        ({"host": "127.0.0.1:8000"}, "127.0.0.1"),
        ({"host": "127.1.2.3"}, "127.9.9.9"),
        ({"host": "[::1]:8000"}, "::1"),
        ({"host": "localhost:8000"}, "::ffff:127.0.0.1"),
        (LOCAL | {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}, "127.0.0.1"),
        (LOCAL | {"sec-fetch-site": "none"}, "127.0.0.1"),
        (LOCAL | {"origin": "http://127.0.0.1:8000"}, "127.0.0.1"),
    ],
)
def test_the_operator(headers: dict[str, str], peer: str) -> None:
    """On the machine itself, called as itself, by hand or by our own page: yes."""
    assert may_operate(request(headers, peer))
    assert require_operator(request(headers, peer)) == "local"


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        pytest.param(LOCAL, "192.168.1.7", id="another machine"),
        pytest.param(LOCAL, "::ffff:192.168.1.7", id="another machine, mapped"),
        pytest.param(LOCAL, "testclient", id="a peer that is no address"),
        pytest.param(LOCAL, None, id="no peer known, as on a Unix socket behind a proxy"),
        pytest.param({}, "127.0.0.1", id="no Host"),
        pytest.param({"host": ""}, "127.0.0.1", id="an empty Host"),
        pytest.param({"host": "evil.test:8000"}, "127.0.0.1", id="DNS rebinding"),
        pytest.param({"host": "localhost.evil.test"}, "127.0.0.1", id="a name that begins like ours"),
        pytest.param({"host": "127.0.0.1.evil.test"}, "127.0.0.1", id="a name that begins like our address"),
        pytest.param({"host": "localhost:8000@evil.test"}, "127.0.0.1", id="a Host with a user in it"),
        pytest.param({"host": "192.168.1.7:8000"}, "127.0.0.1", id="another address"),
        pytest.param({"host": "999.0.0.1"}, "127.0.0.1", id="no address at all"),
        pytest.param(LOCAL | {"x-forwarded-for": "127.0.0.1"}, "127.0.0.1", id="X-Forwarded-For"),
        pytest.param(LOCAL | {"x-forwarded-host": "localhost"}, "127.0.0.1", id="X-Forwarded-Host"),
        pytest.param(LOCAL | {"forwarded": "for=127.0.0.1"}, "127.0.0.1", id="Forwarded"),
        pytest.param(LOCAL | {"x-real-ip": "127.0.0.1"}, "127.0.0.1", id="X-Real-IP"),
        pytest.param(LOCAL | {"via": "1.1 proxy"}, "127.0.0.1", id="Via"),
    ],
)
def test_not_from_here(headers: dict[str, str], peer: str | None) -> None:
    """Whoever is not certainly on this machine may not, and is told how it is done."""
    assert not may_operate(request(headers, peer))
    with pytest.raises(Forbidden, match="glimt tune"):
        require_operator(request(headers, peer))


def test_two_hosts_are_judged_both() -> None:
    """A second Host header cannot hide behind the first."""
    twice = Request({"type": "http", "client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost"), (b"host", b"x")]})
    assert not may_operate(twice)


@pytest.mark.parametrize(("version", "status"), [("1.0", 403), ("1.1", 200)])
async def test_a_proxy_that_names_nobody(tmp_path: Path, version: str, status: int) -> None:
    """Over a real connection: nginx's plain proxy_pass sends our own address as Host, but in HTTP/1.0."""
    body = b'{"max_batch": 4}'
    async with under_uvicorn(make_app(tmp_path)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"PATCH /api/batching HTTP/{version}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
    assert int(answer.split()[1]) == status


def test_the_way_out_of_a_container() -> None:
    """A published port is not the machine itself: the words say how it is done there."""
    assert "docker exec NAME glimt tune" in ELSEWHERE


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"sec-fetch-site": "cross-site"}, id="another site"),
        pytest.param({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9000"}, id="another port"),
        pytest.param({"origin": "http://evil.test"}, id="another origin, from a browser without Fetch Metadata"),
        pytest.param({"origin": "null"}, id="a sandboxed frame"),
        pytest.param({"origin": ""}, id="an empty origin"),
        pytest.param({"sec-fetch-site": "same-origin", "origin": "https://glimt.test"}, id="behind a silent proxy"),
        pytest.param({"sec-fetch-site": "anything"}, id="a word nobody knows"),
    ],
)
def test_not_for_another_site(headers: dict[str, str]) -> None:
    """A page of another site in the operator's browser may not; the operator himself still sees his controls."""
    assert may_operate(request(LOCAL | headers))
    with pytest.raises(Forbidden, match="another site, or a proxy in between changes Host"):
        require_operator(request(LOCAL | headers))
