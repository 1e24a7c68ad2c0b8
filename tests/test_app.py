"""The app's construction: what is warmed up, what every answer carries, and what the metrics say."""

from pathlib import Path

import pytest

from service.inference.worker import warm_up_sizes
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png


@pytest.mark.parametrize(
    ("max_batch", "sizes"),
    [(1, [1]), (3, [1, 2, 3]), (16, list(range(1, 17))), (64, [*range(1, 17), 24, 32, 40, 48, 56, 64])],
)
def test_every_likely_batch_size_is_warmed_up(max_batch: int, sizes: list[int]) -> None:
    """Up to 16 each one; beyond, eighths."""
    assert warm_up_sizes(max_batch) == sizes


async def test_warm_up_happens_before_ready(tmp_path: Path) -> None:
    """The engine has run them all when /readyz says 200."""
    engine = GatedEngine()
    async with in_process(make_app(tmp_path, engine, max_batch=4)) as client:
        assert (await client.get("/readyz")).status_code == 200
    assert engine.warmed == [1, 2, 3, 4]


async def test_liveness_readiness_and_details(tmp_path: Path) -> None:
    """Alive always; ready until the drain; details tell what is served."""
    app = make_app(tmp_path, notice="Only a test.")
    async with in_process(app) as client:
        details = (await client.get("/health")).json()
        app.house.classifier.drain()
        ready, alive = await client.get("/readyz"), await client.get("/healthz")
        draining = (await client.get("/health")).json()
    assert (details["status"], details["model"]["status"], details["model"]["name"]) == ("ok", "ready", "fake")
    assert details["notice"] == "Only a test."
    assert details["queue"]["max_batch"] == 16
    assert (ready.status_code, ready.headers["Retry-After"], alive.status_code) == (503, "5", 200)
    assert draining["status"] == "draining"


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    """Requests by route and status, batches by reason, stages, cache, ends, the model."""
    async with in_process(make_app(tmp_path)) as client:
        for data in (png(1), png(1), png(2), b"not a picture"):
            await client.post("/predict", content=data)
        await client.request("BREW", "/nowhere")
        text = (await client.get("/metrics")).text
    for line in (
        'glimt_requests_total{method="POST",route="/predict",status="200"} 3.0',
        'glimt_requests_total{method="POST",route="/predict",status="415"} 1.0',
        'glimt_requests_total{method="other",route="unmatched",status="404"} 1.0',
        'glimt_batches_released_total{reason="idle"} 2.0',
        "glimt_batch_size_count 2.0",
        "glimt_infer_seconds_count 2.0",
        "glimt_total_seconds_count 3.0",
        'glimt_cache_total{result="hit"} 1.0',
        "glimt_queue_depth 0.0",
        "glimt_predict_refused_total 0.0",
        "glimt_ready 1.0",
        'glimt_model{engine="gated",name="fake",version="1",weights="none"} 1.0',
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("path", ["/", "/health", "/static/app.css", "/nothing", "/predict", "/feedback/"])
async def test_every_answer_carries_id_and_security_headers(tmp_path: Path, path: str) -> None:
    """T40: also the errors."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.get(path)
    assert len(answer.headers["X-Request-ID"]) == 32
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
