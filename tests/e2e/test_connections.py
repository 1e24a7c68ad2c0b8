"""What only a real server shows: streaming both ways, clients that leave, draining."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import orjson

from service.settings import Settings
from tests.fakes import GatedEngine
from tests.world import make_app, png, under_uvicorn, until

BOUNDARY = "frontier"


def part(name: str, data: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + data + b"\r\n"


class Client:
    """A raw HTTP/1.1 connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(OSError):  # when it was aborted
            await self.writer.wait_closed()

    async def post(self, body: bytes, *headers: str) -> None:
        head = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
        self.writer.write("\r\n".join(head).encode() + body)
        await self.writer.drain()

    async def begin_stream(self) -> None:
        head = (
            "POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            f"Accept: application/x-ndjson\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        self.writer.write(head.encode())

    async def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self) -> None:
        await self.send(f"--{BOUNDARY}--\r\n".encode())
        self.writer.write(b"0\r\n\r\n")

    async def head(self) -> int:
        return int((await self.reader.readuntil(b"\r\n\r\n")).split()[1])

    async def line(self) -> dict[str, Any]:
        """The next NDJSON line, each of which comes as a chunk of its own."""
        size = int(await self.reader.readline(), 16)
        document: dict[str, Any] = orjson.loads(await self.reader.readexactly(size))
        await self.reader.readexactly(2)
        return document


async def test_first_result_comes_before_the_last_picture_is_sent(tmp_path: Path) -> None:
    """Streaming in both directions at once."""
    async with under_uvicorn(make_app(tmp_path)) as port, Client(port) as client:
        await client.begin_stream()
        await client.send(part("1.png", png(1)) + f"--{BOUNDARY}\r\n".encode()[:0])
        await client.send(part("2.png", png(2))[:30])  # the second part's beginning ends the first
        assert await client.head() == 200
        assert (await client.line())["filename"] == "1.png"
        await client.send(part("2.png", png(2))[30:])
        await client.end()
        assert (await client.line())["filename"] == "2.png"
        assert await client.line() == {"done": True, "ok": 2, "failed": 0}


async def test_client_that_leaves_while_queued_is_not_computed(tmp_path: Path) -> None:
    """T1: the item leaves the queue, the counter counts it, no task is left behind."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=1)
    async with under_uvicorn(app) as port:
        stats = app.house.classifier.stats
        tasks_before = len(asyncio.all_tasks())
        async with Client(port) as blocker:
            await blocker.post(png(1))
            await until(lambda: stats().running == 1)
            async with Client(port) as leaver:
                await leaver.post(png(2))
                await until(lambda: stats().pending == 1)
            await until(lambda: stats().pending == 0)
            assert stats().totals["cancelled"] == 1
            engine.gate.set()
            assert await blocker.head() == 200
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
    assert sum(map(len, engine.batches)) == 1


async def test_client_that_leaves_during_compute_harms_nobody(tmp_path: Path) -> None:
    """T2: seven good clients and one leaver in a batch: seven right answers."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=8)
    stats = app.house.classifier.stats
    async with under_uvicorn(app) as port, AsyncExitStack() as stack:
        blocker, leaver, *good = [await stack.enter_async_context(Client(port)) for _ in range(9)]
        await blocker.post(png(0))
        await until(lambda: stats().running == 1)
        for red, client in enumerate([leaver, *good], 1):
            await client.post(png(red))
        await until(lambda: stats().pending == 8)
        engine.slow_gate.clear()
        engine.gate.set()
        await until(lambda: stats().running == 8)
        leaver.writer.transport.abort()
        await until(lambda: stats().totals.get("cancelled") == 1)
        engine.slow_gate.set()
        assert [await client.head() for client in good] == [200] * 7
    assert [len(batch) for batch in engine.batches] == [1, 8]


async def test_client_that_leaves_its_stream_ends_it(tmp_path: Path) -> None:
    """T2: what it had in the queue is dropped and its tasks end."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=1)
    async with under_uvicorn(app) as port:
        stats = app.house.classifier.stats
        async with Client(port) as leaver:
            await leaver.begin_stream()
            for red in range(6):
                await leaver.send(part(f"{red}.png", png(red)))
            await leaver.send(part("end.png", png(99))[:40])
            await until(lambda: (stats().running, stats().pending) == (1, 5))
        await until(lambda: stats().pending == 0)
        engine.gate.set()
        await until(lambda: stats().running == 0)
    assert sum(map(len, engine.batches)) == 1


async def test_leaver_whose_window_is_full_is_noticed(tmp_path: Path) -> None:
    """T2: a stream that is not read on because its window is full must still see its client leave; once it went on
    to submit what it had read ahead."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=1, max_images_per_request=4)
    async with under_uvicorn(app) as port:
        stats = app.house.classifier.stats
        async with Client(port) as leaver:
            await leaver.begin_stream()
            await leaver.send(b"".join(part(f"{red}.png", png(red)) for red in range(12)))
            await until(lambda: (stats().running, stats().pending) == (1, 3))
            leaver.writer.transport.abort()
        await until(lambda: stats().pending == 0)
        engine.gate.set()
        await until(lambda: stats().running == 0)
        assert stats().totals["submitted"] == 4
    assert sum(map(len, engine.batches)) == 1


async def test_drain_interrupts_a_busy_stream(tmp_path: Path) -> None:
    """T12: a stream whose next picture is always there already is interrupted too; once it was answered to its end."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=1, max_images_per_request=4)
    async with under_uvicorn(app) as port, Client(port) as client:
        stats = app.house.classifier.stats
        await client.begin_stream()
        await client.send(b"".join(part(f"{red}.png", png(red)) for red in range(20)))
        await client.end()
        await until(lambda: (stats().running, stats().pending) == (1, 3))
        app.house.drain()
        await until(lambda: app.house.classifier.status == "draining")
        engine.gate.set()
        assert await client.head() == 200
        lines = [await client.line()]
        while "done" not in lines[-1]:
            lines.append(await client.line())
    assert (lines[-1]["code"], lines[-1]["error"]["code"]) == ("interrupted", "draining")
    assert lines[-1]["ok"] == len(lines) - 1 <= 6


async def test_drain_answers_who_was_admitted_and_still_uploads(tmp_path: Path) -> None:
    """T12: admitted before the drain is answered, also when the upload ends after it began."""
    app = make_app(tmp_path)
    async with under_uvicorn(app) as port, Client(port) as client:
        body = png(1)
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.writer.write(head.encode() + body[:20])
        await until(lambda: app.house.classifier.admitted == 1)
        app.house.drain()
        await until(lambda: app.house.classifier.status == "draining")
        client.writer.write(body[20:])
        assert await client.head() == 200


async def test_drain_answers_what_was_accepted(tmp_path: Path) -> None:
    """T12: on SIGTERM's drain readiness is 503, new pictures are refused, accepted ones and streams are answered."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=4)
    async with under_uvicorn(app, Settings(port=0, grace_s=20)) as port, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(port)) for _ in range(12)]
        for red, client in enumerate(clients):
            await client.post(png(red))
        await until(lambda: (s := app.house.classifier.stats()).pending + s.running == 12)
        async with Client(port) as stream, Client(port) as late:
            await stream.begin_stream()
            await stream.send(part("1.png", png(100)) + part("2.png", png(101))[:40])
            await until(lambda: (s := app.house.classifier.stats()).pending + s.running == 13)
            app.house.drain()
            await until(lambda: app.house.classifier.status == "draining")
            await late.post(png(200))
            assert await late.head() == 503
            engine.gate.set()
            assert await stream.head() == 200
            assert (await stream.line())["filename"] == "1.png"
            last = await stream.line()
            assert (last["done"], last["code"], last["ok"]) == (False, "interrupted", 1)
        assert [await client.head() for client in clients] == [200] * 12


async def test_a_thousand_requests_with_leavers_and_damage(tmp_path: Path) -> None:
    """Four waves of 250: a third leave while queued, a tenth are damaged. Every other one is answered rightly, of the
    leavers not one is computed, and the gauges and tasks return to where they were."""
    chance = random.Random(7)
    engine = GatedEngine()
    app = make_app(tmp_path, engine, max_pending=1000, max_batch=256)  # never full, so none is at hand
    stats = app.house.classifier.stats
    async with under_uvicorn(app) as port:
        before = len(asyncio.all_tasks())
        for wave in range(4):
            kinds = ["leave"] * 83 + ["damaged"] * 25 + ["stay"] * 142
            chance.shuffle(kinds)
            pictures = [png(wave * 250 + n) for n in range(250)]
            engine.gate.clear()
            async with AsyncExitStack() as stack:
                blocker, *clients = [await stack.enter_async_context(Client(port)) for _ in range(251)]
                await blocker.post(png(5000 + wave))
                await until(lambda: stats().running == 1)
                for client, kind, picture in zip(clients, kinds, pictures, strict=True):
                    await client.post(picture[:60] if kind == "damaged" else picture)
                await until(lambda: stats().pending == 225)
                for client, kind in zip(clients, kinds, strict=True):
                    if kind == "leave":
                        client.writer.transport.abort()
                await until(lambda: stats().pending == 142)
                engine.gate.set()
                for client, kind in zip(clients, kinds, strict=True):
                    if kind != "leave":
                        assert await client.head() == (422 if kind == "damaged" else 200)
                assert await blocker.head() == 200
        await until(lambda: (stats().pending, stats().announced, stats().running) == (0, 0, 0))
        await until(lambda: len(asyncio.all_tasks()) <= before)
        assert stats().totals["cancelled"] == 4 * 83
    assert sum(map(len, engine.batches)) == 4 * (142 + 1)
