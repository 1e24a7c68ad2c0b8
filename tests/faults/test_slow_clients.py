"""T2, T3, T4: clients that send or read too slowly are ended at a deadline, and cost nobody else anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service import protocol
from service.app import Glimt
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.faults.raw import BOUNDARY, Raw, head, part, post, raw, stream_head
from tests.world import make_app, png, under_uvicorn, until

LONG_S = 1000


@asynccontextmanager
async def serving(app: Glimt, **short_s: float) -> AsyncIterator[int]:
    """The app under uvicorn, with all but these deadlines too long to matter; its port."""
    long: dict[str, Any] = dict.fromkeys(("header_timeout_s", "body_timeout_s", "write_timeout_s"), LONG_S)
    async with under_uvicorn(app, Settings(port=0, grace_s=5, **(long | short_s))) as port:
        yield port


async def healthy(port: int) -> bool:
    """Whether a normal request is answered."""
    async with raw(port) as client:
        await client.send(head("/healthz", method="GET"))
        return (await client.answer()).status == 200


async def test_t3_slow_heads_are_ended(tmp_path: Path) -> None:
    """A hundred that send their head byte by byte: others are answered meanwhile, and each gets a 408 and the end."""
    async with serving(make_app(tmp_path), header_timeout_s=0.5) as port, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(raw(port)) for _ in range(100)]
        trickles = [asyncio.create_task(one.send(b"GET /healthz HTTP/1.1\r\nX: ")) for one in slow]
        trickles += [asyncio.create_task(one.trickle()) for one in slow]
        assert await healthy(port)
        answers = [await one.answer() for one in slow]
        await asyncio.gather(*trickles)
        assert {(answer.status, answer.code, answer.headers["connection"]) for answer in answers} == {
            (408, "too_slow", "close")
        }


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
async def test_t3_who_begins_no_request_is_ended_without_words(tmp_path: Path, sent: bytes) -> None:
    """A browser that connects ahead would take a 408 for the answer to its next request; line breaks are no request."""
    async with serving(make_app(tmp_path), header_timeout_s=0.2) as port, raw(port) as client:
        trickle = asyncio.create_task(client.trickle(sent)) if sent else None
        assert await client.ended() == b""
        if trickle:
            await trickle


async def test_t3_a_slow_second_head_is_ended(tmp_path: Path) -> None:
    """The deadline counts from each head's first byte, on a connection that was used before."""
    async with serving(make_app(tmp_path), header_timeout_s=0.2) as port, raw(port) as client:
        await client.send(head("/healthz", method="GET"))
        assert (await client.answer()).status == 200
        await client.send(b"GET /")
        trickle = asyncio.create_task(client.trickle())
        assert (await client.answer()).status == 408
        await trickle


async def test_t3_a_slow_head_behind_a_request_does_not_harm_it(tmp_path: Path) -> None:
    """What was asked before is answered, also when that takes longer; then the connection ends."""
    engine = GatedEngine(open_gate=False)
    async with (
        serving(make_app(tmp_path, engine), header_timeout_s=0.2) as port,
        raw(port) as client,
        raw(port) as clock,
    ):
        await client.send(post(png(1)) + b"GET / HTT")
        await clock.send(b"GET / HTT")
        assert (await clock.answer()).status == 408
        engine.gate.set()
        assert (await client.answer()).status == 200
        assert await client.ended() == b""


async def test_t4_a_slow_body_gives_its_place_back(tmp_path: Path) -> None:
    """It is slower than the least rate: 408 and the end; the only place, which it held, is free again."""
    app = make_app(tmp_path, max_pending=1)
    async with serving(app, body_timeout_s=0.3) as port, raw(port) as slow, raw(port) as other:
        await slow.send(head("/predict", "Content-Length: 100000"))
        await until(lambda: app.house.classifier.admitted == 1)
        await other.send(post(png(1)))
        assert (await other.answer()).status == 503
        trickle = asyncio.create_task(slow.trickle())
        answer = await slow.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (408, "too_slow", "close")
        await other.send(post(png(1)))
        assert (await other.answer()).status == 200
        await trickle


async def test_t4_a_silent_body_is_ended(tmp_path: Path) -> None:
    """Nothing comes after its first bytes."""
    async with serving(make_app(tmp_path), body_timeout_s=0.2) as port, raw(port) as client:
        await client.send(post(png(1))[:-20])
        assert (await client.answer()).status == 408
        assert await client.ended() == b""


async def test_t4_a_slow_archive_leaves_no_file(tmp_path: Path) -> None:
    """What came of it lies on the disk until then."""
    unfinished = tmp_path / "jobs" / "unfinished"
    async with serving(make_app(tmp_path), body_timeout_s=0.3) as port, raw(port) as client:
        await client.send(head("/api/jobs", "Content-Length: 100000", "Content-Type: application/zip"))
        await until(lambda: any(unfinished.iterdir()))
        trickle = asyncio.create_task(client.trickle(b"PK"))
        assert (await client.answer()).status == 408
        await trickle
        await until(lambda: not any(unfinished.iterdir()))


async def test_t4_a_body_that_comes_on_is_taken(tmp_path: Path) -> None:
    """More than the least rate is enough, however long it takes: here through several deadlines, as a client that is
    ended by the same deadline shows."""
    body = bytes(200_000)
    async with serving(make_app(tmp_path), body_timeout_s=0.2) as port, raw(port) as client, AsyncExitStack() as stack:
        await client.send(head("/predict", f"Content-Length: {len(body)}"))
        sent = 0
        for _ in range(3):
            clock = await stack.enter_async_context(raw(port))
            await clock.send(head("/predict", "Content-Length: 100000"))
            ended = asyncio.create_task(clock.answer())
            while not ended.done():
                await client.send(body[sent : sent + 1000])
                sent += 1000
                await asyncio.sleep(0.02)
        await client.send(body[sent:])
        assert (await client.answer()).status == 415


async def begin_stream(client: Raw) -> None:
    """A stream with one picture answered, that pauses."""
    await client.send(stream_head())
    await client.chunk(part("1.png", png(1)) + f"--{BOUNDARY}\r\n".encode())
    await client.reader.readuntil(b"\r\n\r\n")
    assert (await client.line())["filename"] == "1.png"


async def test_t4_a_stream_may_pause(tmp_path: Path) -> None:
    """Who takes pictures one by one has nothing to send for a while: a body of which nothing was answered yet is ended
    meanwhile, the stream is not."""
    async with serving(make_app(tmp_path), body_timeout_s=0.2) as port, raw(port) as client:
        await begin_stream(client)
        for _ in range(3):
            async with raw(port) as clock:
                await clock.send(head("/predict", "Content-Length: 100000"))
                assert (await clock.answer()).status == 408
        await client.chunk(part("2.png", png(2))[len(BOUNDARY) + 4 :] + f"--{BOUNDARY}--\r\n".encode())
        assert (await client.line())["filename"] == "2.png"
        assert (await client.line())["done"]


async def test_t4_a_stream_that_is_silent_for_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last line says why."""
    monkeypatch.setattr(protocol, "STREAM_TIMEOUT_S", 0.3)
    app = make_app(tmp_path)
    async with serving(app, body_timeout_s=0.1) as port, raw(port) as client:
        await begin_stream(client)
        last = await client.line()
        assert (last["done"], last["code"], last["ok"]) == (False, "too_slow", 1)
        assert await client.ended() == b"0\r\n\r\n"
        assert app.house.classifier.memory.held == 0


async def test_t2_a_client_that_does_not_read_its_stream_is_hung_up_on(tmp_path: Path) -> None:
    """It sends pictures and never takes the answers: its task ends, and what it held is free."""
    app = make_app(tmp_path)
    async with serving(app, write_timeout_s=0.3) as port:
        tasks = len(asyncio.all_tasks())
        async with raw(port) as client:
            await client.send(stream_head())
            many = b"".join(part("n" * 3500, png(1)) for _ in range(200))
            flood = asyncio.create_task(client.trickle(b"%x\r\n%s\r\n" % (len(many), many)))
            await until(lambda: app.house.classifier.admitted == 1)
            await until(lambda: app.house.classifier.admitted == 0)
            await flood
            assert app.house.classifier.memory.held == 0
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
