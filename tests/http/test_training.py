"""Training over HTTP, with a process that plays the trainer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.training import processes
from tests.faults.archives import Part, pack, refused
from tests.training import finished, pretended_trainer
from tests.training.pictures import png as coloured
from tests.training.reports import a_report
from tests.world import in_process, make_app, operator, signed_in

ZIP = {"content-type": "application/zip"}
PETS = pack(*(Part(f"{name}/{number}.png".encode(), coloured(number)) for name in ("cat", "dog") for number in (1, 2)))


@pytest.fixture
async def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """Whoever can read the data folder."""
    monkeypatch.setattr(processes, "trainer", pretended_trainer.command)
    async with in_process(make_app(tmp_path, max_image_bytes=4096)) as client:
        client.headers |= operator(tmp_path)
        yield client


async def uploaded(admin: httpx2.AsyncClient) -> str:
    """The id of a dataset."""
    answer = await admin.post("/api/training/datasets?name=pets.zip", content=PETS, headers=ZIP)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def begun(admin: httpx2.AsyncClient, name: str, **what: Any) -> dict[str, Any]:
    """The document of a run that learns, or is over."""
    body = {"name": name, "dataset": await uploaded(admin)} | what
    answer = await admin.post("/api/training/runs", json=body)
    assert answer.status_code == 202, answer.text
    run: dict[str, Any] = answer.json()
    async with asyncio.timeout(30):
        while run["state"] == "queued":
            run = (await admin.get(f"/api/training/runs/{run['id']}")).json()
    return run


async def test_a_dataset_comes_is_listed_and_goes(admin: httpx2.AsyncClient) -> None:
    """With its pictures by class; as a form's part too, by its own name."""
    first = await admin.post("/api/training/datasets?name=pets.zip", content=PETS, headers=ZIP)
    assert first.status_code == 201
    assert (await admin.get(first.headers["location"])).json() == first.json()
    second = await admin.post("/api/training/datasets", files={"file": ("birds.zip", PETS)})
    listed = (await admin.get("/api/training/datasets")).json()
    assert sorted(it["name"] for it in listed) == ["birds.zip", "pets.zip"]
    assert listed[0]["classes"] == {"cat": 2, "dog": 2}
    for made in (first, second):
        assert (await admin.delete(f"/api/training/datasets/{made.json()['id']}")).status_code == 204
    assert (await admin.get("/api/training/datasets")).json() == []
    assert (await admin.get(first.headers["location"])).status_code == 404


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (pack(Part(b"cat/1.png"), Part(b"cat/2.png")), 400, "bad_request"),
        (b"no zip", 422, "archive_invalid"),
        (PETS[:-40], 422, "archive_invalid"),
        (b"", 400, "bad_request"),
    ],
)
async def test_what_is_no_dataset_is_refused(
    admin: httpx2.AsyncClient, tmp_path: Path, content: bytes, status: int, code: str
) -> None:
    """And nothing of it stays."""
    answer = await admin.post("/api/training/datasets", content=content, headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await admin.get("/api/training/datasets")).json() == []
    assert not list((tmp_path / "datasets").glob("*"))


async def test_bombs_and_traps_are_refused(admin: httpx2.AsyncClient, tmp_path: Path) -> None:
    """T24: each in words that name the cause; nothing of it stays."""
    for name, (cause, content) in refused().items():
        if not content:
            continue  # no archive came at all
        answer = await admin.post("/api/training/datasets", content=content, headers=ZIP)
        assert answer.status_code in (413, 422), name
        assert cause in answer.json()["detail"], name
    assert not list((tmp_path / "datasets").glob("*"))


async def test_members_leave_no_traces_outside(admin: httpx2.AsyncClient, tmp_path: Path) -> None:
    """T25: names that climb out of the archive are labels, and nothing is written under them."""
    climbing = pack(*(Part(f"../../{name}/1.png".encode()) for name in ("cat", "dog")))
    before = {path.name for path in tmp_path.parent.iterdir()}
    answer = await admin.post("/api/training/datasets", content=climbing, headers=ZIP)
    assert (answer.status_code, answer.json()["classes"]) == (201, {"cat": 1, "dog": 1})
    assert {path.name for path in tmp_path.parent.iterdir()} == before


async def test_a_run_is_begun_and_done(admin: httpx2.AsyncClient) -> None:
    """It is listed with what it published, and shows what was asked."""
    run = await begun(admin, "pets", epochs=3, backbone="cnn")
    assert (run["state"], run["version"]) == ("done", "pets:0123456789ab")
    assert (run["order"]["epochs"], run["order"]["backbone"], run["order"]["origin"]) == (3, "cnn", "upload")
    assert [it["id"] for it in (await admin.get("/api/training/runs")).json()] == [run["id"]]


async def test_one_at_a_time(admin: httpx2.AsyncClient) -> None:
    """409 names the one that is being trained; that one is cancelled, resumed, and removed."""
    run = await begun(admin, "once")
    address, dataset = f"/api/training/runs/{run['id']}", await uploaded(admin)
    refused = await admin.post("/api/training/runs", json={"name": "pets", "dataset": dataset})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert run["id"] in refused.json()["detail"]
    assert (await admin.post(f"{address}/resume")).status_code == 409
    cancelled = await admin.delete(address)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert (await admin.post(f"{address}/resume")).status_code == 202
    assert (await admin.delete(f"{address}?remove=true")).status_code == 204
    assert (await admin.get(address)).status_code == 404
    assert (await admin.get("/api/training/runs")).json() == []


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"name": "pets"}, 422, "either dataset or from_feedback"),
        ({"name": "pets", "dataset": "x", "from_feedback": True}, 422, "either dataset or from_feedback"),
        ({"name": "pets", "dataset": "20260101-000000-000000"}, 404, "no dataset"),
        ({"name": "pets", "dataset": "../../etc"}, 404, "no dataset"),
        ({"name": "../pets", "from_feedback": True}, 422, "name"),
        ({"name": "pets", "from_feedback": True, "epochs": 0}, 422, "epochs"),
        ({"name": "pets", "from_feedback": True, "validation": 0.5, "test": 0.5}, 422, "less than a fifth"),
        ({"name": "pets", "from_feedback": True, "source": "/etc"}, 422, "source"),
        ({"name": "pets", "from_feedback": True, "extends": "20260101-000000-000000"}, 404, "no training run"),
        ({"name": "pets", "from_feedback": True}, 400, "none is left"),
        ({"from_feedback": True}, 422, "what the model shall be called"),
        ({"name": "resnet50", "from_feedback": True}, 409, "resnet50"),
    ],
)
async def test_what_cannot_be_ordered_is_said(
    admin: httpx2.AsyncClient, body: dict[str, Any], status: int, words: str
) -> None:
    """In words that name the field, and no run is left."""
    answer = await admin.post("/api/training/runs", json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert (await admin.get("/api/training/runs")).json() == []


async def test_what_a_run_leaves_is_read(admin: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Its report, its pictures, its sheets."""
    run = finished.done(tmp_path)
    address = f"/api/training/runs/{run.id}"
    assert (await admin.get(f"{address}/report")).json()["test"]["pictures"] == a_report().test.pictures
    picture = await admin.get(f"{address}/pictures/3")
    assert (picture.headers["content-type"], picture.content[:2]) == ("image/jpeg", b"\xff\xd8")
    again = await admin.get(f"{address}/pictures/3", headers={"if-none-match": picture.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for sheet in ("augmentation", "map-1", "map-3"):
        assert (await admin.get(f"{address}/sheets/{sheet}")).content[1:4] == b"PNG"


async def test_what_it_has_not_is_a_404(admin: httpx2.AsyncClient, tmp_path: Path) -> None:
    """Pictures beyond the last, sheets of another name, all of them before there are any; none of it is a path."""
    run, young = finished.done(tmp_path), finished.failed(tmp_path)
    for path in (
        f"{run.id}/pictures/400",
        f"{run.id}/sheets/trainer",
        f"{run.id}/sheets/..%2Freport",
        f"{young.id}/report",
        f"{young.id}/pictures/0",
        f"{young.id}/sheets/map-1",
        "20260101-000000-000000",
    ):
        assert (await admin.get(f"/api/training/runs/{path}")).status_code == 404, path


async def test_a_damaged_run_hides_no_other(admin: httpx2.AsyncClient, tmp_path: Path) -> None:
    """The list was a 404 when one order could not be read."""
    good, bad = finished.done(tmp_path), finished.failed(tmp_path)
    (bad.folder / "order.json").write_text("{")
    assert [it["id"] for it in (await admin.get("/api/training/runs")).json()] == [good.id]


async def test_only_admins_train(tmp_path: Path) -> None:
    """Others learn nothing of it, not even from their own feedback."""
    app = make_app(tmp_path)
    async with in_process(app) as client:
        bob = await signed_in(app, "bob")
        for method, path in (("GET", "datasets"), ("GET", "runs"), ("POST", "runs"), ("POST", "datasets")):
            assert (await client.request(method, f"/api/training/{path}", headers=bob)).status_code == 403
            assert (await client.request(method, f"/api/training/{path}")).status_code == 401


@pytest.mark.parametrize("weights", ["/etc/passwd", "../x.h5", "~/w.h5", "."])
async def test_no_file_of_the_services_disk_is_named(admin: httpx2.AsyncClient, weights: str) -> None:
    """What the answer says would tell whether it is there. A file is for who is on the machine."""
    refused = await admin.post("/api/training/runs", json={"name": "pets", "from_feedback": True, "weights": weights})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")
    assert "glimt train --weights" in refused.json()["detail"]
