"""Lives of drain_service.py: whole services that tests begin, load and end by signals."""

import asyncio
import os
import signal
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.world import png


@dataclass
class Life:
    """One process of the service, and what it has said."""

    service: Process
    kind: str = "slow"
    port: int = 0
    pid: int = 0
    took: set[str] = field(default_factory=set)
    closing: str = ""
    end: int = 0

    async def begin(self) -> None:
        assert self.service.stdin is not None
        self.service.stdin.write(f"{self.kind}\n".encode())
        _, port, _, pid = await self.word()
        self.port, self.pid = int(port), int(pid)
        while await self.status("/readyz") != 200:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.01)

    async def listen(self, enough: Callable[["Life"], bool]) -> None:
        while not enough(self):
            kind, value = await self.word()
            if kind == "took":
                self.took.add(value)
            elif kind == "closing":
                self.closing = value
            else:
                self.end = int(value)

    async def word(self) -> list[str]:
        assert self.service.stdout is not None
        async with asyncio.timeout(60):
            return (await self.service.stdout.readline()).decode().split()

    async def status(self, path: str) -> int:
        async with connection(self) as (reader, writer):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            return (await answer(reader))[0]


@asynccontextmanager
async def services(folder: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("drain_service.py")), str(folder),
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the life that a failed test leaves
        await process.wait()


@asynccontextmanager
async def connection(life: Life) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", life.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """A whole one, or IncompleteReadError."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return int(head.split()[1]), await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))


async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, path: str, body: bytes) -> int:
    kind = {"/predict": "image/png", "/feedback": "application/json"}.get(path, "application/zip")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {name}\r\nContent-Type: {kind}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return (await answer(reader))[0]


def over(life: Life) -> bool:
    return life.end != 0


async def picture(life: Life, number: int) -> int:
    """The status of a picture sent on a connection of its own."""
    async with connection(life) as (reader, writer):
        return await post(reader, writer, f"picture-{number}", "/predict", png(number))


async def feedback(life: Life, client: int, acknowledged: set[str]) -> None:
    """Say something again and again, until the service is gone."""
    with suppress(OSError, asyncio.IncompleteReadError):
        async with connection(life) as (reader, writer):
            for number in range(100_000):
                name = f"{life.pid}-{client}-{number}"
                said = {"score": 1, "predicted_class": "x", "image_file_name": name, "verdict": "right"}
                if await post(reader, writer, name, "/feedback", orjson.dumps(said)) == 201:
                    acknowledged.add(name)


def sound(folder: Path) -> set[str]:
    """The keys of stored feedback, in a file that holds together."""
    with closing(sqlite3.connect(f"{(folder / 'glimt.db').as_uri()}?mode=ro", uri=True)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {name for (name,) in database.execute("SELECT image_file_name FROM feedback")}
