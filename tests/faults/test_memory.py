"""T46: what a request leaves behind is nothing. Counted in objects, which no machine is faster at."""

import gc
from pathlib import Path
from weakref import ReferenceType

import httpx2
import pytest

from service import metrics
from service.app import Glimt
from tests.world import in_process, make_app, png, signed_in, until

ROUNDS = 80


async def requests(client: httpx2.AsyncClient, app: Glimt, admin: dict[str, str], number: int) -> None:
    """One of each kind, good and bad, of which none is like another."""
    said = {"score": 1, "predicted_class": "x", "image_file_name": f"{number}.png", "verdict": "right"}
    statuses = [
        (await client.post("/predict", content=png(number))).status_code,
        (await client.post("/predict", content=png(number)[:-20])).status_code,
        (await client.post("/predict", content=b"%d" % number)).status_code,
        (await client.post("/", files={"file": png(number)})).status_code,
        (await client.post("/feedback", json=said)).status_code,
        (await client.get("/api/history", headers=admin)).status_code,
        (await client.get(f"/nothing/{number}")).status_code,
        (await client.get("/metrics")).status_code,
    ]
    assert statuses == [200, 422, 415, 200, 201, 200, 404, 200]


def objects() -> int:
    """Without weak references: each connection of sqlite3 drops its dead ones at every two hundredth cursor."""
    gc.collect()
    return sum(type(it) is not ReferenceType for it in gc.get_objects())


@pytest.mark.slow
async def test_requests_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once what is bounded is full, 640 mixed requests leave fewer than one object for each eight."""
    monkeypatch.setattr(metrics, "KEPT", ROUNDS)
    app = make_app(tmp_path, cache_entries=ROUNDS)
    async with in_process(app) as client:
        admin = await signed_in(app)
        counts = []
        for begin in (0, ROUNDS, 2 * ROUNDS):
            for number in range(begin, begin + ROUNDS):
                await requests(client, app, admin, number)
            await until(lambda: app.house.classifier.stats().pending == 0)
            counts.append(objects())
    print(f"objects: {counts}")
    assert counts[2] - counts[1] < ROUNDS
