"""One's own history over HTTP: who is noted, what is listed, what is done again, and that nobody sees another's."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from PIL import Image

from service.accounts.keys import LOCAL, Signer, read_key
from service.app import Glimt
from service.errors import StoreBusy
from service.http import history
from service.inference.images import Limits
from service.inference.thumbnails import SIDE_PIXELS, thumbnail
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png, signed_in

FRAGMENT = {"hx-request": "true"}
EVIL = "<img src=x onerror=alert(1)>.png"


@dataclass(frozen=True)
class World:
    """The app, ada and bo with their credentials, and a client without any."""

    app: Glimt
    client: httpx2.AsyncClient
    ada: dict[str, str] = field(default_factory=dict)
    bo: dict[str, str] = field(default_factory=dict)

    async def predict(self, picture: bytes, who: dict[str, str], name: str = "a.png") -> dict[str, Any]:
        """POST /predict."""
        answer = await self.client.post("/predict", files={"file": (name, picture)}, headers=who)
        assert answer.status_code == 200
        return dict(answer.json())

    async def rows(self, who: dict[str, str], query: str = "") -> list[dict[str, Any]]:
        """GET /api/history."""
        answer = await self.client.get(f"/api/history{query}", headers=who)
        assert answer.status_code == 200
        return list(answer.json())


@asynccontextmanager
async def a_world(folder: Path, engine: GatedEngine | None = None, **changes: Any) -> AsyncIterator[World]:
    app = make_app(folder, engine, **changes)
    async with in_process(app) as client:
        yield World(app, client, await signed_in(app, "ada"), await signed_in(app, "bo"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Every picture is kept."""
    async with a_world(tmp_path, keep_images="all") as world:
        yield world


# What is noted


async def test_an_answer_becomes_a_row(world: World) -> None:
    """What POST /predict said, listed at once, with the name and the hash of the picture."""
    said = await world.predict(png(1), world.ada, "beach.png")
    (row,) = await world.rows(world.ada)
    assert row["created_at"].endswith("Z")
    assert {name: value for name, value in row.items() if name not in ("id", "created_at")} == {
        "image_sha256": hashlib.sha256(png(1)).hexdigest(),
        "image_file_name": "beach.png",
        "label": said["prediction"],
        "score": said["score"],
        "model_name": "fake",
        "model_version": "1",
        "image_kept": True,
    }


async def test_every_way_to_ask_is_noted(world: World) -> None:
    """A raw body, each picture of a stream, the page's form and an example, and reference A's address."""
    await world.client.post("/predict", content=png(1), headers=world.ada | {"content-type": "image/png"})
    pictures = [("file", (f"{red}.png", png(red))) for red in (2, 3)]
    await world.client.post("/predict", files=pictures, headers=world.ada)
    await world.client.post("/", files={"file": ("form.png", png(4))}, headers=world.ada)
    await world.client.post("/", data={"example": "object-clock"}, headers=world.ada)
    await world.client.post("/model/predict", files={"file": ("model.png", png(5))}, headers=world.ada)
    names = [row["image_file_name"] for row in await world.rows(world.ada)]
    assert sorted(names) == ["2.png", "3.png", "form.png", "model.png", "object-clock.png", "picture"]


async def test_nothing_is_noted_of_anybody(world: World) -> None:
    """Without an account there is no row, whoever asks later."""
    await world.predict(png(1), {})
    lines = [line async for line in world.app.house.accounts.list()]
    assert [len(await world.app.house.history.list(user.id)) for user in lines] == [0, 0]


async def test_the_local_key_has_no_history(world: World, tmp_path: Path) -> None:
    """Who holds the data folder is answered, and is nobody's account."""
    key = {"authorization": f"Bearer {Signer(read_key(tmp_path)).sign(LOCAL, 0)}"}
    await world.predict(png(1), key)
    refused = await world.client.get("/api/history", headers=key)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_what_failed_is_not_noted(world: World) -> None:
    """A row is an answer; a damaged picture has none."""
    answer = await world.client.post(
        "/predict", files={"file": ("a.png", b"\x89PNG\r\n\x1a\nbroken")}, headers=world.ada
    )
    assert answer.status_code == 422
    assert await world.rows(world.ada) == []


async def test_nothing_is_noted_where_no_history_is_kept(tmp_path: Path) -> None:
    """GLIMT_HISTORY_DAYS=0: not even for a moment."""
    async with a_world(tmp_path, history_days=0) as world:
        await world.predict(png(1), world.ada)
        assert await world.rows(world.ada) == []
        assert "remembers no answers" in (await world.client.get("/history", headers=world.ada)).text


async def test_an_answer_does_not_wait_for_its_row(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database hangs, pictures are answered."""
    gate = asyncio.Event()
    write = world.app.house.database.write

    async def hanging(job: Any) -> Any:
        await gate.wait()
        return await write(job)

    monkeypatch.setattr(world.app.house.database, "write", hanging)
    for red in range(3):
        await asyncio.wait_for(world.predict(png(red), world.ada), 20)
    gate.set()
    assert len(await world.rows(world.ada)) == 3


# Listing and deleting


async def test_rows_come_in_pages(world: World) -> None:
    """Newest first; ?before= goes on where the last page ended."""
    for red in range(5):
        await world.predict(png(red), world.ada, f"{red}.png")
    first = await world.rows(world.ada, "?limit=3")
    rest = await world.rows(world.ada, f"?before={first[-1]['id']}")
    assert [row["image_file_name"] for row in first + rest] == [f"{red}.png" for red in (4, 3, 2, 1, 0)]


async def test_rows_are_found_by_label_and_day(world: World) -> None:
    """A space stands for an underscore; a day that has not come has no rows."""
    await world.predict(png(1), world.ada)
    (row,) = await world.rows(world.ada)
    day = row["created_at"][:10]
    assert await world.rows(world.ada, f"?label=class%20&since={day}&until={day}") == [row]
    assert await world.rows(world.ada, "?label=zebra") == []
    assert await world.rows(world.ada, "?since=9999-12-31") == []
    assert await world.rows(world.ada, "?until=9999-12-31&since=0001-01-01") == [row]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "before=0", "since=0", "until=2026-02-30", "label=%00", "lable=cat"]
)
async def test_a_senseless_query_is_422(world: World, query: str) -> None:
    """The answer names the parameter."""
    for path in ("/api/history", "/history"):
        answer = await world.client.get(f"{path}?{query}", headers=world.ada)
        assert answer.status_code == 422
        assert query.split("=")[0] in answer.json()["detail"]


async def test_a_deleted_row_takes_its_picture(world: World) -> None:
    """204 and gone, 404 the second time."""
    await world.predict(png(1), world.ada)
    (row,) = await world.rows(world.ada)
    address = f"/api/history/{row['id']}"
    assert [(await world.client.delete(address, headers=world.ada)).status_code for _ in range(2)] == [204, 404]
    assert await world.rows(world.ada) == []
    assert not await world.app.house.pictures.has(row["image_sha256"])


async def test_delete_all_is_ones_own(world: World) -> None:
    """Everything of the account, nothing of the other."""
    for who in (world.ada, world.bo):
        await world.predict(png(1), who)
    assert (await world.client.delete("/api/history", headers=world.ada)).status_code == 204
    assert await world.rows(world.ada) == []
    (theirs,) = await world.rows(world.bo)
    assert await world.app.house.pictures.has(theirs["image_sha256"])


# Looking again


async def test_a_rerun_is_answered_and_noted_like_any_other(world: World) -> None:
    """The same document as POST /predict, by the model of today; a new row under the old name."""
    said = await world.predict(png(1), world.ada, "beach.png")
    (row,) = await world.rows(world.ada)
    answer = await world.client.post(f"/api/history/{row['id']}/rerun?top=2", headers=world.ada)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == said["predictions"][:2]
    assert "server-timing" in answer.headers
    assert [row["image_file_name"] for row in await world.rows(world.ada)] == ["beach.png", "beach.png"]


@pytest.mark.parametrize(("keep_images", "words"), [("feedback", "only with feedback"), ("none", "GLIMT_KEEP_IMAGES")])
async def test_what_was_not_kept_cannot_be_looked_at_again(tmp_path: Path, keep_images: str, words: str) -> None:
    """409 with the reason and the way out; the thumbnail is 404, and the page offers neither."""
    async with a_world(tmp_path, keep_images=keep_images) as world:
        await world.predict(png(1), world.ada)
        (row,) = await world.rows(world.ada)
        assert row["image_kept"] is False
        answer = await world.client.post(f"/api/history/{row['id']}/rerun", headers=world.ada)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert words in answer.json()["detail"]
        assert "POST /predict" in answer.json()["detail"]
        assert (await world.client.get(f"/api/history/{row['id']}/picture", headers=world.ada)).status_code == 404
        page = (await world.client.get("/history", headers=world.ada)).text
        assert "/picture" not in page
        assert "/rerun" not in page


async def test_a_rerun_waits_for_a_model(tmp_path: Path) -> None:
    """While the service drains it is refused as POST /predict is."""
    async with a_world(tmp_path, keep_images="all") as world:
        await world.predict(png(1), world.ada)
        (row,) = await world.rows(world.ada)
        world.app.house.classifier.drain()
        answer = await world.client.post(f"/api/history/{row['id']}/rerun", headers=world.ada)
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")


# Thumbnails


async def test_a_thumbnail_is_small_and_asked_for_each_time(world: World) -> None:
    """A JPEG of our own making within 128 pixels, only for its owner's browser, with nothing of what stood behind the
    picture; unchanged it is a 304, and gone it is a 404."""
    await world.predict(png(200, size=300) + b"<script>alert(1)</script>", world.ada)
    (row,) = await world.rows(world.ada)
    address = f"/api/history/{row['id']}/picture"
    answer = await world.client.get(address, headers=world.ada)
    shown = Image.open(io.BytesIO(answer.content))
    assert (shown.format, shown.size, b"script" in answer.content) == ("JPEG", (128, 128), False)
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
    assert answer.headers["cache-control"] == "private, no-cache"
    again = world.ada | {"if-none-match": answer.headers["etag"]}
    assert (await world.client.get(address, headers=again)).status_code == 304
    await world.app.house.pictures.remove(row["image_sha256"])
    assert [(await world.client.get(address, headers=who)).status_code for who in (again, world.ada)] == [404, 404]


@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (3000, 2000)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_thumbnails_of_all_shapes(size: tuple[int, int], kind: str) -> None:
    """Never larger than 128, never empty."""
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind)
    small = Image.open(io.BytesIO(thumbnail(file.getvalue(), Limits(10**7, 10**8))))
    assert 1 <= max(small.size) <= SIDE_PIXELS


async def test_a_kept_picture_that_is_damaged_is_not_shown(world: World) -> None:
    """Something happened to the file: 404 with words, no 500."""
    await world.predict(png(1), world.ada)
    (row,) = await world.rows(world.ada)
    world.app.house.pictures.path(row["image_sha256"]).write_bytes(b"damaged")
    answer = await world.client.get(f"/api/history/{row['id']}/picture", headers=world.ada)
    assert answer.status_code == 404
    assert "cannot be shown" in answer.json()["detail"]


# The page


async def test_the_page_shows_what_was_said_as_text(world: World) -> None:
    """Label, name, time and thumbnail; markup in a name is only text; nobody may store the page."""
    said = await world.predict(png(1), world.ada, EVIL)
    answer = await world.client.get("/history", headers=world.ada)
    assert answer.headers["cache-control"] == "no-store"
    assert "&lt;img src=x onerror" in answer.text
    assert "<img src=x" not in answer.text
    assert said["prediction"].replace("_", " ") in answer.text
    assert '<time datetime="' in answer.text
    assert 'src="/api/history/1/picture"' in answer.text


async def test_the_page_is_empty_in_words(world: World) -> None:
    """A new account reads how it fills; a filter that finds nothing says so, escaped."""
    assert "Nothing to look back on yet" in (await world.client.get("/history", headers=world.ada)).text
    found = (await world.client.get("/history?label=<b>", headers=world.ada)).text
    assert "No label here has “&lt;b&gt;” in it" in found


async def test_the_page_leads_to_older_rows_and_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its links keep the filter."""
    monkeypatch.setattr(history, "PAGE_ROWS", 2)
    for red in range(3):
        await world.predict(png(red), world.ada, f"{red}.png")
    first = (await world.client.get("/history?label=class+", headers=world.ada)).text
    assert 'href="/history?before=2&amp;label=class+"' in first
    assert "0.png" not in first
    second = (await world.client.get("/history?before=2&label=class+", headers=world.ada)).text
    assert "0.png" in second
    assert "1.png" not in second
    assert 'href="/history?label=class+"' in second
    assert "Older" not in second


async def test_forms_work_without_javascript(world: World) -> None:
    """Look again: the whole page with then and now. Delete: back to the page and place it came from."""
    await world.predict(png(1), world.ada)
    looked = await world.client.post("/history/1/rerun?label=class", headers=world.ada)
    assert looked.status_code == 200
    assert looked.text.index("Then") < looked.text.index("Now")
    assert "<html" in looked.text
    deleted = await world.client.post("/history/1/delete?label=class", headers=world.ada)
    assert (deleted.status_code, deleted.headers["location"]) == (303, "/history?label=class")
    emptied = await world.client.post("/history/delete-all", headers=world.ada)
    assert (emptied.status_code, emptied.headers["location"]) == (303, "/history")
    assert await world.rows(world.ada) == []


async def test_fragments_for_javascript(world: World) -> None:
    """Look again: then and now alone. Delete: nothing, in the place of the row."""
    await world.predict(png(1), world.ada)
    looked = await world.client.post("/history/1/rerun", headers=world.ada | FRAGMENT)
    assert "Then" in looked.text
    assert "<html" not in looked.text
    deleted = await world.client.post("/history/1/delete", headers=world.ada | FRAGMENT)
    assert (deleted.status_code, deleted.text) == (200, "")


# One's own data


async def test_the_export_is_a_file_with_an_end(world: World) -> None:
    """An attachment nobody stores; its last line says that it is whole."""
    await world.predict(png(1), world.ada)
    await world.predict(png(2), world.bo, "theirs.png")
    answer = await world.client.get("/api/me/export", headers=world.ada)
    assert answer.headers["content-disposition"] == 'attachment; filename="glimt-my-data.ndjson"'
    assert answer.headers["cache-control"] == "no-store"
    lines = [orjson.loads(line) for line in answer.text.splitlines()]
    assert [line["type"] for line in lines] == ["account", "prediction", "end"]
    assert lines[-1]["done"] is True
    assert "theirs" not in answer.text


async def test_an_export_that_breaks_off_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first line an error is the last line."""

    async def busy(*_: Any, **__: Any) -> None:
        raise StoreBusy("locked")

    monkeypatch.setattr(world.app.house.history, "list", busy)
    answer = await world.client.get("/api/me/export", headers=world.ada)
    last = orjson.loads(answer.text.splitlines()[-1])
    assert (answer.status_code, last["done"], last["code"]) == (200, False, "store_busy")


# T37: others


ROUTES = [
    ("DELETE", "/api/history/1"),
    ("POST", "/api/history/1/rerun"),
    ("GET", "/api/history/1/picture"),
    ("POST", "/history/1/rerun"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_anothers_row_is_not_there(world: World, method: str, path: str) -> None:
    """404 for the other account and for an admin, 401 for nobody; for its owner it works afterwards."""
    await world.predict(png(1), world.ada)
    await world.rows(world.ada)
    admin = await signed_in(world.app, "root", "admin")
    seen = [(await world.client.request(method, path, headers=who)).status_code for who in (world.bo, admin, {})]
    assert seen == [404, 404, 401]
    assert (await world.client.request(method, path, headers=world.ada)).status_code in (200, 204)


async def test_lists_and_pages_hold_only_ones_own(world: World) -> None:
    """The other sees nothing of it and deletes nothing of it, on the page either."""
    await world.predict(png(1), world.ada, "mine.png")
    assert await world.rows(world.bo) == []
    for path in ("/history", "/api/me/export"):
        assert "mine.png" not in (await world.client.get(path, headers=world.bo)).text
    await world.client.delete("/api/history", headers=world.bo)
    for path in ("/history/delete-all", "/history/1/delete"):
        assert (await world.client.post(path, headers=world.bo)).status_code == 303
    assert [row["image_file_name"] for row in await world.rows(world.ada)] == ["mine.png"]


async def test_a_deleted_account_leaves_nothing(world: World) -> None:
    """DELETE /api/me: rows and pictures are gone."""
    await world.predict(png(1), world.ada)
    (row,) = await world.rows(world.ada)
    assert (await world.client.delete("/api/me", headers=world.ada)).status_code == 204
    assert not await world.app.house.pictures.has(row["image_sha256"])
    assert await world.app.house.history.mentioned([row["image_sha256"]]) == set()
