"""FAULTS.md T31 (its reload half) and T33: another model takes over under load. Over HTTP."""

import asyncio
from pathlib import Path

import httpx2
import numpy as np
import pytest

from service.errors import FileDamaged, StartError
from service.inference.engines.engine import Pixels, Scores
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec, ModelInfo
from service.inference.serving import Serving
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png, until

SWAPS = 50
CLIENTS = 6


class Numbered(GatedEngine):
    """Its best class is the picture's red plus its own number, modulo 10."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def scores(self, pixels: Pixels) -> Scores:
        best = (pixels[:, 0, 0, 0].astype(int) + self.number) % 10
        return np.asarray(np.eye(10)[best], np.float32)


def numbered(engine: GatedEngine, number: int) -> Serving:
    """Version <number>; its labels name it; odd ones eat larger pictures."""
    classes = ClassTable(tuple(f"v{number}_class{n}" for n in range(10)), (None,) * 10, ("",) * 10)
    spec = InputSpec(16 if number % 2 else 8, "unit")
    return Serving(lambda: engine, ModelInfo("fake", str(number), "gated", "none"), classes, spec)


async def test_t33_fifty_swaps_and_not_one_failed_request(tmp_path: Path) -> None:
    """T33: each answer's label is what the version that it names gives for its picture, computed or kept, and never of
    a version older than the one that answered when it was asked."""
    app = make_app(tmp_path, max_batch=4, cache_entries=16)
    answered = 0
    done = asyncio.Event()

    async def ask(client: httpx2.AsyncClient, first: int) -> None:
        nonlocal answered
        red = first
        while not done.is_set():
            await asyncio.sleep(0)  # an answer that was kept comes without a pause
            red = (red + CLIENTS) % (2 * CLIENTS)
            serves = int(app.house.worker.model.version)
            reply = await client.post("/predict", content=png(red), params={"top": 1})
            assert reply.status_code == 200, reply.text
            document = reply.json()
            version = int(document["model"]["version"])
            assert document["predictions"][0]["label"] == f"v{version}_class{(red + version) % 10}"
            assert version >= serves
            answered += 1

    async with in_process(app) as client:
        await app.house.worker.swap(numbered(Numbered(2), 2))  # the first one's labels name no version
        async with asyncio.TaskGroup() as group:
            for first in range(CLIENTS):
                group.create_task(ask(client, first))
            for number in range(3, SWAPS + 3):
                so_far = answered
                await until(lambda so_far=so_far: answered >= so_far + CLIENTS)
                await app.house.worker.swap(numbered(Numbered(number), number))
            done.set()
        page = (await client.get("/metrics")).text
    assert f"glimt_model_swaps_total {SWAPS + 1}.0" in page
    assert f'version="{SWAPS + 2}"' in page


class Damaged(GatedEngine):
    def load(self) -> None:
        raise FileDamaged("the hash is another")


class OfOtherClasses(GatedEngine):
    def scores(self, pixels: Pixels) -> Scores:
        return super().scores(pixels)[:, :9]


@pytest.mark.parametrize("kind", [Damaged, OfOtherClasses])
async def test_t31_what_cannot_be_loaded_never_answers(tmp_path: Path, kind: type[GatedEngine]) -> None:
    """T31: the swap says why; the model before goes on as if nothing had been asked."""
    app = make_app(tmp_path)
    async with in_process(app) as client:
        with pytest.raises(StartError, match=r"hash|classes|\(1, 9\)"):
            await app.house.worker.swap(numbered(kind(), 5))
        reply = await client.post("/predict", content=png(1))
        assert (reply.status_code, reply.json()["model"]["version"]) == (200, "1")
        assert (await client.get("/readyz")).status_code == 200
