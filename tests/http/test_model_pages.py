import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from service.http.access import SESSION_COOKIE
from service.models.registry import Registry
from tests.models.shelf import put
from tests.world import CLASSES, in_process, make_app, png, session

SITE = {"origin": "http://localhost"}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.fixture
async def boss(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """An admin's browser. Every version is computed by the same fake engine."""
    app = make_app(tmp_path)
    async with in_process(app) as client:
        client.headers |= SITE
        client.cookies.set(SESSION_COOKIE, await session(app, "boss", role="admin"))
        yield client


def text(answer: httpx2.Response) -> str:
    """What a person reads."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


async def test_the_page_is_for_admins(tmp_path: Path) -> None:
    """Somebody who is not signed in is sent to do that."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.get("/models", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fmodels")


async def test_without_versions_it_says_how_to_get_one(boss: httpx2.AsyncClient) -> None:
    """And which model answers."""
    page = text(await boss.get("/models"))
    assert "fake 1" in page
    assert "Train one" in page


async def test_a_version_is_served_and_rolled_back_by_two_buttons(boss: httpx2.AsyncClient, registry: Registry) -> None:
    """Each leads to the page that says what is so now."""
    version = put(registry, classes=CLASSES)
    gone = await boss.post("/models/activate", data={"ref": version.ref})
    assert (gone.status_code, gone.headers["location"]) == (303, "/models?done=activated")
    page = await boss.get("/models?done=activated")
    assert f"pets {version.version}" in text(page)
    assert "Roll back to the configured model" in text(page)
    assert (await boss.post("/predict", content=png(1))).json()["model"]["version"] == version.version


async def test_one_that_was_not_better_asks_to_be_sure(boss: httpx2.AsyncClient, registry: Registry) -> None:
    """Without the tick nothing changes and the reason is on the page; with it, it is served."""
    ref = put(registry, classes=CLASSES, beats_served=False).ref
    refused = await boss.post("/models/activate", data={"ref": ref})
    assert refused.status_code == 409
    assert "was not better" in text(refused)
    assert (await boss.post("/models/activate", data={"ref": ref, "override": "yes"})).status_code == 303


async def test_a_damaged_version_is_shown_with_its_damage(boss: httpx2.AsyncClient, registry: Registry) -> None:
    """And only offers to be deleted."""
    version = put(registry)
    (version.weights.parent / "manifest.json").write_text("{}")
    page = await boss.get("/models")
    assert "manifest.json is damaged" in text(page)
    assert "Serve it" not in page.text
    assert (await boss.post("/models/delete", data={"ref": version.ref})).status_code == 303
    assert registry.list() == []


async def test_a_tar_that_is_none_is_said_on_the_page(boss: httpx2.AsyncClient) -> None:
    """In words, with the status of the error."""
    refused = await boss.post("/models/import", files={"file": ("x.tar", b"no tar" * 500)})
    assert refused.status_code == 422
    assert "not a model version" in text(refused)


async def test_what_goes_out_comes_in_by_the_form(boss: httpx2.AsyncClient, registry: Registry) -> None:
    """Exported, deleted, imported."""
    ref = put(registry, classes=CLASSES).ref
    sent = (await boss.get(f"/api/models/{ref}/export")).content
    await boss.post("/models/delete", data={"ref": ref})
    back = await boss.post("/models/import", files={"file": ("pets.tar", sent)})
    assert (back.status_code, back.headers["location"]) == (303, "/models?done=imported")
    assert registry.read(ref).ref == ref


async def test_a_version_is_tried_out_and_stopped(boss: httpx2.AsyncClient, registry: Registry) -> None:
    """The page says which, and for how many pictures."""
    ref = put(registry, classes=CLASSES).ref
    assert (await boss.post("/models/trial", data={"ref": ref, "share": "25"})).status_code == 303
    assert "25 % of the pictures" in text(await boss.get("/models/trial"))
    assert (await boss.post("/models/trial/stop")).status_code == 303
    assert "Tried out" not in text(await boss.get("/models"))


async def test_two_versions_stand_side_by_side(boss: httpx2.AsyncClient, registry: Registry) -> None:
    """With what only one of them knows; shares are per cents, and only the metric is called precision."""
    one, other = put(registry, content=b"one").ref, put(registry, content=b"two", classes=CLASSES).ref
    page = text(await boss.get(f"/models/{one}/compare", params={"other": other}))
    assert f"Only {one} knows cat, dog" in page
    assert "accuracy 90.0 % 90.0 %" in page
    assert "computes in float32 float32" in page


async def test_markup_in_a_class_is_only_text(boss: httpx2.AsyncClient, registry: Registry, tmp_path: Path) -> None:
    """A version from elsewhere may say what it likes (T39)."""
    from service.inference.labels import ClassTable

    evil = ClassTable(("<script>alert(1)</script>", "dog"), (None, None), ("", ""))
    one, other = put(registry, content=b"one", classes=evil).ref, put(registry, content=b"two").ref
    page = await boss.get(f"/models/{one}/compare", params={"other": other})
    assert "<script>alert" not in page.text


@pytest.mark.parametrize("ref", ["", ":", "a:b:c", "../x", "pets:", "\x00"])
@pytest.mark.parametrize("action", ["activate", "delete", "trial"])
async def test_what_is_no_name_is_said_on_the_page(boss: httpx2.AsyncClient, action: str, ref: str) -> None:
    """Deleting `:` was a 500."""
    refused = await boss.post(f"/models/{action}", data={"ref": ref})
    assert refused.status_code == 422
    assert "at most 64 each" in text(refused)
