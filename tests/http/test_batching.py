"""GET and PATCH /api/batching over the real app with a fake engine."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from pydantic import ValidationError
from structlog.testing import LogCapture

from service.app import Glimt
from service.http import batching
from service.inference.batches import CurvePoint
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png, signed_in, until

URL = "/api/batching"


@asynccontextmanager
async def as_admin(app: Glimt) -> AsyncIterator[httpx2.AsyncClient]:
    """The app, ready, and a client of an admin."""
    async with in_process(app) as client:
        client.headers.update(await signed_in(app, "boss", "admin"))
        yield client


@pytest.fixture
def app(tmp_path: Path) -> Glimt:
    return make_app(tmp_path, max_batch=16, max_wait_ms=5)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> LogCapture:
    """What the endpoint logs."""
    capture = LogCapture()
    monkeypatch.setattr(batching, "log", structlog.wrap_logger(logging.getLogger("x"), [capture]))
    return capture


async def test_read(app: Glimt) -> None:
    """Anybody may read: limits, engine, curve, queue."""
    async with in_process(app) as client:
        app.house.classifier.curve = (CurvePoint(1, 38.125), CurvePoint(8, 250.0))
        answer = await client.get(URL)
    document = answer.json()
    queue = document.pop("queue")
    assert document == {
        "max_batch": 16,
        "max_wait_ms": 5.0,
        "max_pending": 256,
        "auto": False,
        "engine": "gated",
        "curve": [{"batch": 1, "ms": 38.12, "per_s": 26.2}, {"batch": 8, "ms": 250.0, "per_s": 32.0}],
    }
    assert (queue["alive"], queue["pending"], queue["totals"]) == (True, 0, {})


@pytest.mark.parametrize("change", [{"max_batch": 3}, {"max_wait_ms": 1.1}, {"max_wait_ms": 0}, {"max_pending": 9},
                                    {"max_batch": 256, "max_wait_ms": 1000, "max_pending": 65536}, {}])  # fmt: skip
async def test_change(app: Glimt, change: dict[str, float]) -> None:
    """What is named changes, the rest stays, and the answer is what a GET says."""
    async with as_admin(app) as client:
        before = (await client.get(URL)).json()
        answer = await client.patch(URL, json=change)
        after = (await client.get(URL)).json()
    assert (answer.status_code, answer.json()) == (200, after)
    assert {name: after[name] for name in batching.BatchingChange.model_fields} == {
        name: before[name] for name in batching.BatchingChange.model_fields
    } | change


async def test_the_next_batch_obeys(tmp_path: Path) -> None:
    """With a largest batch of two, five waiting pictures leave as two, two and one."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=16)
    async with as_admin(app) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(client.post("/predict", content=png(0)))
        await until(lambda: app.house.classifier.stats().running == 1)
        for n in range(1, 6):
            tasks.create_task(client.post("/predict", content=png(n)))
        await until(lambda: app.house.classifier.stats().pending == 5)
        await client.patch(URL, json={"max_batch": 2})
        engine.gate.set()
    assert [len(batch) for batch in engine.batches] == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("change", "auto"), [({"max_batch": 4}, False), ({"max_wait_ms": 4}, False), ({"max_pending": 4}, True)]
)
async def test_a_choice_by_hand_ends_auto(tmp_path: Path, change: dict[str, int], auto: bool) -> None:
    """A batch or window that somebody chose is no longer the calibration's; the queue's length is not its business."""
    async with as_admin(make_app(tmp_path, max_batch="auto")) as client:
        assert (await client.patch(URL, json=change)).json()["auto"] is auto


async def test_the_calibrations_choice_comes_back(tmp_path: Path) -> None:
    """`auto` puts the batch in force again that was measured as best, and the window that the settings fix."""
    app = make_app(tmp_path, max_batch="auto", max_wait_ms=7)
    async with as_admin(app) as client:
        await client.patch(URL, json={"max_batch": 9, "max_wait_ms": 1})
        classifier, worker = app.house.classifier, app.house.worker
        worker.curve = classifier.curve = (CurvePoint(1, 10), CurvePoint(2, 12), CurvePoint(4, 48))
        limits = (await client.patch(URL, json={"auto": True})).json()
    assert (limits["max_batch"], limits["max_wait_ms"], limits["auto"]) == (2, 7.0, True)


async def test_nothing_was_calibrated(app: Glimt) -> None:
    """Then there is no choice to go back to: a 409 that says how to have one."""
    async with as_admin(app) as client:
        answer = await client.patch(URL, json={"auto": True})
    assert answer.status_code == 409
    assert "--max-batch auto" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_batch": 0}, "max_batch is a whole number from 1 to 256"),
        ({"max_batch": 257}, "max_batch: Input should be less than or equal to 256"),
        ({"max_batch": 2.5}, "max_batch: Input should be a valid integer"),
        ({"max_batch": "8"}, "max_batch: Input should be a valid integer"),
        ({"max_batch": True}, "max_batch: Input should be a valid integer"),
        ({"max_wait_ms": -1}, "max_wait_ms a number from 0 to 1000"),
        ({"max_wait_ms": 1000.1}, "max_wait_ms: Input should be less than or equal to 1000"),
        ({"max_pending": 0}, "max_pending a whole number from 1 to 65536"),
        ({"max_pending": 65537}, "max_pending: Input should be less than or equal to 65536"),
        ({"max_batch": 4, "batch": 4}, "batch: Extra inputs are not permitted"),
        ({"auto": False}, "auto: Input should be True"),
        ({"auto": True, "max_batch": 4}, "auto chooses max_batch and max_wait_ms"),
        ([], "body: "),
        ("max_batch", "body: "),
    ],
)
async def test_senseless_changes(app: Glimt, change: Any, words: str) -> None:
    """A 422 that names the field and what it may be, and nothing changes, not even what was right."""
    async with as_admin(app) as client:
        before = (await client.get(URL)).json()
        answer = await client.patch(URL, json=change)
        assert (await client.get(URL)).json() == before
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert words in answer.json()["detail"]
    assert "from 1 to 256" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b'{"max_batch": 4}', "application/x-www-form-urlencoded", 400, "-H 'Content-Type: application/json' -d '{"),
        (b'{"max_batch": ', "application/json", 400, "-H 'Content-Type: application/json' -d '{"),
        (b'{"max_wait_ms": NaN}', "application/json", 400, "not JSON"),
        (b"[" * 4096, "application/json", 400, "not JSON"),
        (b" " * 4097, "application/json", 413, "4096 bytes"),
    ],
)
async def test_what_is_no_json(app: Glimt, body: bytes, kind: str, status: int, words: str) -> None:
    """Refused with the way out; a form of another site's page could have sent the first."""
    async with as_admin(app) as client:
        answer = await client.patch(URL, content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert words in answer.json()["detail"]


async def test_without_the_right(app: Glimt) -> None:
    """A 401 or 403 before the body is looked at, and nothing changes."""
    async with in_process(app) as client:
        anybody = await client.patch(URL, content=b"{")
        somebody = await client.patch(URL, content=b"{", headers=await signed_in(app))
        assert (await client.get(URL)).json()["max_batch"] == 16
    assert (anybody.status_code, somebody.status_code) == (401, 403)


async def test_other_methods(app: Glimt) -> None:
    """A 405 that names both routes' methods."""
    async with as_admin(app) as client:
        answer = await client.put(URL, json={})
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, PATCH")


async def test_each_change_is_logged(app: Glimt, lines: LogCapture) -> None:
    """Who, what was, what is; a change that changes nothing is none."""
    async with as_admin(app) as client:
        for _ in range(2):
            await client.patch(URL, json={"max_batch": 4})
    before = {"max_batch": 16, "max_wait_ms": 5.0, "max_pending": 256, "auto": False}
    assert lines.entries == [
        {
            "event": "batching changed",
            "log_level": "info",
            "who": "user 1",
            "before": before,
            "after": before | {"max_batch": 4},
        }
    ]


@pytest.mark.parametrize(
    ("field", "least", "most"), [("max_batch", 1, 256), ("max_wait_ms", 0, 1000), ("max_pending", 1, 65536)]
)
def test_the_ranges_are_those_of_the_settings(field: str, least: int, most: int) -> None:
    """What can be set at the start can be set while running, and nothing else."""
    for value in (least, most):
        assert getattr(Settings.model_validate({field: value}), field) == value
        assert getattr(batching.BatchingChange.model_validate({field: value}), field) == value
    for value in (least - 1, most + 1):
        for model in (Settings, batching.BatchingChange):
            with pytest.raises(ValidationError):
                model.model_validate({field: value})
