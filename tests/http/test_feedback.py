"""POST, GET and DELETE /feedback, in process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import ClientGone, GlimtError
from service.http.feedback import MAX_BODY_BYTES, FeedbackEndpoints
from service.settings import KeepImages
from service.store.database import Database
from service.store.feedback import FeedbackDraft, FeedbackStore
from service.store.pictures import PictureStore
from tests.world import belongings, make_database

# Exactly what reference system A sends.
SAID: dict[str, Any] = {
    "score": 0.9346,
    "predicted_class": "Eskimo_dog",
    "image_file_name": "0a7c757a80f2c5b13fa7a2a47a683593.jpeg",
    "feedback": "It is a Husky",
}


class World:
    """The endpoints with a real store, and a client; the header X-Owner plays the accounts to come."""

    def __init__(self, db: Database, pictures: PictureStore, keep_images: KeepImages) -> None:
        self.db = db
        self.pictures = pictures
        self.endpoints = FeedbackEndpoints(FeedbackStore(db), pictures, belongings(db, pictures, keep_images))
        app = Starlette(
            routes=[
                Route("/feedback", self.endpoints.create, methods=["POST"]),
                Route("/feedback/", self.endpoints.create, methods=["POST"]),
                Route("/feedback/", self.endpoints.index, methods=["GET"]),
                Route("/feedback/{feedback_id:int}", self.endpoints.delete, methods=["DELETE"]),
            ],
            exception_handlers={GlimtError: _answer},
        )
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(_with_owner(app)), base_url="http://glimt")


async def _answer(_request: Request, error: Exception) -> Response:
    assert isinstance(error, GlimtError)
    return JSONResponse({"code": error.code, "detail": error.detail}, error.status)


def _with_owner(app: ASGIApp) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        scope["owner"] = dict(scope["headers"]).get(b"x-owner", b"").decode() or None
        await app(scope, receive, send)

    return wrapped


@asynccontextmanager
async def a_world(folder: Path, keep_images: KeepImages = "feedback") -> AsyncIterator[World]:
    async with make_database(folder) as db, PictureStore(folder / "pictures") as pictures:
        world = World(db, pictures, keep_images)
        async with world.client:
            yield world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("path", ["/feedback", "/feedback/"])
async def test_reference_a_gets_201_and_the_row(world: World, path: str) -> None:
    """The four fields of reference system A come back with an id and a UTC time; nothing private does."""
    answer = await world.client.post(path, json=SAID)
    assert answer.status_code == 201
    row = answer.json()
    assert SAID.items() <= row.items()
    assert row["created_at"].endswith("Z")
    assert not {"owner", "idempotency_key"} & row.keys()
    assert (await world.client.get("/feedback/")).json() == [row]


async def test_a_verdict_is_enough(world: World) -> None:
    """What the page says: wrong, the right label, a comment, which picture and model."""
    said = {
        **{name: SAID[name] for name in SAID if name != "feedback"},
        "verdict": "wrong",
        "correct_label": "Siberian_husky",
        "comment": "blue eyes",
        "image_sha256": "a" * 64,
        "model_name": "resnet50",
        "model_version": "imagenet",
    }
    answer = await world.client.post("/feedback", json=said)
    assert answer.status_code == 201, answer.text
    assert said.items() <= answer.json().items()


async def test_a_repeat_is_200_and_the_earlier_row(world: World) -> None:
    """The same Idempotency-Key: 201 once, then 200 with the same body."""
    headers = {"Idempotency-Key": "try-1"}
    first = await world.client.post("/feedback", json=SAID, headers=headers)
    again = await world.client.post("/feedback", json=SAID, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()


async def test_a_reused_key_is_409(world: World) -> None:
    """Other content under a used key is refused, not dropped."""
    headers = {"Idempotency-Key": "try-1"}
    await world.client.post("/feedback", json=SAID, headers=headers)
    answer = await world.client.post("/feedback", json=SAID | {"feedback": "no"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("key", ["", "two words", "k" * 201, "nön-ascii"])
async def test_an_unusable_key_is_422(world: World, key: str) -> None:
    """A key that cannot be kept exactly is refused: ignoring it would store twice."""
    answer = await world.client.post("/feedback", json=SAID, headers=[(b"Idempotency-Key", key.encode())])
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"score": 1.5}, "score"),
        ({"score": "0.5"}, "score"),
        ({"score": True}, "score"),
        ({"predicted_class": ""}, "predicted_class"),
        ({"feedback": "x" * 2001}, "2000"),
        ({"feedback": "nul \0"}, "feedback"),
        ({"verdict": "maybe"}, "verdict"),
        ({"verdict": "right", "correct_label": "cat"}, "correct_label"),
        ({"image_sha256": "../../etc/passwd"}, "image_sha256"),
        ({"correct_lable": "cat"}, "correct_lable"),
        ({"image_kept": True}, "image_kept"),
    ],
)
async def test_a_bad_field_is_422_and_named(world: World, change: dict[str, Any], named: str) -> None:
    """The answer says which field or which limit, and nothing is stored."""
    answer = await world.client.post("/feedback", json=SAID | change)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert named in answer.json()["detail"]
    assert (await world.client.get("/feedback/")).json() == []


async def test_saying_nothing_is_422(world: World) -> None:
    """Neither free text nor verdict: there is nothing to store."""
    answer = await world.client.post("/feedback", json={k: v for k, v in SAID.items() if k != "feedback"})
    assert answer.status_code == 422
    assert "verdict" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"score": NaN}', b'{"score": Infinity}', b'{"score": 1e999}', b"\xff\xfe", b"[" * 5000, b'"\\ud800"'],
)
async def test_what_is_not_json_is_400(world: World, body: bytes) -> None:
    """T45: NaN, bad UTF-8, endless depth and half surrogates are malformed, never a 500."""
    answer = await world.client.post("/feedback", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text


@pytest.mark.parametrize("body", [b"[]", b"null", b"7"])
async def test_json_that_is_no_object_is_422(world: World, body: bytes) -> None:
    """Well-formed but not feedback."""
    answer = await world.client.post("/feedback", content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_another_content_type_is_refused(world: World) -> None:
    """A form of a foreign page cannot leave feedback as text/plain."""
    answer = await world.client.post("/feedback", content=orjson.dumps(SAID), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400
    assert "application/json" in answer.json()["detail"]


async def test_a_body_over_the_limit_is_413_while_reading(world: World) -> None:
    """T5: an endless body is given up one chunk after the limit."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 1024

    answer = await world.client.post("/feedback", content=endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert sent <= MAX_BODY_BYTES // 1024 + 2


async def test_the_longest_fields_fit_the_body_limit(world: World) -> None:
    """The two limits agree: every field at its longest, each character escaped, is still accepted."""
    long = {
        "feedback": "\u2028" * 2000,
        "comment": "\u2028" * 2000,
        "correct_label": "\u2028" * 200,
        "verdict": "wrong",
    }
    body = orjson.dumps(SAID | long).replace("\u2028".encode(), b"\\u2028")
    assert (await world.client.post("/feedback", content=body)).status_code == 201


async def test_a_client_that_leaves_is_client_gone(world: World) -> None:
    """499 for the log; the half body is not stored."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await world.endpoints.create(Request({"type": "http", "method": "POST", "headers": []}, receive))


async def test_listing_goes_in_pages(world: World) -> None:
    """Newest first; `before` continues."""
    ids = [(await world.client.post("/feedback", json=SAID)).json()["id"] for _ in range(3)]
    first = (await world.client.get("/feedback/?limit=2")).json()
    second = (await world.client.get(f"/feedback/?limit=2&before={first[-1]['id']}")).json()
    assert [row["id"] for row in first + second] == ids[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "before=-1", "before=99999999999", "limit=\u0661"]
)
async def test_a_bad_page_is_422(world: World, query: str) -> None:
    """The parameter is named, with what is wrong with it."""
    answer = await world.client.get(f"/feedback/?{query}")
    assert answer.status_code == 422
    assert f"Query parameter {query.partition('=')[0]}: Input should be " in answer.json()["detail"]


async def test_delete_takes_back_once(world: World) -> None:
    """204, then 404; the row is gone."""
    made = (await world.client.post("/feedback", json=SAID)).json()["id"]
    answers = [(await world.client.delete(f"/feedback/{made}")).status_code for _ in range(2)]
    assert answers == [204, 404]
    assert (await world.client.get("/feedback/")).json() == []


async def test_an_id_larger_than_any_is_404(world: World) -> None:
    """Too large for the column is just not there."""
    assert (await world.client.delete(f"/feedback/{10**30}")).status_code == 404


async def test_feedback_of_others_is_not_there(world: World) -> None:
    """T37: a stranger sees an empty list and 404; the owner still has the row."""
    eva = {"X-Owner": "eva"}
    made = (await world.client.post("/feedback", json=SAID, headers=eva)).json()
    for stranger in ({}, {"X-Owner": "bo"}):
        assert (await world.client.get("/feedback/", headers=stranger)).json() == []
        assert (await world.client.delete(f"/feedback/{made['id']}", headers=stranger)).status_code == 404
    assert (await world.client.get("/feedback/", headers=eva)).json() == [made]


@pytest.mark.parametrize(("keep_images", "stays"), [("feedback", False), ("all", True)])
async def test_undo_forgets_a_picture_kept_only_for_it(tmp_path: Path, keep_images: KeepImages, stays: bool) -> None:
    """Kept with feedback, the picture goes with the last feedback about it; with keep_images=all it stays."""
    async with a_world(tmp_path, keep_images) as world:
        sha256 = await world.pictures.keep(b"picture")
        said = SAID | {"image_sha256": sha256}
        rows = [(await world.client.post("/feedback", json=said)).json() for _ in range(2)]
        assert [row["image_kept"] for row in rows] == [True, True]
        await world.client.delete(f"/feedback/{rows[0]['id']}")
        assert await world.pictures.has(sha256)
        await world.client.delete(f"/feedback/{rows[1]['id']}")
        assert await world.pictures.has(sha256) is stays


@pytest.mark.parametrize("keep_images", ["feedback", "all"])
async def test_a_picture_of_others_is_not_there(tmp_path: Path, keep_images: KeepImages) -> None:
    """Whoever knew the hash of a picture learned whether it was kept, and with keep_images=all removed it by taking
    back feedback that named it. Here one that anybody's feedback is about."""
    eva, bo = {"X-Owner": "8"}, {"X-Owner": "7"}
    async with a_world(tmp_path, keep_images) as world:
        sha256 = await world.pictures.keep(b"picture")
        said = SAID | {"image_sha256": sha256}
        for another in ({}, {}, eva):
            await world.client.post("/feedback", json=said, headers=another)
            row = (await world.client.post("/feedback", json=said, headers=bo)).json()
            assert row["image_kept"] is False
            assert (await world.client.delete(f"/feedback/{row['id']}", headers=bo)).status_code == 204
            assert await world.pictures.has(sha256)


async def test_anybody_may_say_something_about_a_picture_of_nobodys(tmp_path: Path) -> None:
    """Without accounts feedback says truly that its picture was kept, whoever sent it; of an account's it does not."""
    async with a_world(tmp_path, "all") as world:
        nobodys, evas = await world.pictures.keep(b"nobody's"), await world.pictures.keep(b"eva's")
        await FeedbackStore(world.db).add(
            FeedbackDraft(
                predicted_class="cat", score=0.5, image_file_name="a.png", image_sha256=evas, image_kept=True
            ),
            owner="8",
            idempotency_key=None,
        )
        kept = [
            (await world.client.post("/feedback", json=SAID | {"image_sha256": sha256})).json()["image_kept"]
            for sha256 in (nobodys, nobodys, evas)
        ]
    assert kept == [True, True, False]
