"""T48: the clock jumps, or the machine is somewhere else on the globe."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png, until

DAY_S = 86_400
SAID = {"score": 1, "predicted_class": "x", "image_file_name": "x.png", "verdict": "right"}


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """14 hours before UTC, which is another day for most of the day."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("days", [-400, 400])
async def test_deadlines_are_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """The clock is set while two pictures wait: the patient one is computed, the other's deadline comes."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=1)
    async with in_process(app) as client:
        patient = asyncio.create_task(client.post("/predict", content=png(1)))
        await until(lambda: app.house.classifier.stats().running)
        hurried = asyncio.create_task(client.post("/predict?deadline_ms=300", content=png(2)))
        await until(lambda: app.house.classifier.stats().pending)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + days * DAY_S)
        assert (await hurried).status_code == 504
        engine.gate.set()
        assert (await patient).status_code == 200


@pytest.mark.usefixtures("far_away")
async def test_times_are_utc(tmp_path: Path) -> None:
    """Whatever the time zone, the database and the API have UTC."""
    before = datetime.now(UTC)
    async with in_process(make_app(tmp_path)) as client:
        said = (await client.post("/feedback", json=SAID)).json()
    with closing(sqlite3.connect(tmp_path / "glimt.db")) as database:
        ((stored,),) = database.execute("SELECT created_at FROM feedback")
    assert before <= datetime.fromisoformat(stored).replace(tzinfo=UTC) <= datetime.now(UTC)
    assert said["created_at"].endswith("Z")
    assert before <= datetime.fromisoformat(said["created_at"]) <= datetime.now(UTC)
