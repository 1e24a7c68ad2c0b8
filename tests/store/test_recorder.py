"""Rows that nobody waits for: gathered, written in order, bounded, and not lost at the end."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from service.errors import StoreBusy
from service.store import recorder
from service.store.recorder import Recorder

LONG_S = 1000.0


class Sink:
    """Where rows go; closed, a write waits at its gate. `error` is raised instead of writing."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.error: Exception | None = None

    async def write(self, rows: Sequence[int]) -> None:
        self.reached.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        self.batches.append(list(rows))


@pytest.fixture
async def sink() -> Sink:
    return Sink()


async def test_rows_are_written_together_and_in_order(sink: Sink) -> None:
    """What comes within the gathering time is one write."""
    async with Recorder(sink.write, gather_s=LONG_S) as rows:
        for row in range(5):
            rows.record(row)
        await rows.flush()
        assert sink.batches == [[0, 1, 2, 3, 4]]


async def test_nobody_needs_to_ask(sink: Sink) -> None:
    """After the gathering time rows are written by themselves."""
    async with Recorder(sink.write, gather_s=0) as rows:
        rows.record(1)
        await sink.reached.wait()
        rows.record(2)
    assert [row for batch in sink.batches for row in batch] == [1, 2]


async def test_flush_waits_for_the_write_under_way(sink: Sink) -> None:
    """A read that comes while a batch is being written must see it."""
    async with Recorder(sink.write, gather_s=0) as rows:
        sink.gate.clear()
        rows.record(1)
        await sink.reached.wait()
        flushed = asyncio.ensure_future(rows.flush())
        await asyncio.sleep(0)
        assert not flushed.done()
        sink.gate.set()
        await flushed
        assert sink.batches == [[1]]


async def test_flush_with_nothing_recorded_returns_at_once(sink: Sink) -> None:
    """An idle history costs a reader nothing, also before the start."""
    await asyncio.wait_for(Recorder(sink.write).flush(), 1)
    assert sink.batches == []


async def test_a_full_recorder_drops_the_newest_and_the_end_writes_the_rest(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed while it is full, the recorder writes what it had taken; what it had not is counted."""
    monkeypatch.setattr(recorder, "MAX_ROWS", 3)
    async with Recorder(sink.write, gather_s=LONG_S) as rows:
        for row in range(5):
            rows.record(row)
        assert rows.lost == 2
    assert sink.batches == [[0, 1, 2]]


async def test_a_full_batch_leaves_before_its_time(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody flushes: the last row that fits has the batch written."""
    monkeypatch.setattr(recorder, "MAX_ROWS", 2)
    async with Recorder(sink.write, gather_s=LONG_S) as rows:
        rows.record(1)
        await asyncio.sleep(0)
        rows.record(2)
        await asyncio.wait_for(sink.reached.wait(), 5)


async def test_a_failed_write_is_counted_and_the_next_succeeds(sink: Sink) -> None:
    """One lost batch does not end the recorder."""
    async with Recorder(sink.write, gather_s=LONG_S) as rows:
        sink.error = StoreBusy("locked")
        rows.record(1)
        await rows.flush()
        sink.error = None
        rows.record(2)
        await rows.flush()
        assert (rows.lost, sink.batches) == (1, [[2]])


async def test_losses_are_said_once_a_minute_and_at_the_end(sink: Sink) -> None:
    """However many are lost, the log has a line a minute with their sum."""
    times = [100.0]
    sink.error = StoreBusy("locked")
    with capture_logs() as said:
        async with Recorder(sink.write, gather_s=LONG_S, clock=lambda: times[-1]) as rows:
            for now in (100.0, 130.0, 159.0, 160.0, 161.0):
                times.append(now)
                rows.record(1)
                await rows.flush()
    assert [line["rows"] for line in said] == [1, 3, 1]
    assert "locked" in said[0]["reason"]
