"""perf/closed_loop.py on a fake service: what it reads and what it prints."""

import asyncio

import pytest

from perf import closed_loop as module
from perf.clients import ANSWERED, BROKEN, Asked
from perf.closed_loop import closed_loop, metrics, report
from perf.serving import ready
from service.tuning.pictures import Distinct
from tests.tuning.fake_service import FakeService

SIZES = {"glimt_batch_size_sum": 0.0}


async def test_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready, asked by as many clients as were wanted, and its counters read."""
    monkeypatch.setattr(module, "WARM_SECONDS", 0.05)
    async with FakeService(setup_ms=5).running() as url:
        port = int(url.rpartition(":")[2])
        assert await asyncio.to_thread(ready, port)
        asked = await asyncio.to_thread(closed_loop, port, 3, Distinct([b"picture"]), 0.3)
        found = await asyncio.to_thread(metrics, port)
    assert {one.outcome for one in asked} == {ANSWERED}
    assert found["glimt_batch_size_sum"] >= len(asked) > 3
    assert not await asyncio.to_thread(ready, port)


def test_refusals_and_failures_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten answers of 0.1 s in a second of one client, then a refusal and a broken connection that took no time."""
    asked = [*(Asked(n, 0.1, ANSWERED) for n in range(10)), Asked(11, 0, "503"), Asked(11, 0, BROKEN)]
    assert report(1, asked, (20, 20), SIZES, SIZES) == pytest.approx(0.5)
    words = capsys.readouterr().out
    assert "p50 / engine alone at batch 1: 2.00" in words
    assert "p50 100 ms  p95 100 ms  p99 100 ms  refused 1  failed {'broken connection': 1}" in words


def test_nothing_but_failures_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Not the end of the run."""
    assert report(8, [Asked(1, 0.1, BROKEN)], (20, 20), SIZES, SIZES) == 0
    assert "no latencies  refused 0  failed {'broken connection': 1}" in capsys.readouterr().out
