"""Real models through the whole service, over HTTP, against plain Keras and against known photos."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest

from service.app import create_app
from service.construction import make_engine
from service.inference import images
from service.models.choice import choose
from service.settings import Settings
from tests.world import under_uvicorn

SHARED = Path(__file__).parents[3] / "shared/data"
PHOTOS = sorted((SHARED / "images").glob("*.JPEG"))
MOBILENET = SHARED / "weights/mobilenet_v2_imagenet.weights.h5"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prepared_models")]
needs_photos = pytest.mark.skipif(not PHOTOS or not MOBILENET.exists(), reason="the shared photos are not here")


@asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """The real app with its real engine under uvicorn, and a client."""
    settings = Settings(port=0, grace_s=5, **changes)
    served = choose(settings)
    app = create_app(settings, served, make_engine(served, settings))
    async with under_uvicorn(app, settings) as port, httpx2.AsyncClient(timeout=120) as client:
        client.base_url = httpx2.URL(f"http://127.0.0.1:{port}")
        yield client


@needs_photos
async def test_sixty_photos_in_one_stream(tmp_path: Path) -> None:
    """MobileNetV2 with real weights: at least 47 of 60 right at top-1 and 58 within the top 5."""
    files = [("file", (photo.name, photo.read_bytes(), "image/jpeg")) for photo in PHOTOS]
    async with serving(model="mobilenet_v2", weights=str(MOBILENET), data_dir=tmp_path) as client:
        answer = await client.post("/predict", files=files, headers={"Accept": "application/x-ndjson"})
    *lines, last = map(orjson.loads, answer.content.splitlines())
    assert last == {"done": True, "ok": 60, "failed": 0}
    assert sorted(line["index"] for line in lines) == list(range(60))
    wnids = {line["filename"]: [label["wnid"] for label in line["predictions"]] for line in lines}
    right = [photo.name.split("_")[0] in wnids[photo.name][:1] for photo in PHOTOS]
    near = [photo.name.split("_")[0] in wnids[photo.name] for photo in PHOTOS]
    print(f"top-1 {sum(right)} of 60, top-5 {sum(near)} of 60")
    assert sum(right) >= 47
    assert sum(near) >= 58


@pytest.mark.parametrize("profile", ["imagenet", "keras"])
@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
async def test_resnet50_equals_plain_keras(tmp_path: Path, profile: Any, engine: Any) -> None:
    """Every one of the 1,000 probabilities within 1e-4 of Keras on the same pixels, alone and in a batch."""
    settings: dict[str, Any] = {"model": "resnet50", "weights": "random", "data_dir": tmp_path, "cache_entries": 0}
    settings["engine"] = engine
    async with serving(**settings) as client:

        async def scores(data: bytes) -> np.ndarray[Any, Any]:
            answer = await client.post(f"/predict?top=1000&preprocess={profile}", content=data)
            by_index = {label["index"]: label["score"] for label in answer.json()["predictions"]}
            return np.array([by_index[index] for index in range(1000)])

        alone = [await scores(data) for data in pictures()]
        together = await asyncio.gather(*map(scores, pictures()))
    expected = keras_scores(profile)
    for ours in (alone, together):
        assert np.abs(np.stack(ours) - expected).max() < 1e-4


def pictures() -> list[bytes]:
    """Nine photos, or noise."""
    return [photo.read_bytes() for photo in PHOTOS[:9]] or [noise(seed) for seed in range(9)]


@cache
def keras_scores(profile: Any) -> Any:
    """Plain Keras: the model as keras.applications builds it, seeded as ours, on the same pixels."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None)
    spec = choose(Settings(model="resnet50", weights="random")).input
    limits = images.Limits(2**24, 2**26)
    pixels = np.stack([images.read(data, limits, profile, spec)[0] for data in pictures()]).astype(np.float32)
    return np.asarray(model(keras.applications.resnet50.preprocess_input(pixels)))


def noise(seed: int) -> bytes:
    """A picture of coloured noise, for machines without the photos."""
    from io import BytesIO

    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (300, 400, 3), np.uint8)
    Image.fromarray(pixels).save(file := BytesIO(), "PNG")
    return file.getvalue()
