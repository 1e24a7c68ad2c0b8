"""A raw HTTP/1.1 client that can do what no good client does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson

BOUNDARY = "frontier"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's, out of the envelope."""
        assert self.headers["content-type"] == "application/problem+json", self
        document: dict[str, Any] = orjson.loads(self.body)
        assert document["request_id"] == self.headers["x-request-id"]
        assert document["status"] == self.status
        return str(document["code"])


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        """One of a chunked body."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def answer(self) -> Answer:
        """The next one that has a Content-Length."""
        async with asyncio.timeout(20):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(lines[0].split()[1]), headers, body)

    async def line(self) -> dict[str, Any]:
        """The next of an NDJSON stream: each comes as a chunk of its own."""
        async with asyncio.timeout(20):
            size = int(await self.reader.readline(), 16)
            document: dict[str, Any] = orjson.loads(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        return document

    async def ended(self) -> bytes:
        """What came until the server ended the connection."""
        async with asyncio.timeout(20):
            with suppress(ConnectionResetError):
                return await self.reader.read()
        return b""

    async def trickle(self, data: bytes = b"x") -> None:
        """Send it again and again, a little at a time, until the server has ended its side."""
        async with asyncio.timeout(20):
            with suppress(OSError):
                while not self.reader.at_eof():
                    await self.send(data)
                    await asyncio.sleep(0.02)  # the pace of a slow client, not a guess

    async def push(self, data: bytes) -> None:
        """Send it again and again, whatever the server says, until it has hung up."""
        async with asyncio.timeout(20):
            with suppress(OSError):
                while True:
                    await self.send(data)
                    await asyncio.sleep(0.002)  # a busy sender, that lets others run


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """A connection, aborted at the end."""
    one = Raw(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield one
    finally:
        one.writer.transport.abort()


def head(target: str = "/predict", *headers: str, method: str = "POST") -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def post(body: bytes, *headers: str, target: str = "/predict") -> bytes:
    """A whole request."""
    return head(target, f"Content-Length: {len(body)}", *headers) + body


def stream_head() -> bytes:
    """The head of a stream of pictures in chunks."""
    return head(
        "/predict",
        "Transfer-Encoding: chunked",
        "Accept: application/x-ndjson",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
    )


def part(name: str, data: bytes) -> bytes:
    """A picture of a form."""
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return start.encode() + data + b"\r\n"


def form(parts: Sequence[bytes], target: str = "/predict") -> bytes:
    """A whole form."""
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return post(body, f"Content-Type: multipart/form-data; boundary={BOUNDARY}", target=target)
