"""POST /model/predict as reference system A's clients use it. What is otherwise on purpose is called a Deviation."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.fakes import GatedEngine
from tests.reference_a import PICTURE, ReferenceClient, a_reference_client
from tests.world import make_app, png, signed_in, under_uvicorn, until

NOT_SUPPORTED = {"detail": "File type is not supported."}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ReferenceClient]:
    async with a_reference_client(tmp_path) as made:
        yield made


async def test_predict_answers_with_four_fields(world: ReferenceClient) -> None:
    """success, prediction, score, and the MD5 of the bytes with the extension."""
    answer = await world.predict(PICTURE, "dog.png")
    document = answer.json()
    assert answer.status_code == 200
    assert document.keys() == {"success", "prediction", "score", "image_file_name"}
    assert (document["success"], document["prediction"]) == (True, "class_8")
    assert document["image_file_name"] == hashlib.md5(PICTURE).hexdigest() + ".png"


async def test_the_score_has_four_decimals(world: ReferenceClient) -> None:
    """It is the native answer's, rounded."""
    native = (await world.client.post("/predict?preprocess=keras", content=png(200))).json()["score"]
    score = (await world.predict(png(200))).json()["score"]
    assert native != score == round(native, 4)


@pytest.mark.parametrize("default", ["imagenet", "keras"])
async def test_predict_always_squashes(tmp_path: Path, default: Any) -> None:
    """The keras profile, whatever the server's default: the crop of a broad picture's middle would score otherwise."""
    async with a_reference_client(tmp_path, preprocess=default) as world:
        score = (await world.predict(broad())).json()["score"]
        native = {
            profile: (await world.client.post(f"/predict?preprocess={profile}", content=broad())).json()["score"]
            for profile in ("keras", "imagenet")
        }
    assert score == round(native["keras"], 4) != round(native["imagenet"], 4)


def broad() -> bytes:
    """Red in the middle, blue at both sides."""
    picture = Image.new("RGB", (48, 16), "blue")
    picture.paste((255, 0, 0), (16, 0, 32, 16))
    picture.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


@pytest.mark.parametrize("extension", [".png", ".jpg", ".jpeg", ".gif", ".PNG", ".Jpg", ".JPEG", ".GIF"])
async def test_the_four_extensions_are_taken_in_any_case(world: ReferenceClient, extension: str) -> None:
    """The stored name has it in lower case. What the bytes are is found out from the bytes."""
    answer = await world.predict(name="a.dog" + extension)
    assert answer.status_code == 200
    assert answer.json()["image_file_name"].endswith(extension.lower())


@pytest.mark.parametrize("name", ["foo.txt", "dog.jpeg.txt", "dog", "dog.", ".jpeg", "jpeg", "dog.webp", "dog.jpg "])
async def test_another_extension_is_400_in_exactly_these_words(world: ReferenceClient, name: str) -> None:
    """The whole body is {"detail": "File type is not supported."}, though the bytes are a picture."""
    answer = await world.predict(name=name)
    assert (answer.status_code, answer.json()) == (400, NOT_SUPPORTED)
    assert answer.headers["Content-Type"] == "application/json"
    assert world.engine.batches == []


async def test_a_wrong_extension_is_refused_before_the_bytes_are_read(world: ReferenceClient) -> None:
    """An endless upload of a text file ends with its name."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
        while True:
            sent += 1
            yield b"x" * 1024

    headers = await world.bearer() | {"Content-Type": "multipart/form-data; boundary=B"}
    answer = await world.client.post("/model/predict", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()) == (400, NOT_SUPPORTED)
    assert sent <= 1


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({}, id="no body"),
        pytest.param({"data": {"file": "dog.jpeg"}}, id="a urlencoded form"),
        pytest.param({"files": {"file": (None, "dog.jpeg")}}, id="a text field"),
        pytest.param({"json": {"file": "dog.jpeg"}}, id="JSON"),
        pytest.param(
            {
                "content": b'--B\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n\r\n--B--\r\n',
                "headers": {"Content-Type": "multipart/form-data; boundary=B"},
            },
            id="the empty file field of a browser's form",
        ),
    ],
)
async def test_no_file_is_400(world: ReferenceClient, request_: dict[str, Any]) -> None:
    """The words say where the picture belongs."""
    headers = request_.pop("headers", {}) | await world.bearer()
    answer = await world.client.post("/model/predict", headers=headers, **request_)
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["detail"]


async def test_two_files_are_413(world: ReferenceClient) -> None:
    """One picture a request, and the way out is said."""
    files = [("file", (f"{red}.png", png(red), "image/png")) for red in range(2)]
    answer = await world.client.post("/model/predict", files=files, headers=await world.bearer())
    assert answer.status_code == 413
    assert "more than 1 picture, the limit" in answer.json()["detail"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x.y.z"}])
async def test_without_a_token_it_is_401_asking_for_bearer(world: ReferenceClient, headers: dict[str, str]) -> None:
    """401 with WWW-Authenticate: Bearer, without one and with one that does not hold."""
    answer = await world.predict(headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("data", "status"), [(PICTURE[:50], 422), (b"not a picture", 415), (b" ", 415)])
async def test_a_corrupt_picture_is_a_4xx(world: ReferenceClient, data: bytes, status: int) -> None:
    """Deviation: A answers 500."""
    assert (await world.predict(data)).status_code == status


async def test_a_full_queue_refuses_before_the_body_is_read(tmp_path: Path) -> None:
    """Admission comes first, as at /predict: 503 with Retry-After."""
    async with a_reference_client(tmp_path, max_pending=1) as world:
        headers = await world.bearer()
        with world.app.house.classifier.admission():
            answer = await world.client.post("/model/predict", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_picture_whose_client_leaves_is_not_computed(tmp_path: Path) -> None:
    """As at /predict: its place in the queue is free again."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=1)
    stats = app.house.classifier.stats
    async with under_uvicorn(app) as port, httpx2.AsyncClient() as client:
        url, headers = f"http://127.0.0.1:{port}/model/predict", await signed_in(app)
        blocker = asyncio.create_task(client.post(url, files={"file": ("1.png", png(1))}, headers=headers))
        await until(lambda: stats().running == 1)
        leaver = asyncio.create_task(client.post(url, files={"file": ("2.png", png(2))}, headers=headers))
        await until(lambda: stats().pending == 1)
        leaver.cancel()  # which closes its connection
        await until(lambda: stats().pending == 0)
        engine.gate.set()
        assert (await blocker).status_code == 200
    assert sum(map(len, engine.batches)) == 1
