"""An open loop as light as can be: pictures that arrive when they please, over raw HTTP/1.1, and what became of each.

It is made to run in a process of its own, on cores that it shares with the service. So nothing is built while it
runs: a request is a head and a picture made before, and sixteen bytes that make it unlike any other. A connection is
kept for as long as the service keeps it; whoever finds none free opens one. It never waits for an answer before it
sends the next, and tells how late it was, which is the measure of whether it could keep up.
"""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import uvloop

from perf.clients import ANSWERED, BROKEN, ask_once
from service.connections import raise_open_files
from service.tuning.load import arrivals
from service.tuning.pictures import Distinct

SILENT = "no answer"
PATIENCE_S = 60.0
"""After the last picture arrived; six times the service's own default deadline."""
FRESH_PAUSE_S = 0.05
MARK_BYTES = 16
SENT_AWAY = b"More pictures arrive than can be computed."
"""What the service says to those whom it had let in and then found to wait in vain."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Offer(NamedTuple):
    """One picture of `size` bytes. Seconds: when it was due, counted from the first; how late it was sent; from then to
    the answer's head. `outcome`: a status, BROKEN or SILENT. `waited`: it was refused after it had been let in."""

    due_s: float
    late_s: float
    took_s: float
    outcome: str
    size: int
    retry_after_s: int = 0
    waited: bool = False


class Storm(NamedTuple):
    """All of it. `offered`: how many were sent; all that ended are in `offers`. `fresh_s`: from the last arrival to the
    answer to a fresh request; None: it never came. `fresh`: the statuses that it met on the way. `cpu`: cores that the
    generator itself took. `connections` that were opened."""

    offered: int
    offers: list[Offer]
    seconds: float
    fresh_s: float | None
    fresh: Counter[str]
    cpu: float
    connections: int


class Body(NamedTuple):
    """A picture, and one more of how many is this one; padded behind its end to `size` bytes, 0 for as it is."""

    size: int
    one_of: int


MIX = (Body(4 * 1024 * 1024, 400), Body(1024 * 1024, 100))
"""Beside the pictures as they are, the first that is due: what is refused must not take longer because it is large."""


def unleash(port: int, pictures: Sequence[bytes], rate: float, seconds: float, mix: Sequence[Body] = MIX) -> Storm:
    """Blocking, in an event loop of its own: `rate` pictures a second for so long, all answers, and a fresh one."""
    raise_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Generator(port, pictures, mix).run(rate, seconds))


class _Request(NamedTuple):
    """Made before the storm. MARK_BYTES more are sent behind it, by which no two are alike."""

    head_and_picture: bytes
    size: int

    @classmethod
    def of(cls, picture: bytes) -> "_Request":
        size = len(picture) + MARK_BYTES
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
        return cls(f"{head}Content-Length: {size}\r\n\r\n".encode() + picture, size)


class _Ask(NamedTuple):
    """One picture on its way. `sent_at` is a time of the loop's clock."""

    due_s: float
    late_s: float
    sent_at: float
    size: int


class _Line(asyncio.Protocol):
    """A connection. `done` is told how an ask ended, and whether the line can take another; `lost` that it is gone."""

    transport: asyncio.Transport

    def __init__(self, done: Callable[["_Line", Offer, bool], None], lost: Callable[["_Line"], None]) -> None:
        self._done, self._lost = done, lost
        self._clock = asyncio.get_running_loop().time
        self._ask: _Ask | None = None
        self._heard_at = 0.0
        self._answer = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def send(self, ask: _Ask, request: bytes, mark: bytes) -> None:
        self._ask = ask
        self._answer.clear()
        self.transport.write(request)
        self.transport.write(mark)

    def data_received(self, data: bytes) -> None:
        if not self._answer:
            self._heard_at = self._clock()
        self._answer += data
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._answer[:end])
        length = _LENGTH.search(head)
        if length and len(self._answer) >= end + 4 + int(length[1]):
            retry = _RETRY.search(head)
            waited = SENT_AWAY in self._answer[end:]
            self._end(head[9:12].decode(), not _CLOSE.search(head), int(retry[1]) if retry else 0, waited)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self)
        self._end(BROKEN, goes_on=False)

    def give_up(self) -> None:
        """Nobody waits any more."""
        self._heard_at = self._clock()
        self._end(SILENT, goes_on=False)

    def _end(self, outcome: str, goes_on: bool, retry_after_s: int = 0, waited: bool = False) -> None:
        if (ask := self._ask) is None:
            return
        self._ask = None
        if not self._answer:
            self._heard_at = self._clock()
        took_s = self._heard_at - ask.sent_at
        if not goes_on:
            self.transport.abort()
        self._done(self, Offer(ask.due_s, ask.late_s, took_s, outcome, ask.size, retry_after_s, waited), goes_on)


class _Generator:
    def __init__(self, port: int, pictures: Sequence[bytes], mix: Sequence[Body]) -> None:
        self._port = port
        self._offers: list[Offer] = []
        self._idle: list[_Line] = []
        self._busy: set[_Line] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._ended = asyncio.Event()  # one of them, for a look whether all have
        self._salt = os.urandom(4).hex().encode()
        self._requests = [_Request.of(picture) for picture in pictures]
        self._larger = [(body.one_of, _Request.of(pictures[0].ljust(body.size, b"\0"))) for body in mix]
        self._met: Counter[str] = Counter()
        self._fresh = next(Distinct(list(pictures[:1])))

    async def run(self, rate: float, seconds: float) -> Storm:
        clock, cpu = asyncio.get_running_loop().time, time.process_time()
        began, offered = clock(), 0
        for due_s in arrivals(rate, seconds):
            await asyncio.sleep(max(0.0, began + due_s - clock()))
            now = clock()
            request = self._request(offered)
            self._offer(_Ask(due_s, now - began - due_s, now, request.size), request, b"%b%08x" % (self._salt, offered))
            offered += 1
        await asyncio.sleep(max(0.0, began + seconds - clock()))
        cores = (time.process_time() - cpu) / (clock() - began)
        fresh_s = await self._until_answered()
        await self._last_answers()
        return Storm(offered, self._offers, seconds, fresh_s, self._met, cores, self._connections)

    def _request(self, number: int) -> _Request:
        larger = (request for one_of, request in self._larger if number % one_of == one_of - 1)
        return next(larger, self._requests[number % len(self._requests)])

    def _offer(self, ask: _Ask, request: _Request, mark: bytes) -> None:
        while self._idle:
            line = self._idle.pop()
            if not line.transport.is_closing():
                self._busy.add(line)
                line.send(ask, request.head_and_picture, mark)
                return
        task = asyncio.create_task(self._open(ask, request, mark))
        self._opening.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        self._ended.set()

    async def _open(self, ask: _Ask, request: _Request, mark: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._connections += 1
        try:
            _, line = await loop.create_connection(lambda: _Line(self._done, self._lost), "127.0.0.1", self._port)
        except OSError:
            self._offers.append(Offer(ask.due_s, ask.late_s, loop.time() - ask.sent_at, BROKEN, ask.size))
            return
        self._busy.add(line)
        line.send(ask, request.head_and_picture, mark)

    def _done(self, line: _Line, offer: Offer, goes_on: bool) -> None:
        self._busy.discard(line)
        self._offers.append(offer)
        self._ended.set()
        if goes_on:
            self._idle.append(line)

    def _lost(self, line: _Line) -> None:
        with suppress(ValueError):
            self._idle.remove(line)

    async def _until_answered(self) -> float | None:
        """Seconds until a fresh request is answered; one that is refused asks again, and again."""
        clock = asyncio.get_running_loop().time
        began = clock()
        while clock() < began + PATIENCE_S:
            with suppress(OSError, EOFError, ValueError, TimeoutError):
                status = str((await ask_once(self._port, self._fresh, PATIENCE_S)).status)
                self._met[status] += 1
                if status == ANSWERED:
                    return clock() - began
            await asyncio.sleep(FRESH_PAUSE_S)
        return None

    async def _last_answers(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self._busy or self._opening:
                    self._ended.clear()
                    await self._ended.wait()
        for line in [*self._busy]:
            line.give_up()
        for task in self._opening:
            task.cancel()
        for line in self._idle:
            line.transport.abort()
        await asyncio.sleep(0)  # the connections end
