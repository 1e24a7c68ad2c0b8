"""T16: no room on the disk for the database, for pictures, for archives. The system limits the size of a file."""

import hashlib
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest

from tests.bulk.workshop import zipped
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png, until

LIMIT_BYTES = 256 * 1024
PICTURES = 100
ZIP = {"content-type": "application/zip"}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")


@contextmanager
def no_room() -> Iterator[None]:
    """No file grows beyond LIMIT_BYTES; what is longer already is overwritten, but not lengthened."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def noise(seed: int, size: int) -> bytes:
    """A picture that compresses to nothing less than its pixels."""
    file = bytearray(b"BM" + bytes(8) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little"))
    file += size.to_bytes(4, "little") * 2 + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    return bytes(file) + Random(seed).randbytes(size * size * 3)


def said(name: str, **more: Any) -> dict[str, Any]:
    return {"score": 0.5, "predicted_class": "class_1", "image_file_name": name, "verdict": "right"} | more


async def card(client: httpx2.AsyncClient, picture: bytes) -> int:
    """Feedback of the page, with its picture."""
    about = {"image_sha256": hashlib.sha256(picture).hexdigest(), "model_name": "fake", "model_version": "1"}
    form = {name: (None, str(value)) for name, value in said("x.bmp", **about).items()}
    return (await client.post("/cards/feedback", files=form | {"file": ("x.bmp", picture)})).status_code


async def test_a_full_disk_and_room_again(tmp_path: Path) -> None:
    """Feedback, large pictures and archives get a 507 and leave nothing; answers go on; a job pauses and says why.
    With room again all of it works, without a restart, and the job goes on to its end."""
    engine = GatedEngine()
    app = make_app(tmp_path, engine, cache_entries=0)
    app.house.bulk._work._retry_s = 0.01
    big, large = noise(1, 400), zipped([("a.bmp", noise(2, 400))])
    async with in_process(app) as client:
        for _ in range(2 * LIMIT_BYTES // 4_000):  # the log of what is written is at its limit
            await client.post("/feedback", json=said("before", feedback="x" * 2_000, comment="y" * 2_000))
        stored = len((await client.get("/feedback?limit=200")).json())
        engine.gate.clear()
        archive = zipped([(f"{number}.png", png(number)) for number in range(PICTURES)])
        job = (await client.post("/api/jobs", content=archive, headers=ZIP)).json()["id"]
        await until(lambda: app.house.classifier.stats().running)
        with no_room():
            engine.gate.set()
            assert (await client.post("/predict", files={"file": big})).status_code == 200
            assert (await client.post("/feedback", json=said("small"))).status_code == 507
            assert await card(client, big) == 507
            assert await card(client, png(1)) == 507  # there is room for it, and none for its row
            assert (await client.post("/api/jobs", content=large, headers=ZIP)).status_code == 507
            await until(lambda: (progress := app.house.bulk.progress(job)) and progress.paused)
            found = (await client.get(f"/api/jobs/{job}")).json()
            assert found["status"] == "paused"
            assert "disk" in found["paused"]
            assert len((await client.get("/feedback?limit=200")).json()) == stored
            assert [*(tmp_path / "pictures").glob("*/*.bin")] == []
        assert (await client.post("/feedback", json=said("small"))).status_code == 201
        assert await card(client, big) == 200
        assert len([*(tmp_path / "pictures").glob("*/*.bin")]) == 1
        assert (await client.post("/api/jobs", content=large, headers=ZIP)).status_code == 202
        await until(lambda: app.house.bulk.progress(job) is None)
        found = (await client.get(f"/api/jobs/{job}")).json()
        assert (found["status"], found["done"], found["failed"]) == ("done", PICTURES, 0)
    for folder in ("jobs/unfinished", "pictures/unfinished"):
        assert [*(tmp_path / folder).iterdir()] == []
