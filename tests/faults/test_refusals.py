"""T5, T6, T43: what is refused is refused in words that the client can read, and costs a bounded amount."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from service import protocol
from service.app import Glimt
from service.framing import MAX_HEAD_BYTES, MAX_HEADERS
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.faults.raw import head, post, raw
from tests.world import make_app, png, under_uvicorn, until

LIMIT = 256 * 1024
MIB = 1024 * 1024


def small(folder: Path, engine: GatedEngine | None = None, **changes: Any) -> Glimt:
    """An app that takes pictures of LIMIT bytes at most."""
    return make_app(folder, engine, max_image_bytes=LIMIT, **changes)


SMALL = Settings(port=0, grace_s=5, max_image_bytes=LIMIT)


def ask_blocking(port: int, request: bytes) -> bytes:
    """Send all of it and only then read, as most clients do; what came until the end, or the first 4 KiB."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(request)
        return one.recv(4096)


async def offer(port: int, request: bytes) -> int:
    """Send all of it and only then read; the answer's status."""
    async with raw(port) as one:
        await one.send(request)
        return (await one.answer()).status


async def test_t5_endless_zeros_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a length, as fast as they go: a 413 that can be read, and the end before much more was taken."""
    monkeypatch.setattr(protocol, "LINGER_S", 1000)
    async with under_uvicorn(small(tmp_path), SMALL) as port, raw(port) as client:
        await client.send(head("/predict", "Transfer-Encoding: chunked"))
        flood = asyncio.create_task(client.trickle(b"10000\r\n" + bytes(0x10000) + b"\r\n"))
        answer = await client.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (413, "image_too_large", "close")
        await flood


async def test_t5_who_sends_on_after_a_refusal_is_hung_up_on_by_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He does not mind that the server has ended its side, and no deadline comes: so many bytes, and no more."""
    monkeypatch.setattr(protocol, "LINGER_S", 1000)
    async with under_uvicorn(small(tmp_path), SMALL) as port, raw(port) as client:
        await client.send(head("/predict", f"Content-Length: {10**12}"))
        assert (await client.answer()).status == 413
        await client.push(bytes(16 * 1024))


async def test_t5_who_sends_on_after_a_refusal_is_hung_up_on_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little he sends: far less than what may be read of a refused body."""
    monkeypatch.setattr(protocol, "LINGER_S", 0.2)
    async with (
        under_uvicorn(make_app(tmp_path), Settings(port=0, grace_s=5, body_timeout_s=1000)) as port,
        raw(port) as client,
    ):
        await client.send(head("/predict", f"Content-Length: {10**12}"))
        assert (await client.answer()).status == 413
        await client.push(b"x")


@pytest.mark.parametrize("bare", [b"0\r\n" + b"X: y\r\n" * 9, b"0\r\nX: " + b"y" * 64, b"3;" + b"x" * 64])
async def test_t43_what_is_beside_a_body_is_bounded(tmp_path: Path, bare: bytes) -> None:
    """Endless trailers or chunk extensions: 30 MB of trailers took 600 MB, and nothing ended them."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(head("/predict", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n" + bare)
        flood = asyncio.create_task(client.trickle(bare[3:] * 99))
        answer = await client.answer()
        assert (answer.status, answer.code) == (431, "head_too_large")
        await flood


async def test_t43_trailers_are_no_headers(tmp_path: Path) -> None:
    """They come behind the body, after all was decided that headers decide: here, how an error is told."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(head("/predict", "Transfer-Encoding: chunked"))
        await client.chunk(b"no picture")
        await client.send(b"0\r\nAccept: text/html\r\n\r\n" + post(png(1)))
        assert (await client.answer()).code == "image_type_unsupported"
        assert (await client.answer()).status == 200


async def test_t43_only_so_many_requests_wait_for_their_answers(tmp_path: Path) -> None:
    """uvicorn takes as many as come: 20 MB of them took 1 GB, and each burst much time at once. Those that were taken
    are answered, then it ends."""
    one, engine = head("/healthz", method="GET"), GatedEngine(open_gate=False)
    async with under_uvicorn(make_app(tmp_path, engine)) as port, raw(port) as client:
        await client.send(post(png(1)) + one * (protocol.MAX_WAITING + 50))
        engine.gate.set()
        assert (await client.ended()).count(b"HTTP/1.1 200 OK\r\n") == 1 + protocol.MAX_WAITING


async def test_what_no_app_has_seen_is_counted(tmp_path: Path) -> None:
    """A head that cannot be read is a request that was answered like others."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client, raw(port) as scraper:
        await client.send(b"nonsense\r\n\r\n")
        assert (await client.answer()).status == 400
        await scraper.send(head("/metrics", method="GET"))
        seen = b'glimt_requests_total{method="other",route="unmatched",status="400"} 1.0'
        assert seen in (await scraper.answer()).body


async def test_t5_a_length_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    """The answer is there before a byte of the body was sent."""
    async with under_uvicorn(small(tmp_path), SMALL) as port, raw(port) as client:
        await client.send(head("/predict", f"Content-Length: {LIMIT + 1}"))
        answer = await client.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (413, "image_too_large", "close")


async def test_t5_more_than_was_announced(tmp_path: Path) -> None:
    """The picture is answered, what stands behind it is not understood, and the connection ends."""
    async with under_uvicorn(small(tmp_path), SMALL) as port, raw(port) as client:
        await client.send(post(png(1)) + bytes(1000))
        assert (await client.answer()).status == 200
        await client.ended()


async def test_t5_less_than_was_announced(tmp_path: Path) -> None:
    """The client ends its side: nobody waits for the rest, and its place is free."""
    app = small(tmp_path)
    async with under_uvicorn(app, SMALL) as port, raw(port) as client:
        await client.send(post(png(1))[:-1])
        await until(lambda: app.house.classifier.admitted == 1)
        client.writer.write_eof()
        assert await client.ended() == b""
        await until(lambda: app.house.classifier.admitted == 0)


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize("size", [1000, 200_000, 4 * MIB])
async def test_t6_a_client_that_still_sends_can_read_the_refusal(tmp_path: Path, size: int, connection: str) -> None:
    """Once its connection was reset while it sent, and no answer came."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_pending=1)
    async with under_uvicorn(app) as port, raw(port) as first:
        await first.send(post(png(1)))
        await until(lambda: app.house.classifier.stats().running == 1)
        async with raw(port) as second:
            await second.send(post(png(2)))
            await until(lambda: app.house.classifier.stats().pending == 1)
            refused = await asyncio.to_thread(ask_blocking, port, post(bytes(size), f"Connection: {connection}"))
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: " in refused
            engine.gate.set()
            assert [(await one.answer()).status for one in (first, second)] == [200, 200]


async def test_t6_all_that_are_offered_are_accepted_or_refused(tmp_path: Path) -> None:
    """Ten times what there is room for, each sent whole before its answer is read: not one is lost."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_pending=8, max_batch=1)
    async with under_uvicorn(app) as port, raw(port) as first:
        await first.send(post(png(1000)))
        await until(lambda: app.house.classifier.stats().running == 1)
        offers = [asyncio.create_task(offer(port, post(png(n) + bytes(300_000)))) for n in range(80)]
        await until(lambda: sum(one.done() for one in offers) == 72)
        engine.gate.set()
        statuses = await asyncio.gather(*offers)
        assert (await first.answer()).status == 200
    assert (statuses.count(200), statuses.count(503)) == (8, 72)


async def test_t6_a_small_refused_body_keeps_the_connection(tmp_path: Path) -> None:
    """To make a new one for each refusal would cost more than to read on."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        request = post(bytes(100_000), target="/nowhere")
        await client.send(request[:1000])
        assert (await client.answer()).status == 404
        await client.send(request[1000:] + head("/healthz", method="GET"))
        assert (await client.answer()).status == 200


@pytest.mark.parametrize(("linger_s", "piece"), [(1000, bytes(65_536)), (0.3, b"x")])
@pytest.mark.parametrize("expects", [(), ("Expect: 100-continue",)])
async def test_t6_a_refused_body_is_not_swallowed_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expects: tuple[str, ...], linger_s: float, piece: bytes
) -> None:
    """Once a connection went on to swallow a body after its 404, however long it was and took."""
    monkeypatch.setattr(protocol, "LINGER_S", linger_s)
    async with under_uvicorn(small(tmp_path), SMALL) as port, raw(port) as client:
        await client.send(head("/nowhere", "Content-Length: 1000000000", *expects))
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        await client.trickle(piece)


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(head("/healthz", f"X: {'x' * MAX_HEAD_BYTES}", method="GET"), id="one huge header"),
        pytest.param(head("/" + "x" * MAX_HEAD_BYTES, method="GET"), id="huge path"),
        pytest.param(head("/healthz", *["X: y"] * MAX_HEADERS, method="GET"), id="many headers"),
    ],
)
async def test_t43_a_huge_head_is_refused(tmp_path: Path, request_head: bytes) -> None:
    """431, whether it comes whole or in pieces."""
    async with under_uvicorn(make_app(tmp_path)) as port:
        for size in (len(request_head), 1000):
            async with raw(port) as client:
                for start in range(0, len(request_head), size):
                    await client.send(request_head[start : start + size])
                    await asyncio.sleep(0)
                answer = await client.answer()
                assert (answer.status, answer.code, answer.headers["connection"]) == (431, "head_too_large", "close")


async def test_t43_an_endless_head_is_refused(tmp_path: Path) -> None:
    """A header that never ends was kept in memory for as long as it came."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nX: ")
        flood = asyncio.create_task(client.trickle(bytes([120]) * 4096))
        assert (await client.answer()).status == 431
        await flood


@pytest.mark.parametrize("count", [99, 10_000])
async def test_t43_many_ranges_of_a_file(tmp_path: Path, count: int) -> None:
    """They are passed over, as a server may: the file once, whole."""
    ranges = "Range: bytes=" + ",".join("0-1" for _ in range(count))
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(head("/static/app.css", ranges, method="GET"))
        answer = await client.answer()
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/css")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", id="header without a colon"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", id="path that is no ASCII"),
        pytest.param(head("/predict", "Content-Length: 1", "Transfer-Encoding: chunked"), id="two lengths"),
        pytest.param(head("/predict", "Content-Length: -1"), id="negative length"),
        pytest.param(head("/predict", "Transfer-Encoding: chunked") + b"zz\r\n", id="chunk without a size"),
    ],
)
async def test_what_is_no_http_is_refused_in_the_envelope(tmp_path: Path, sent: bytes) -> None:
    """As every error is; uvicorn's own answer is plain text."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(sent)
        answer = await client.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (400, "bad_request", "close")
        assert answer.headers["x-content-type-options"] == "nosniff"
        await client.ended()


async def test_requests_sent_at_once_are_answered_in_order(tmp_path: Path) -> None:
    """A hundred kilobytes of them are no huge head."""
    one = head("/healthz", f"X: {'x' * 1000}", method="GET")
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(one * 100)
        assert {(await client.answer()).status for _ in range(100)} == {200}
