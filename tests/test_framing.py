"""How requests are framed: asking for another protocol, and pieces that cost more than they carry."""

from pathlib import Path

import pytest

from service.framing import FREE_PIECES, PIECE_BYTES, Framed
from service.settings import Settings
from tests.faults.raw import head, post, raw
from tests.world import make_app, png, under_uvicorn

UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
"""As Java's client asks, each time."""
CHUNKED = head("/predict", "Transfer-Encoding: chunked")


@pytest.mark.parametrize("size", [100_000, 1])
async def test_who_asks_for_another_protocol_is_answered_in_this_one(tmp_path: Path, size: int) -> None:
    """The body of such a request was lost, and what followed in the same segment was never answered."""
    requests = post(png(1), *UPGRADE) + head("/healthz", *UPGRADE, method="GET") + post(png(2))
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        for start in range(0, len(requests), size):
            await client.send(requests[start : start + size])
        answers = [await client.answer() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert not {"upgrade", "connection"} & answers[0].headers.keys()


async def test_a_chunked_body_behind_an_upgrade(tmp_path: Path) -> None:
    """Is read as one."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(head("/predict", "Transfer-Encoding: chunked", *UPGRADE))
        await client.chunk(png(1))
        await client.send(b"0\r\n\r\n")
        assert (await client.answer()).status == 200


async def test_connect_is_no_upgrade(tmp_path: Path) -> None:
    """It names no path of ours; what follows is not understood as HTTP."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n" + post(png(1)))
        assert (await client.answer()).status == 400
        assert await client.ended() == b""


async def test_a_body_in_tiny_chunks_is_refused(tmp_path: Path) -> None:
    """Each cost a call: a few clients at once held the loop for more than a second."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(CHUNKED + b"1\r\nx\r\n" * 2 * FREE_PIECES)
        answer = await client.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (400, "bad_request", "close")
        assert b"chunks of 128 bytes or more" in answer.body


async def test_small_chunks_that_carry_something_are_taken(tmp_path: Path) -> None:
    """Ten times as many as may come for nothing."""
    chunk = b"%x\r\n%s\r\n" % (PIECE_BYTES, b"x" * PIECE_BYTES)
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(CHUNKED + chunk * 10 * FREE_PIECES + b"0\r\n\r\n")
        assert (await client.answer()).code == "image_type_unsupported"


async def test_tiny_chunks_of_a_refused_body_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to twenty megabytes of them are read and forgotten. Once each was a call."""
    calls = 0
    real = Framed.on_body

    def counted(self: Framed, body: bytes) -> None:
        nonlocal calls
        calls += 1
        real(self, body)

    monkeypatch.setattr(Framed, "on_body", counted)
    flood = b"1\r\nx\r\n" * 20_000
    async with under_uvicorn(make_app(tmp_path, max_image_bytes=1_000_000)) as port, raw(port) as client:
        await client.send(head("/nowhere", "Transfer-Encoding: chunked"))
        assert (await client.answer()).status == 404
        await client.send(flood)
        await client.send(flood)
        assert await client.ended() == b""
    assert 0 < calls < 20_000


async def test_nonsense_behind_a_refusal_is_no_fault_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second answer was written behind the end of the first: an error in the log for each such client."""
    settings = Settings(port=0, grace_s=5, max_image_bytes=100_000)
    async with under_uvicorn(make_app(tmp_path), settings) as port, raw(port) as client:
        await client.send(head("/nowhere", "Transfer-Encoding: chunked"))
        assert (await client.answer()).status == 404
        await client.push(b"nonsense" * 1000)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_too_many_headers_are_refused_before_the_rest_is_read(tmp_path: Path) -> None:
    """A quarter of a megabyte of them came in one read."""
    async with under_uvicorn(make_app(tmp_path)) as port, raw(port) as client:
        await client.send(head("/healthz", *["a:b"] * 200, method="GET")[:-2])
        assert (await client.answer()).code == "head_too_large"
