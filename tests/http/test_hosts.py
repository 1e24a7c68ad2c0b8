"""Host and X-Forwarded-*: which names are answered, and whose word about the client is taken."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from service.http.access import caller_of
from service.http.hosts import Hosts, hostname
from service.server import Server
from service.settings import Settings
from tests.world import in_process, make_app

LOCAL = Settings().hosts
OWN = {"localhost", "127.0.0.1", "[::1]"}


async def status(names: list[str], hosts: list[str], path: str = "/", version: str = "1.1") -> int:
    """What a request with these Host headers is answered where these names are allowed."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nobody reads the body")

    headers = [(b"host", host.encode("latin-1")) for host in hosts]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "http_version": version}
    await Hosts(PlainTextResponse("ok"), names)(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LocalHost:1", "localhost:", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"],
)
async def test_this_machines_own_names_are_answered(host: str) -> None:
    """On a loopback address, at any port, in any case."""
    assert await status(LOCAL, [host]) == 200


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param([], id="none"),
        pytest.param([""], id="an empty one"),
        pytest.param(["localhost", "localhost"], id="two alike"),
        pytest.param(["localhost", "evil.test"], id="two, the first ours"),
        pytest.param(["evil.test", "localhost"], id="two, the second ours"),
        pytest.param(["evil.test"], id="DNS rebinding"),
        pytest.param(["evil.test:8000"], id="DNS rebinding with a port"),
        pytest.param(["localhost.evil.test"], id="a name that begins like ours"),
        pytest.param(["evil-localhost"], id="a name that ends like ours"),
        pytest.param(["127.0.0.1.evil.test"], id="a name that begins like our address"),
        pytest.param(["localhost:8000@evil.test"], id="a user before it"),
        pytest.param(["localhost@evil.test"], id="a user before it, without a port"),
        pytest.param(["localhost, evil.test"], id="two in one"),
        pytest.param(["localhost/"], id="a path after it"),
        pytest.param([" localhost"], id="a blank before it"),
        pytest.param(["localhost:80:80"], id="two ports"),
        pytest.param(["localhost:port"], id="a port that is no number"),
        pytest.param(["[localhost]"], id="a name in brackets"),
        pytest.param(["[127.0.0.1]"], id="IPv4 in brackets"),
        pytest.param(["[::1"], id="half a bracket"),
        pytest.param(["[::1]x"], id="something after the bracket"),
        pytest.param(["192.168.1.7"], id="another address"),
        pytest.param(["0.0.0.0"], id="every address"),
        pytest.param(["l\u00f6calhost"], id="not ASCII"),
        pytest.param(["*"], id="the star itself"),
        pytest.param(["x" * 100_000], id="a huge one"),
    ],
)
async def test_other_names_are_refused(hosts: list[str]) -> None:
    """Else a page of another site whose name leads to our address would be our own page to a browser."""
    assert await status(LOCAL, hosts) == 400


@pytest.mark.parametrize(
    ("names", "host", "expected"),
    [
        (["glimt.example"], "glimt.example:443", 200),
        (["Glimt.Example:443"], "glimt.example", 200),
        (["glimt.example"], "www.glimt.example", 400),
        (["glimt.example"], "localhost", 400),
        (["2001:db8::1"], "[2001:db8::1]:8000", 200),
        (["[2001:DB8::1]"], "[2001:db8::1]", 200),
        (["a.example", "b.example"], "b.example", 200),
        (["*"], "anything.test", 200),
        (["a.example", "*"], "anything.test", 200),
    ],
)
async def test_the_operators_names_are_answered(names: list[str], host: str, expected: int) -> None:
    """As they were given, ports and case aside; the star is any."""
    assert await status(names, [host]) == expected


@pytest.mark.parametrize(("hosts", "expected"), [([], 400), (["a", "b"], 400), (["a"], 200)])
async def test_any_name_is_one_name(hosts: list[str], expected: int) -> None:
    """Also where every name is answered: HTTP/1.1 has exactly one Host, and of two each proxy takes another."""
    assert await status(["*"], hosts) == expected


@pytest.mark.parametrize(("hosts", "expected"), [([], 200), (["evil.test"], 400), (["a", "b"], 400)])
async def test_http_1_0_may_leave_it_out(hosts: list[str], expected: int) -> None:
    """As old load balancers do; no browser does, so that nobody's page can."""
    assert await status(LOCAL, hosts, version="1.0") == expected


@pytest.mark.parametrize(
    ("path", "expected"), [("/healthz", 200), ("/readyz", 200), ("/health", 400), ("/readyz/", 400)]
)
async def test_probes_may_call_it_anything(path: str, expected: int) -> None:
    """A supervisor knows the address and no name, and would restart what does not answer."""
    assert await status(["glimt.example"], ["10.0.0.7:8000"], path) == expected


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize(
    ("hosts", "version", "expected"), [([], "1.1", 400), (["a", "b"], "1.1", 400), ([], "1.0", 200)]
)
async def test_a_probe_has_one_host_as_well(path: str, hosts: list[str], version: str, expected: int) -> None:
    """RFC 9112, 3.2: a request without one, or with two, must be refused. Once these two addresses answered it."""
    assert await status(["glimt.example"], hosts, path, version) == expected


async def test_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    """The setting by its name, in the one form of all errors, with request id and security headers; not executable."""
    name = "<script>" + "x" * 200
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.get("/", headers={"host": name, "accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert "GLIMT_ALLOWED_HOSTS" in answer.json()["detail"]
    assert name not in answer.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, OWN),
        ({"host": "::1"}, OWN),
        ({"host": "127.0.0.9"}, OWN | {"127.0.0.9"}),
        ({"host": "0.0.0.0"}, {"*"}),
        ({"host": "10.0.0.7", "allowed_hosts": "a.example b.example"}, OWN | {"10.0.0.7", "a.example", "b.example"}),
        ({"allowed_hosts": "*"}, OWN | {"*"}),
    ],
)
def test_what_is_allowed_by_itself(given: dict[str, Any], expected: set[str]) -> None:
    """This machine's names, which no other site has; and where others can come any, unless the operator names some."""
    assert set(map(hostname, Settings(**given).hosts)) == expected


@pytest.mark.parametrize("names", ["", "  ", "a.example,b.example", "https://a.example", "a.example/"])
def test_a_list_that_no_host_could_match_is_refused(names: str) -> None:
    """At the start, not at each request."""
    with pytest.raises(ValidationError, match="allowed_hosts"):
        Settings(allowed_hosts=names)


FORWARDED = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https", "x-real-ip": "203.0.113.9"}


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "counted_as"),
    [
        pytest.param("", "127.0.0.1", "203.0.113.9", "127.0.0.1", id="nobody is trusted, not even this machine"),
        pytest.param("10.0.0.1", "192.0.2.1", "203.0.113.9", "192.0.2.1", id="somebody who is no proxy"),
        pytest.param("10.0.0.1", "10.0.0.1", "203.0.113.9", "203.0.113.9", id="the proxy"),
        pytest.param("10.0.0.1", "10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9", id="more than it knows"),
        pytest.param("10.0.0.1", "10.0.0.1", "nonsense", "unknown", id="the proxy, of no address"),
        pytest.param("10.0.0.1", "10.0.0.1", "", "10.0.0.1", id="the proxy, of nobody"),
    ],
)
async def test_only_a_named_proxy_is_believed(trusted: str, peer: str, forwarded: str, counted_as: str) -> None:
    """A limit per address is not got round by writing another one into a header."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(caller_of(Request(scope)))
        await PlainTextResponse("ok")(scope, receive, send)

    config = Server(app, Settings(forwarded_allow_ips=trusted), on_drain=lambda: None).config
    config.load()
    headers = FORWARDED | {"x-forwarded-for": forwarded}
    transport = httpx2.ASGITransport(_loaded(config), client=(peer, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.get("/", headers=headers)
    assert seen == [counted_as]


def _loaded(config: uvicorn.Config) -> Any:
    """The app as the server calls it."""
    return config.loaded_app
