"""perf/bulk.py on the real service with a fake engine, its clients and its reference replaced."""

import asyncio
import os
import zipfile
from pathlib import Path

import httpx2
import pytest

from perf import bulk
from perf.bulk import Jobs, alone, make_archive, measure, parse
from perf.clients import ANSWERED, Asked
from service.tuning.pictures import Distinct
from tests.world import make_app, png, under_uvicorn


class AlwaysFive:
    """In the place of the engine and decoder alone: five pictures/s."""

    def __init__(self, *_: object) -> None:
        self.closed = False

    def measure(self, batch: int) -> float:
        assert not self.closed
        return 5.0

    def close(self) -> None:
        self.closed = True


async def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What was felt of a job beside it, and a job alone beside its reference; no job is left."""
    monkeypatch.setattr(bulk, "closed_loop", lambda *_: [Asked(n, 0.1, ANSWERED) for n in range(5)])
    monkeypatch.setattr(bulk, "Pipeline", AlwaysFive)
    supply, archive = Distinct([png(1)]), tmp_path / "big.zip"
    make_archive(archive, supply, 20)
    options = parse(["--pictures", "20", "--interactive", "1", "--data-dir", str(tmp_path)])
    async with under_uvicorn(make_app(tmp_path / "data", cache_entries=0)) as port, httpx2.AsyncClient() as client:
        with Jobs(port) as jobs:
            await asyncio.to_thread(measure, options, supply, archive, jobs, port, os.getpid())
        left = (await client.get(f"http://127.0.0.1:{port}/api/jobs")).json()
    said = capsys.readouterr().out
    assert "1 interactive: p50 / p95 100 / 100 ms, with a job 100 / 100 ms (1.00 x)" in said
    assert "one job of 20 pictures" in said
    assert "of engine and decoder alone (5.0 / 5.0)" in said
    assert left == []


async def test_a_job_that_does_not_answer_everything_ends_the_run(tmp_path: Path) -> None:
    """Its rate would be of pictures that were not computed."""
    archive = tmp_path / "big.zip"
    make_archive(archive, Distinct([png(1)[:40]]), 2)
    async with under_uvicorn(make_app(tmp_path / "data")) as port:
        with Jobs(port) as jobs, pytest.raises(SystemExit, match="'failed': 2"):
            await asyncio.to_thread(alone, jobs, archive, os.getpid())


def test_no_two_pictures_are_the_same(tmp_path: Path) -> None:
    """Else the cache would be measured."""
    make_archive(tmp_path / "big.zip", Distinct([png(1), png(2)]), 5)
    with zipfile.ZipFile(tmp_path / "big.zip") as archive:
        assert len({archive.read(name) for name in archive.namelist()}) == 5
