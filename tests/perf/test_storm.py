"""perf/storm.py against the real service with a gated engine: no picture is missing in the ledger."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from perf import storm as module
from perf.clients import BROKEN
from perf.storm import SILENT, Body, unleash
from tests.fakes import GatedEngine
from tests.world import free_socket, make_app, png, under_uvicorn

PICTURES = [png(1), png(2)]


async def test_all_are_answered_by_who_can(tmp_path: Path) -> None:
    """A hundred a second for half a second; none is computed twice, for no two are alike."""
    engine = GatedEngine()
    async with under_uvicorn(make_app(tmp_path, engine)) as port:
        storm = await asyncio.to_thread(unleash, port, PICTURES, 100.0, 0.5)
    assert storm.offered == len(storm.offers) > 20
    assert {offer.outcome for offer in storm.offers} == {"200"}
    assert sum(map(len, engine.batches)) == storm.offered + 1
    assert storm.fresh == {"200": 1}
    assert storm.fresh_s is not None
    assert storm.cpu > 0


async def test_who_finds_the_queue_full_is_refused(tmp_path: Path) -> None:
    """And told when to come again, large pictures as well as small ones; who is in is answered."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_pending=4, max_batch=1, cache_entries=0)
    async with under_uvicorn(app) as port:
        offering = asyncio.create_task(
            asyncio.to_thread(unleash, port, PICTURES, 200.0, 0.5, [Body(1024 * 1024, one_of=10)])
        )
        async with asyncio.timeout(20):
            while app.house.classifier.stats().totals.get("refused", 0) < 60:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        engine.gate.set()
        storm = await offering
    ends = Counter(offer.outcome for offer in storm.offers)
    assert storm.offered == len(storm.offers) == ends["200"] + ends["503"]
    assert ends["200"] >= 5
    refused = [offer for offer in storm.offers if offer.outcome == "503"]
    assert {offer.size > 1_000_000 for offer in refused} == {True, False}
    assert min(offer.retry_after_s for offer in refused) >= 1
    assert not any(offer.waited for offer in refused)


async def test_who_is_gone_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: all are broken connections, and no fresh request is answered."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    with free_socket() as nobody:
        storm = await asyncio.to_thread(unleash, nobody.getsockname()[1], PICTURES, 100.0, 0.2)
    assert storm.offered == len(storm.offers) > 5
    assert {offer.outcome for offer in storm.offers} == {BROKEN}
    assert storm.fresh_s is None


async def test_who_never_answers_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the patience those that are still open are given up."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    closed = asyncio.Event()

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closed.wait()
        writer.close()

    async with await asyncio.start_server(deaf, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        storm = await asyncio.to_thread(unleash, port, PICTURES, 100.0, 0.2)
        closed.set()
    assert storm.offered == len(storm.offers) > 5
    assert {offer.outcome for offer in storm.offers} == {SILENT}
