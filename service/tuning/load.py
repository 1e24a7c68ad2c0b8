"""Load on a running service, and what it met: many clients that ask again when answered (closed loop), or pictures that
arrive when they please (open loop). How it is told and measured:

- Closed loop: pictures per second is clients x answers / the time that all requests took, which for clients that are
  never idle is Little's law (Lazowska et al., "Quantitative System Performance", 1984, chapter 3). Counting answers
  in a window would be off by a batch at either end, which is much when a batch takes a second.
- Open loop: Poisson arrivals. Latency counts from the instant at which a picture was DUE, whether or not the client was
  free to send it, so that a service which stalls cannot hide the wait of those it kept from being sent (coordinated
  omission; Tene, "How NOT to Measure Latency", 2013). Pictures per second counts what was answered while the stretch
  lasted, so that a service which falls behind shows. Every stretch sees the same arrivals (common random numbers).
- Refused (503, 429) and failed requests are counted, never mixed with the latencies of the answered.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol, Self

from service.counting import counted
from service.tuning.connection import Connection
from service.tuning.pictures import Distinct
from service.tuning.target import Batches, Target

REFUSED = (429, 503)
BROKEN = 0  # stands for the status of an answer that never came
RETRY_LIMIT_S = 10.0  # a refused client waits as it was told, but not longer: the stretch is short
SETTLE_LIMIT_S = 15.0  # to be rid of what was queued under the former setting
RAMP_S = 1.0  # of arrivals before those that count: an empty queue flatters
OUTSTANDING = 256  # open requests at most, as many as the service's queue holds by default
LATE_S = 0.02  # a send that much after its instant is late: the client was held up, or all were outstanding
SEED = 20


@dataclass(frozen=True, slots=True)
class Load:
    """What one stretch met. Latencies are nearest-rank percentiles of the answered, infinite when there are none.
    `failures` counts by status (0: the connection broke, or nothing came for a minute). `late` requests of an open
    loop were sent after their instant; their latency counts from it all the same."""

    answered: int
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    refused: int
    failures: dict[int, int]
    late: int
    batches: Batches

    @property
    def failed(self) -> int:
        """All that were neither answered nor refused."""
        return sum(self.failures.values())

    @property
    def lost(self) -> int:
        """All that were not answered."""
        return self.refused + self.failed

    @property
    def lost_share(self) -> float:
        """Of all requests those that were not answered."""
        return self.lost / max(1, self.lost + self.answered)


@dataclass
class Tally:
    """One stretch while it lasts."""

    latencies_s: list[float] = field(default_factory=list)
    busy_s: float = 0.0
    failures: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    late: int = 0

    def note(self, status: int, latency_s: float) -> None:
        """One request ended."""
        if status == 200:
            self.latencies_s.append(latency_s)
        elif status in REFUSED:
            self.refused += 1
        else:
            self.failures[status] += 1

    def load(self, per_s: float, batches: Batches) -> Load:
        """The stretch is over."""
        rising = sorted(self.latencies_s)
        p50, p95, p99 = (percentile_ms(rising, share) for share in (0.50, 0.95, 0.99))
        return Load(len(rising), per_s, p50, p95, p99, self.refused, dict(self.failures), self.late, batches)


def percentile_ms(rising_s: list[float], share: float) -> float:
    """Nearest rank, in milliseconds; infinite when there is none."""
    return rising_s[math.ceil(share * len(rising_s)) - 1] * 1000 if rising_s else math.inf


class Loop(Protocol):
    """A load that can be kept up. `async with` it; it ends when the block is left."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    async def measure(self, seconds: float) -> Load:
        """One stretch. Raises Unavailable when the service cannot be reached any more."""
        ...


@dataclass(frozen=True, slots=True)
class Closed:
    """So many clients, each of which asks again when answered."""

    clients: int

    def __str__(self) -> str:
        return counted(self.clients, "client")

    @property
    def weight(self) -> float:
        """For an order from light to heavy."""
        return self.clients

    def on(self, target: Target, pictures: Distinct) -> Loop:
        """Such a load on this service."""
        return ClosedLoop(target, self.clients, pictures)


@dataclass(frozen=True, slots=True)
class Open:
    """So many pictures per second, at random instants."""

    per_s: float

    def __str__(self) -> str:
        return f"{self.per_s:g} pictures/s"

    @property
    def weight(self) -> float:
        """For an order from light to heavy."""
        return self.per_s

    def on(self, target: Target, pictures: Distinct) -> Loop:
        """Such a load on this service."""
        return OpenLoop(target, self.per_s, pictures)


Arrival = Closed | Open


class ClosedLoop:
    """The clients go on between two stretches, so that a new setting meets a service at work."""

    def __init__(self, target: Target, clients: int, pictures: Distinct) -> None:
        self._target, self._clients, self._pictures = target, clients, pictures
        self._tasks: list[asyncio.Task[None]] = []
        self._tally = Tally()
        self._unheard: set[int] = set()
        self._all_heard = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def measure(self, seconds: float) -> Load:
        """Wait until every client has heard once, so that what it asks next meets only the present setting; then
        measure, until every client has heard once more if that takes longer than `seconds`."""
        self._listen()
        await self._go_on(SETTLE_LIMIT_S, self._all_heard)
        before = await self._target.batches()
        tally = self._tally = Tally()
        self._listen()
        await self._go_on(seconds, asyncio.Event())
        await self._go_on(SETTLE_LIMIT_S, self._all_heard)
        self._tally = Tally()
        per_s = self._clients * len(tally.latencies_s) / tally.busy_s if tally.busy_s else 0.0
        return tally.load(per_s, (await self._target.batches()).since(before))

    def _listen(self) -> None:
        self._unheard = set(range(self._clients))
        self._all_heard.clear()

    async def _go_on(self, limit_s: float, until: asyncio.Event) -> None:
        """Until the event or for so long; raises what ended a client."""
        waiting = asyncio.create_task(until.wait())
        try:
            done, _ = await asyncio.wait({waiting, *self._tasks}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        for task in done - {waiting}:
            task.result()

    async def _client(self, number: int) -> None:
        clock = asyncio.get_running_loop().time
        free = clock()
        with closing(self._target.connect()) as connection:
            while True:
                asked = clock()
                status, wait_s = await predict(connection, next(self._pictures))
                now = clock()
                self._tally.note(status, now - asked)
                self._tally.busy_s += now - free  # with the time it was told to wait before it asked
                free = now
                self._hear(number)
                await asyncio.sleep(wait_s)

    def _hear(self, number: int) -> None:
        self._unheard.discard(number)
        if not self._unheard:
            self._all_heard.set()


class OpenLoop:
    """Arrivals only during a stretch; the next one begins with nothing outstanding."""

    def __init__(self, target: Target, rate: float, pictures: Distinct) -> None:
        self._target, self._rate, self._pictures = target, rate, pictures
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(OUTSTANDING)
        self._stretch = (0.0, 0.0)
        self._in_time = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._idle:
            connection.close()

    async def measure(self, seconds: float) -> Load:
        """RAMP_S of arrivals that do not count, `seconds` of those that do, then wait for the last answer."""
        before, tally, clock = await self._target.batches(), Tally(), asyncio.get_running_loop().time
        begin = clock() + RAMP_S
        self._stretch, self._in_time = (begin, begin + seconds), 0
        try:
            async with asyncio.TaskGroup() as asking:
                for after_s in arrivals(self._rate, RAMP_S + seconds):
                    due = begin - RAMP_S + after_s
                    await asyncio.sleep(due - clock())
                    asking.create_task(self._ask(due, tally if due >= begin else Tally()))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None  # the service went: each of them says the same
        return tally.load(self._in_time / seconds, (await self._target.batches()).since(before))

    async def _ask(self, due: float, tally: Tally) -> None:
        clock = asyncio.get_running_loop().time
        async with self._free:
            connection = self._idle.pop() if self._idle else self._target.connect()
            try:
                tally.late += clock() - due > LATE_S
                status, _ = await predict(connection, next(self._pictures))
                now = clock()
                tally.note(status, now - due)
                self._in_time += status == 200 and self._stretch[0] <= now < self._stretch[1]
            finally:
                self._idle.append(connection)


def arrivals(rate: float, seconds: float) -> Iterator[float]:
    """The instants of a Poisson process of `rate` per second, from 0 up to `seconds`; the same at every call."""
    chance = random.Random(SEED)
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


async def predict(connection: Connection, picture: bytes) -> tuple[int, float]:
    """Ask about one picture: the status, and how long a polite client now waits. Raises Unavailable."""
    try:
        answer = await connection.ask("POST", "/predict", picture)
    except OSError:
        return BROKEN, 0.0
    return answer.status, min(answer.retry_after_s, RETRY_LIMIT_S) if answer.status in REFUSED else 0.0
