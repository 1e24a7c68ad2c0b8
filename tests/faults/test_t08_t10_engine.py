"""FAULTS.md T8 to T10: the engine raises, hangs, answers nonsense, ends its thread. Over HTTP."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest

from service.inference.engines.engine import Pixels, Scores
from service.inference.worker import FAILURES
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png, signed_in, until

POISON = 77


class Faulty(GatedEngine):
    """Goes wrong by `fault` until it is loaded again."""

    fault: Callable[[Scores], Scores] | None = None

    def load(self) -> None:
        self.fault = None

    def scores(self, pixels: Pixels) -> Scores:
        good = super().scores(pixels)
        return self.fault(good) if self.fault else good


def ends_thread(scores: Scores) -> Scores:
    raise SystemExit(1)


def is_out_of_iterations(scores: Scores) -> Scores:
    raise StopIteration


def is_out_of_memory(scores: Scores) -> Scores:
    raise MemoryError


def looks_like_a_client_that_left(scores: Scores) -> Scores:
    raise asyncio.CancelledError


FAULTS = [
    pytest.param(ends_thread, id="SystemExit"),
    pytest.param(is_out_of_iterations, id="StopIteration"),
    pytest.param(is_out_of_memory, id="MemoryError"),
    pytest.param(looks_like_a_client_that_left, id="CancelledError"),
    pytest.param(lambda scores: scores[:0], id="no rows"),
    pytest.param(lambda scores: scores[:, :-1], id="wrong shape"),
    pytest.param(lambda scores: scores * np.nan, id="NaN"),
    pytest.param(lambda scores: scores + np.float32(np.inf), id="infinity"),
]


async def code(reply: httpx2.Response) -> str:
    """Of a problem document."""
    return str(reply.json()["code"])


async def total(client: httpx2.AsyncClient, name: str) -> float:
    """A counter in /metrics."""
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name}_total "))


def send(client: httpx2.AsyncClient, red: int) -> asyncio.Task[httpx2.Response]:
    return asyncio.create_task(client.post("/predict", content=png(red)))


async def test_t08_only_the_poisoned_picture_of_a_batch_fails(tmp_path: Path) -> None:
    """T8: the batch is repeated in halves; seven get their own labels, one a 500 with a code."""
    engine = GatedEngine(open_gate=False)
    engine.fail_when = POISON
    app = make_app(tmp_path, engine)
    async with in_process(app) as client:
        blocker = send(client, 1)
        await until(lambda: app.house.classifier.stats().running)
        reds = [POISON + n for n in range(-3, 5)]
        batch = [send(client, red) for red in reds]
        await until(lambda: app.house.classifier.stats().pending == len(reds))
        engine.gate.set()
        replies = await asyncio.gather(blocker, *batch)
        assert engine.batches[1].shape[0] == len(reds)
        assert [reply.status_code for reply in replies[1:]] == [500 if red == POISON else 200 for red in reds]
        assert await code(replies[1 + reds.index(POISON)]) == "engine_failed"
        assert (await client.get("/readyz")).status_code == 200
        engine.fail_when = None
        alone = await client.post("/predict", content=png(POISON))
        assert alone.status_code == 200


async def test_t09_a_hanging_engine_is_seen_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    """T9: who is in the batch, who waits and who comes later hears 503; /healthz fails, so that a supervisor restarts;
    pages, feedback and history go on; an engine that comes back late is ready again."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, engine_timeout_s=0.5, max_batch=1)
    async with in_process(app) as client:
        who = await signed_in(app)
        running = send(client, 1)
        await until(lambda: app.house.classifier.stats().running)
        waiting = [send(client, red) for red in (2, 3)]
        for reply in await asyncio.gather(running, *waiting):
            assert (reply.status_code, await code(reply)) == (503, "not_ready")
            assert reply.headers["Retry-After"]
        later = await client.post("/predict", content=png(4))
        assert (later.status_code, await code(later)) == (503, "not_ready")
        assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/health")] == [503, 503, 200]
        assert await total(client, "glimt_engine_hangs") == 1
        said = {"predicted_class": "class_1", "score": 0.5, "image_file_name": "a.png", "feedback": "class_2"}
        assert (await client.post("/feedback", json=said)).status_code == 201
        for path in ("/", "/ops", "/docs", "/feedback", "/api/history"):
            assert (await client.get(path, headers=who)).status_code == 200
        engine.gate.set()
        await until(lambda: app.house.classifier.status == "ready")
        assert [(await client.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        assert (await client.post("/predict", content=png(5))).status_code == 200


async def test_t09_who_has_less_time_than_the_watchdog_hears_504(tmp_path: Path) -> None:
    """T9: a deadline ends at the deadline, whatever the engine does."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, deadline_ms=50)
    async with in_process(app) as client:
        reply = await client.post("/predict", content=png(1))
        assert (reply.status_code, await code(reply)) == (504, "deadline_exceeded")
        engine.gate.set()


@pytest.mark.parametrize("fault", FAULTS)
async def test_t10_the_process_is_never_stuck(tmp_path: Path, fault: Callable[[Scores], Scores]) -> None:
    """T10: the picture gets a 500, it is counted, and the next one a 200."""
    engine = Faulty()
    async with in_process(make_app(tmp_path, engine)) as client:
        engine.fault = fault
        reply = await client.post("/predict", content=png(1))
        assert (reply.status_code, await code(reply)) == (500, "engine_failed")
        assert await total(client, "glimt_engine_failures") == 1
        engine.fault = None
        assert (await client.post("/predict", content=png(2))).status_code == 200
        assert (await client.get("/healthz")).status_code == 200


async def test_t10_a_broken_engine_is_made_anew(tmp_path: Path) -> None:
    """T10: one that fails on everything is replaced, without a restart."""
    engine = Faulty()
    async with in_process(app := make_app(tmp_path, engine)) as client:
        engine.fault = ends_thread
        for red in range(FAILURES):
            assert (await client.post("/predict", content=png(red))).status_code == 500
        await until(lambda: app.house.worker.totals["recreated"])
        assert (await client.post("/predict", content=png(9))).status_code == 200
        assert await total(client, "glimt_engine_recreated") == 1
