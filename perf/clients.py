"""Closed-loop clients over raw HTTP/1.1: each asks, waits, asks again. As light as can be, for they share the machine.

A client has a patience: when it is over, it closes the connection and asks again on a new one. It tells the service
nothing of it. Unlike the client of `glimt tune` it speaks with other servers too, who may answer in chunks.
"""

import asyncio
import math
import re
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from service.tuning.pictures import Distinct

ANSWERED = "200"
GAVE_UP = "gave up"
BROKEN = "broken connection"
REFUSED = ("429", "503")


class Asked(NamedTuple):
    """One request: when it ended and how long it took (seconds), and how it ended: a status, GAVE_UP or BROKEN.
    `idle`: seconds that its client rested before it asked. `first`: its client had not asked before."""

    ended: float
    took: float
    outcome: str
    idle: float = 0.0
    first: bool = False


class Manner(NamedTuple):
    """How a client behaves. When it was not answered it asks again `pause_s` after it asked before; later if the server
    said so in Retry-After, which it obeys for up to `obey_s`. `authorization` is sent along with each request."""

    patience_s: float
    pause_s: float
    obey_s: float = 0.0
    authorization: str = ""


PATIENT = Manner(120, 0.1, obey_s=30)
IMPATIENT = Manner(2, 2)


class Latencies(NamedTuple):
    """Milliseconds."""

    p50: float
    p95: float
    p99: float


class Answer(NamedTuple):
    """`retry_after_s` is 0 when the server does not say."""

    status: int
    body: bytes
    retry_after_s: int = 0


class Connection:
    """Keep-alive while all goes well; opened when needed."""

    def __init__(self, port: int, authorization: str = "") -> None:
        self._port = port
        self._head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        if authorization:
            self._head += f"Authorization: {authorization}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> Answer:
        """POST /predict. Raises OSError or EOFError when the connection breaks."""
        reader, writer = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
        self._streams = reader, writer
        writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        headers = await reader.readuntil(b"\r\n\r\n")
        answer = await _body(reader, headers)
        if b"connection: close" in headers.lower():
            self.close()
        retry = re.search(rb"retry-after: *(\d+)", headers, re.IGNORECASE)
        return Answer(int(headers.split(None, 2)[1]), answer, int(retry[1]) if retry else 0)

    def close(self) -> None:
        """Hang up."""
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def _body(reader: asyncio.StreamReader, headers: bytes) -> bytes:
    if length := re.search(rb"content-length: *(\d+)", headers, re.IGNORECASE):
        return await reader.readexactly(int(length[1]))
    chunks = []
    while size := int(await reader.readline(), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(chunks)


async def client(port: int, pictures: Distinct, until: float, manner: Manner, asked: list[Asked]) -> None:
    """Ask until `until` (perf_counter); what was asked by then is waited for. Appends to `asked`."""
    connection, free, first = Connection(port, manner.authorization), time.perf_counter(), True
    while (started := time.perf_counter()) < until:
        told_s = 0
        try:
            async with asyncio.timeout(manner.patience_s):
                answer = await connection.post(next(pictures))
            outcome, told_s = str(answer.status), answer.retry_after_s
        except TimeoutError:
            outcome = GAVE_UP
        except (OSError, EOFError, ValueError):
            outcome = BROKEN
        now = time.perf_counter()
        asked.append(Asked(now, now - started, outcome, started - free, first))
        free, first = now, False
        if outcome != ANSWERED:
            connection.close()
            await asyncio.sleep(max(started + manner.pause_s - now, min(told_s, manner.obey_s)))
    connection.close()


async def crowd(port: int, clients: int, pictures: Distinct, seconds: float, manner: Manner) -> list[Asked]:
    """All clients at once for `seconds`; every request that ended, until the last client was done."""
    asked: list[Asked] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(client(port, pictures, until, manner, asked) for _ in range(clients)))
    return asked


async def ask_once(port: int, picture: bytes, patience_s: float) -> Answer:
    """One request on a connection of its own. Raises TimeoutError, OSError, EOFError or ValueError."""
    connection = Connection(port)
    try:
        async with asyncio.timeout(patience_s):
            return await connection.post(picture)
    finally:
        connection.close()


def steady(asked: Sequence[Asked], begin: float, end: float) -> list[Asked]:
    """Those that ended in [begin, end] after every client had heard once, for the first answers come from a queue that
    is still filling. One client that hears nothing cannot spoil more than half of the window."""
    heard = max((one.ended for one in asked if one.first), default=begin)
    return [one for one in asked if max(begin, min(heard, (begin + end) / 2)) <= one.ended <= end]


def per_second(asked: Sequence[Asked], clients: int) -> float:
    """Answers per second: clients x answers / the time from each request's predecessor to its end, all added up, which
    for clients that always ask again is Little's law, as in service/tuning/load.py. Answers come in clumps, a batch at
    a time: counting them in a window would be off by up to a batch at either end."""
    spent = sum(one.took + one.idle for one in asked)
    return clients * sum(one.outcome == ANSWERED for one in asked) / spent if spent else 0.0


def answered(asked: Sequence[Asked], begin: float = -math.inf, end: float = math.inf) -> list[float]:
    """Seconds that the requests took which were answered in [begin, end]."""
    return [one.took for one in asked if one.outcome == ANSWERED and begin <= one.ended <= end]


def failures(asked: Sequence[Asked]) -> Counter[str]:
    """How many ended otherwise, by how."""
    return Counter(one.outcome for one in asked if one.outcome != ANSWERED)


def latencies(seconds: Sequence[float]) -> Latencies | None:
    """None when fewer than two were answered."""
    if len(seconds) < 2:
        return None
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return Latencies(*(round(cuts[percent - 1] * 1000, 1) for percent in (50, 95, 99)))
