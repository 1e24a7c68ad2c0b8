"""T6: admission counts bytes, not only pictures."""

from pathlib import Path
from typing import Any

from tests.fakes import GatedEngine
from tests.faults.raw import BOUNDARY, Raw, head, part, post, raw, stream_head
from tests.world import make_app, png, under_uvicorn, until

KIB = 1024
LIMITS: dict[str, Any] = {"max_image_bytes": 100 * KIB, "max_pending_bytes": 200 * KIB}


def big(red: int) -> bytes:
    """A picture of 90 KiB, most of it nothing."""
    return png(red) + bytes(90 * KIB)


async def test_t6_a_body_that_there_is_no_room_for_is_refused_unread(tmp_path: Path) -> None:
    """Two senders announce as much as may be held: the third gets its 503 before it sends anything, though there are
    places, and is taken once they have left."""
    app = make_app(tmp_path, **LIMITS)
    memory = app.house.classifier.memory
    async with under_uvicorn(app) as port, raw(port) as third:
        async with raw(port) as first, raw(port) as second:
            for sender in (first, second):
                await sender.send(head("/predict", f"Content-Length: {100 * KIB}"))
            await until(lambda: memory.held == 200 * KIB)
            await third.send(head("/predict", f"Content-Length: {90 * KIB}"))
            answer = await third.answer()
            assert (answer.status, answer.code) == (503, "overloaded")
            assert int(answer.headers["retry-after"]) >= 1
        await until(lambda: memory.held == 0)
        async with raw(port) as fourth:
            await fourth.send(post(big(1)))
            assert (await fourth.answer()).status == 200
    assert memory.held == 0


async def test_t6_chunks_are_counted_as_they_come(tmp_path: Path) -> None:
    """Nobody announced anything: who goes over the limit is refused, the others are answered."""
    app = make_app(tmp_path, **LIMITS)
    memory = app.house.classifier.memory
    async with under_uvicorn(app) as port, raw(port) as first, raw(port) as second, raw(port) as third:
        for count, sender in enumerate((first, second), 1):
            await sender.send(head("/predict", "Transfer-Encoding: chunked"))
            await sender.chunk(big(count))
        await until(lambda: memory.held > 180 * KIB)
        await third.send(head("/predict", "Transfer-Encoding: chunked"))
        await third.chunk(big(3))
        assert (await third.answer()).status == 503
        for sender in (first, second):
            await sender.send(b"0\r\n\r\n")
            assert (await sender.answer()).status == 200


async def read_to_the_end(stream: Raw) -> int:
    """How many pictures a stream answered."""
    await stream.reader.readuntil(b"\r\n\r\n")
    while "done" not in (line := await stream.line()):
        assert "error" not in line
    assert line["done"]
    return int(line["ok"])


async def test_t6_a_stream_is_not_read_on_while_there_is_no_room(tmp_path: Path) -> None:
    """It sends more than may be held and the engine is busy: it is slowed down and then answered, every picture."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, **LIMITS)
    memory = app.house.classifier.memory
    async with under_uvicorn(app) as port, raw(port) as stream:
        await stream.send(stream_head())
        for red in range(10):
            stream.writer.write(b"%x\r\n%s\r\n" % (len(one := part(f"{red}", big(red))), one))
        stream.writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(end := f"--{BOUNDARY}--\r\n".encode()), end))
        await until(lambda: memory.streamed >= 100 * KIB)
        async with raw(port) as other:  # the loop goes round many times meanwhile
            for _ in range(100):
                await other.send(head("/healthz", method="GET"))
                await other.answer()
        assert memory.streamed < 400 * KIB
        engine.gate.set()
        assert await read_to_the_end(stream) == 10
        await until(lambda: memory.held == 0)


async def test_t6_feedback_counts_its_picture(tmp_path: Path) -> None:
    """It takes no place in the queue, but as much memory."""
    app = make_app(tmp_path, **LIMITS)
    async with under_uvicorn(app) as port, raw(port) as client:
        kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
        await client.send(head("/cards/feedback", f"Content-Length: {90 * KIB}", kind))
        await until(lambda: app.house.classifier.memory.held == 90 * KIB)
