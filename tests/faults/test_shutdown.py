"""T12 and T13: the process is told to end while it is busy."""

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.faults.lives import Life, answer, connection, feedback, over, picture, post, services, sound
from tests.world import png

CLIENTS = 200
STOPS = 20
LONGEST_LIFE_S = 0.4
"""Counted from the first answer."""
BOUNDARY = "frontier"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="1.png"\r\n\r\n'.encode()

pytestmark = pytest.mark.slow


async def stream(life: Life, begun: asyncio.Semaphore) -> list[dict[str, Any]]:
    """An upload that does not end by itself: the lines of its answer."""
    async with connection(life) as (reader, writer):
        writer.write(
            "POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            f"Accept: application/x-ndjson\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
        )
        piece = PART + png(1) + b"\r\n" + PART + png(2)[:20]
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await reader.readuntil(b"\r\n\r\n")
        lines = []
        while size := int(await reader.readline(), 16):
            lines.append(orjson.loads(await reader.readexactly(size)))
            await reader.readexactly(2)
            begun.release()
        return lines


async def test_sigterm_with_two_hundred_in_flight(tmp_path: Path) -> None:
    """T12: 200 pictures in flight, three open streams and a page that keeps its connection. Draining before it stops
    listening, the service answers every picture, ends the streams with a line that says so, and ends by the signal."""
    async with services(tmp_path) as service:
        life = Life(service)
        await life.begin()
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(stream(life, begun)) for _ in range(3)]
        for _ in streams:
            await begun.acquire()
        async with connection(life) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await answer(reader))[0] == 200
            pictures = [asyncio.create_task(picture(life, number)) for number in range(CLIENTS)]
            await life.listen(lambda life: len(life.took) >= CLIENTS)
            os.kill(life.pid, signal.SIGTERM)
            await life.listen(over)
            assert await reader.read() == b""
        assert await asyncio.gather(*pictures) == [200] * CLIENTS
        for lines in await asyncio.gather(*streams):
            assert [line.get("filename") for line in lines] == ["1.png", None]
            assert (lines[-1]["done"], lines[-1]["code"], lines[-1]["ok"]) == (False, "interrupted", 1)
        assert (life.closing, life.end) == ("draining", -signal.SIGTERM)


async def test_twenty_stops_lose_nothing(tmp_path: Path) -> None:
    """T12: 200 clients ask again and again, SIGTERM comes at a random moment, 20 times. What reached the service has a
    whole answer: 200, or 503 for what came after the signal."""
    chance = random.Random(12)
    ledger: dict[str, int] = {}
    taken: set[str] = set()

    async def ask(life: Life, client: int, first: asyncio.Event) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            async with connection(life) as (reader, writer):
                for number in range(10_000):
                    name = f"{life.pid}-{client}-{number}"
                    ledger[name] = await post(reader, writer, name, "/predict", png(client))
                    first.set()

    async with services(tmp_path) as service:
        for _ in range(STOPS):
            life, first = Life(service), asyncio.Event()
            await life.begin()
            async with asyncio.TaskGroup() as group:
                for client in range(CLIENTS):
                    group.create_task(ask(life, client, first))
                group.create_task(life.listen(over))
                await first.wait()
                await asyncio.sleep(chance.uniform(0, LONGEST_LIFE_S))
                os.kill(life.pid, signal.SIGTERM)
            assert (life.closing, life.end) == ("draining", -signal.SIGTERM)
            taken |= life.took
    counts, lost = Counter(ledger.values()), taken - ledger.keys()
    print(f"{STOPS} stops: {len(taken):,} requests reached the service, answered {dict(counts)}, lost {len(lost)}")
    assert lost == set()
    assert counts.keys() <= {200, 503}
    assert counts[200] > STOPS * CLIENTS


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_does_not_wait(tmp_path: Path, second: int) -> None:
    """T13: with pictures that will never be computed, the first signal waits for them; the second ends the process.
    The database is sound and holds all feedback that was acknowledged while it happened."""
    acknowledged: set[str] = set()

    async with services(tmp_path) as service:
        life = Life(service, "stuck")
        await life.begin()
        async with asyncio.TaskGroup() as group:
            pictures = [group.create_task(asyncio.wait_for(picture(life, number), 60)) for number in range(8)]
            for client in range(8):
                group.create_task(feedback(life, client, acknowledged))
            await life.listen(lambda life: len(life.took) >= CLIENTS)
            os.kill(life.pid, signal.SIGTERM)
            await life.listen(lambda life: bool(life.closing))
            assert life.end == 0
            os.kill(life.pid, second)
            await life.listen(over)
            await asyncio.wait(pictures)
    assert life.end == -second
    assert acknowledged
    assert acknowledged <= sound(tmp_path)
