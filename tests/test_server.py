"""uvicorn as we run it: what it believes of proxies, and where it says that it listens."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.server import Server, local_url
from service.settings import Settings
from tests.world import make_app, under_uvicorn


async def seen(request: Request) -> PlainTextResponse:
    """What the app is told about who asks."""
    assert request.client
    return PlainTextResponse(f"{request.client.host} {request.url.scheme}")


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[str]:
    """An app that says what it sees, at the URL that the server announced."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    app = Starlette(routes=[Route("/", seen)])
    server = Server(app, settings, on_drain=lambda: None, on_listening=listening.set_result)
    task = asyncio.create_task(server.serve())
    try:
        yield await listening
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
async def test_it_says_where_it_listens(host: str) -> None:
    """The real port, also when any was asked for, at an address that answers from this machine."""
    async with running(Settings(host=host, port=0)) as url, httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).text.endswith(" http")


async def test_it_says_so_before_it_listens_no_longer() -> None:
    """A command went on asking at an address that somebody else could take during the drain. Nobody else can listen
    there yet when `on_closing` is called."""
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reached: list[bool] = []

    def on_closing() -> None:
        with socket.socket() as probe:
            reached.append(probe.connect_ex(("127.0.0.1", int(listening.result().rpartition(":")[2]))) == 0)

    server = Server(
        Starlette(routes=[Route("/", seen)]), Settings(port=0),
        on_drain=lambda: None, on_listening=listening.set_result, on_closing=on_closing,
    )  # fmt: skip
    task = asyncio.create_task(server.serve())
    await listening
    server.should_exit = True
    await task
    assert reached == [True]


@pytest.mark.parametrize(
    ("family", "bound", "host"),
    [
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.2", "127.0.0.2"),
        (socket.AF_INET6, "::", "[::1]"),
        (socket.AF_INET6, "::1", "[::1]"),
    ],
)
def test_local_urls(family: int, bound: str, host: str) -> None:
    """An address that stands for all is reached at the loopback one of its kind."""
    with socket.socket(family) as listening:
        try:
            listening.bind((bound, 0))
        except OSError as error:
            pytest.skip(f"{bound}: {error}")
        assert local_url(listening) == f"http://{host}:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("named", "sees"),
    [
        ("", "127.0.0.1 http"),
        ("192.0.2.1", "127.0.0.1 http"),
        ("127.0.0.1", "203.0.113.9 https"),
        ("192.0.2.1, 127.0.0.0/8", "203.0.113.9 https"),
        ("*", "198.51.100.1 https"),
    ],
)
async def test_only_named_proxies_are_believed(monkeypatch: pytest.MonkeyPatch, named: str, sees: str) -> None:
    """T42: nobody by default, also not on this machine, whatever uvicorn's own variable says. Of a chain only the
    part that named ones wrote, but for *, which believes the client itself."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9", "X-Forwarded-Proto": "https"}
    async with (
        running(Settings(port=0, forwarded_allow_ips=named)) as url,
        httpx2.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.get(url, headers=headers)).text == sees


@pytest.mark.parametrize(("named", "last"), [("", 429), ("127.0.0.1", 401)])
async def test_whom_a_limit_counts_cannot_be_made_up(tmp_path: Path, named: str, last: int) -> None:
    """T42: a caller that names another address each time is one caller; behind a named proxy they are many."""
    app = make_app(tmp_path, login_rate_address="2/hour", login_rate="off")
    async with (
        under_uvicorn(app, Settings(port=0, grace_s=5, forwarded_allow_ips=named)) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        statuses = [
            (
                await client.post(
                    "/login",
                    data={"username": "ada@example.org", "password": f"wrong {n}"},
                    headers={"X-Forwarded-For": f"203.0.113.{n}"},
                )
            ).status_code
            for n in range(3)
        ]
    assert statuses == [401, 401, last]
