import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from service.models.exchange import export_version
from service.models.registry import Registry
from service.models.versions import MANIFEST
from tests.models.shelf import put
from tests.world import CLASSES, in_process, make_app, operator, png

TAR = {"content-type": "application/x-tar"}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Whoever can read the data folder. Every version is computed by the same fake engine."""
    async with in_process(make_app(tmp_path)) as client:
        client.headers |= operator(tmp_path)
        yield client


async def test_the_list_says_what_answers_and_what_could(admin: httpx2.AsyncClient, registry: Registry) -> None:
    """The configured model answers until a version is activated."""
    ref = put(registry, classes=CLASSES).ref
    said = (await admin.get("/api/models")).json()
    assert (said["model"]["name"], said["served"], said["can_roll_back"]) == ("fake", None, False)
    assert [(it["ref"], it["served"], it["classes"]) for it in said["versions"]] == [(ref, False, 10)]


async def test_an_activated_version_answers_the_next_picture(admin: httpx2.AsyncClient, registry: Registry) -> None:
    """And a roll-back brings back what answered before; each answer names its model."""
    version = put(registry, classes=CLASSES)
    before = (await admin.post("/predict", content=png(1))).json()["model"]
    activated = await admin.post(f"/api/models/{version.ref}/activate")
    assert (activated.status_code, activated.json()["served"]) == (200, version.ref)
    during = (await admin.post("/predict", content=png(1))).json()["model"]
    assert (during["name"], during["version"]) == ("pets", version.version)
    assert before != during


async def test_one_that_was_not_better_is_served_only_when_insisted(
    admin: httpx2.AsyncClient, registry: Registry
) -> None:
    """409 with the way out, and the old one goes on."""
    ref = put(registry, classes=CLASSES, beats_served=False).ref
    refused = await admin.post(f"/api/models/{ref}/activate")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "override" in refused.json()["detail"]
    assert (await admin.get("/api/models")).json()["served"] is None
    assert (await admin.post(f"/api/models/{ref}/activate?override=true")).status_code == 200


async def test_of_two_activations_at_once_one_is_refused(admin: httpx2.AsyncClient, registry: Registry) -> None:
    """T34."""
    refs = [put(registry, content=content, classes=CLASSES).ref for content in (b"one", b"two")]
    answers = await asyncio.gather(*(admin.post(f"/api/models/{ref}/activate") for ref in refs))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_damaged_version_is_a_422_and_the_old_one_goes_on(
    admin: httpx2.AsyncClient, registry: Registry
) -> None:
    """T31: the words name the file."""
    version = put(registry, classes=CLASSES)
    version.weights.write_bytes(b"Weights")
    refused = await admin.post("/api/models/pets/activate")
    assert (refused.status_code, refused.json()["code"]) == (422, "model_unusable")
    assert "pets.weights.h5 is damaged" in refused.json()["detail"]
    assert (await admin.post("/predict", content=png(1))).json()["model"]["name"] == "fake"


async def test_what_is_not_there_is_a_404(admin: httpx2.AsyncClient) -> None:
    """Whatever is wanted of it."""
    asked = [
        await admin.get("/api/models/cats"),
        await admin.post("/api/models/cats/activate"),
        await admin.delete("/api/models/cats"),
        await admin.get("/api/models/cats/export"),
    ]
    assert [answer.status_code for answer in asked] == [404] * 4


async def test_a_guest_reads_no_path_of_the_server(
    tmp_path: Path, admin: httpx2.AsyncClient, registry: Registry
) -> None:
    """Neither where models would be, nor where a damaged one is."""
    manifest = registry.folder_of(put(registry).ref) / MANIFEST
    manifest.write_text("{}")
    del admin.headers["authorization"]
    answers = [await admin.get(f"/api/models{path}") for path in ("", "/cats", "/pets", "/pets/compare?other=pets")]
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200]
    assert "is damaged" in answers[0].json()["versions"][0]["damage"]
    assert not [answer.text for answer in answers if str(tmp_path) in answer.text]


async def test_a_version_is_deleted_unless_it_is_served(admin: httpx2.AsyncClient, registry: Registry) -> None:
    """409 for the served one."""
    served, other = (put(registry, content=content, classes=CLASSES).ref for content in (b"one", b"two"))
    await admin.post(f"/api/models/{served}/activate")
    assert (await admin.delete(f"/api/models/{served}")).status_code == 409
    assert (await admin.delete(f"/api/models/{other}")).status_code == 204
    assert [it["ref"] for it in (await admin.get("/api/models")).json()["versions"]] == [served]


async def test_two_versions_side_by_side(admin: httpx2.AsyncClient, registry: Registry) -> None:
    """Every figure of both, and the classes that only one knows."""
    one, other = put(registry, content=b"one").ref, put(registry, content=b"two", classes=CLASSES).ref
    said = (await admin.get(f"/api/models/{one}/compare", params={"other": other})).json()
    assert said["metrics"] == {"accuracy": [0.9, 0.9]}
    assert said["only_in_one"] == ["cat", "dog"]
    assert said["only_in_other"] == sorted(CLASSES.labels)


async def test_an_exported_version_can_be_taken_in(admin: httpx2.AsyncClient, registry: Registry) -> None:
    """What went out comes in again, once; it is not served by that."""
    ref = put(registry, classes=CLASSES).ref
    sent = await admin.get(f"/api/models/{ref}/export")
    assert sent.headers["content-type"] == "application/x-tar"
    assert int(sent.headers["content-length"]) == len(sent.content)
    assert (await admin.post("/api/models", content=sent.content, headers=TAR)).status_code == 409
    await admin.delete(f"/api/models/{ref}")
    came = await admin.post("/api/models", content=sent.content, headers=TAR)
    assert (came.status_code, came.json()["ref"], came.headers["location"]) == (201, ref, f"/api/models/{ref}")
    assert not came.json()["served"]


async def test_what_is_no_version_is_not_taken_in(admin: httpx2.AsyncClient, registry: Registry) -> None:
    """422 in words, and nothing is left in the registry."""
    refused = await admin.post("/api/models", content=b"no tar" * 1000, headers=TAR)
    assert (refused.status_code, refused.json()["code"]) == (422, "archive_invalid")
    assert list(registry.folder.iterdir()) == []


async def test_a_half_sent_version_leaves_nothing(admin: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Neither in the registry here nor among what has arrived."""
    elsewhere, target = Registry(tmp_path / "elsewhere"), io.BytesIO()
    put(elsewhere)
    export_version(elsewhere, "pets", target)
    refused = await admin.post("/api/models", content=target.getvalue()[:1000], headers=TAR)
    assert refused.status_code == 422
    assert not any(path.is_file() for path in (tmp_path / "jobs" / "unfinished").iterdir())


async def test_a_candidate_is_tried_out_beside_the_model_that_answers(
    admin: httpx2.AsyncClient, registry: Registry
) -> None:
    """It is asked for the same pictures and answers nobody."""
    ref = put(registry, classes=CLASSES).ref
    begun = await admin.put("/api/trial", json={"model": ref, "share": 1})
    assert (begun.status_code, begun.json()["model"]["name"]) == (200, "pets")
    assert (await admin.post("/predict", content=png(7))).json()["model"]["name"] == "fake"
    async with asyncio.timeout(10):
        while (await admin.get("/api/trial")).json()["compared"] == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until the candidate's thread is done
    assert (await admin.get("/api/trial/differences")).json() == []
    assert (await admin.put("/api/trial", json={"model": ref, "share": 1})).status_code == 409
    assert (await admin.delete("/api/trial")).status_code == 204
    assert (await admin.get("/api/trial")).json()["model"] is None


@pytest.mark.parametrize("share", [0, -1, 1.5, None, "all"])
async def test_a_share_is_a_part(admin: httpx2.AsyncClient, share: object) -> None:
    """422 with what it may be."""
    refused = await admin.put("/api/trial", json={"model": "pets", "share": share})
    assert refused.status_code == 422
    assert "over 0 and at most 1" in refused.json()["detail"]
