"""The minimal client against a scripted server."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from service.errors import BadRequest, Unavailable
from service.tuning.connection import Address, Connection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[Address, list[int]]]:
    """A server that gives these answers in turn, and closes after one that says so; counts requests per connection."""
    waiting, connections = list(answers), list[int]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        mine = len(connections) - 1
        while waiting and await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            connections[mine] += 1
            answer = waiting.pop(0)
            writer.write(answer)
            if b"close" in answer or answer != OK:
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), connections


@pytest.mark.parametrize(
    ("url", "authority", "path", "tls"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "", False),
        ("http://localhost/", "localhost:80", "", False),
        ("https://[::1]/glimt/", "[::1]:443", "/glimt", True),
    ],
)
def test_addresses(url: str, authority: str, path: str, tls: bool) -> None:
    """Ports by scheme, IPv6 in brackets, a path before ours."""
    address = Address.of(url)
    assert (address.authority, address.path, address.tls) == (authority, path, tls)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://host:99999", "http://a:b@host"])
def test_what_is_no_address(url: str) -> None:
    """Said in words, with an example."""
    with pytest.raises(BadRequest, match="is not the URL of a service"):
        Address.of(url)


async def test_a_connection_is_kept() -> None:
    """Two requests, one connection."""
    async with answering(OK, OK) as (address, connections):
        with closing(Connection(address)) as connection:
            assert [(await connection.ask("GET", "/")).body for _ in range(2)] == [b"hi", b"hi"]
        assert connections == [2]


async def test_a_closed_connection_is_opened_anew() -> None:
    """After `Connection: close`, as Glimt sends when it refuses before the upload is read."""
    refused = b"HTTP/1.1 503 No\r\nConnection: close\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    async with answering(refused, OK) as (address, connections):
        with closing(Connection(address)) as connection:
            answer = await connection.ask("GET", "/")
            assert (answer.status, answer.retry_after_s) == (503, 7)
            assert (await connection.ask("GET", "/")).status == 200
        assert connections == [1, 1]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", b"close", b"SSH-2.0\r\n\r\nclose"]
)
async def test_a_broken_answer_is_an_os_error(answer: bytes) -> None:
    """Broken off in the body or before, or no HTTP; the next request is asked on a new connection."""
    async with answering(answer, OK) as (address, _):
        with closing(Connection(address)) as connection:
            with pytest.raises(OSError, match="broke off"):
                await connection.ask("GET", "/")
            assert (await connection.ask("GET", "/")).status == 200


async def test_a_token_is_asked_for_each_request() -> None:
    """A long run signs anew; without one there is no header."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
        writer.close()

    tokens = iter(["one", "two", ""])
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = Address.of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with closing(Connection(address, lambda: next(tokens))) as connection:
            for _ in range(3):
                await connection.ask("GET", "/")
    assert [re.findall(rb"Authorization: (.*)\r\n", head) for head in heads] == [[b"Bearer one"], [b"Bearer two"], []]


async def test_nobody_there() -> None:
    """Unavailable, with what to do."""
    with pytest.raises(Unavailable, match=r"No service can be reached at http://127.0.0.1:9: .*`glimt serve`.*--url"):
        await Connection(Address.of("http://127.0.0.1:9")).ask("GET", "/")
