"""Bulk jobs over HTTP: an archive comes in, its job is seen, cancelled and removed, its answers come out."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from service.app import Glimt
from service.inference.classifier import Classifier
from service.inference.labels import ClassTable
from service.store.job_rows import JobItem
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, operator, png, signed_in, under_uvicorn, until

ZIP = {"content-type": "application/zip"}
FRAGMENT = {"hx-request": "true"}
FILES = {
    "class_1/one.png": png(10),
    "class_9/two.png": png(200, 300),
    "class_9/three.png": png(250),
    "holidays/four.png": png(240),
    "class_9/torn.png": png(30)[:50],
    "readme.txt": b"no picture",
}


def zipped(files: Mapping[str, bytes] = FILES) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


@dataclass(frozen=True)
class World:
    """The app on a gated engine, its folder, ada and bo, and a client without credentials."""

    app: Glimt
    engine: GatedEngine
    folder: Path
    client: httpx2.AsyncClient
    ada: dict[str, str] = field(default_factory=dict)
    bo: dict[str, str] = field(default_factory=dict)

    async def send(self, content: bytes = b"", who: Mapping[str, str] | None = None, query: str = "") -> dict[str, Any]:
        """POST /api/jobs."""
        answer = await self.client.post(
            f"/api/jobs{query}", content=content or zipped(), headers={**ZIP, **(who or {})}
        )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def get(self, path: str, who: Mapping[str, str] | None = None) -> Any:
        """A document."""
        answer = await self.client.get(path, headers=dict(who or {}))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def over(self, job_id: int, who: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The job once nothing more happens to it."""
        async with asyncio.timeout(20):
            while (job := await self.get(f"/api/jobs/{job_id}", who))["ended_at"] is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return dict(job)

    async def done(self, who: Mapping[str, str] | None = None) -> int:
        """The number of a job that is done."""
        job = await self.over((await self.send(who=who))["id"], who)
        assert job["status"] == "done"
        return int(job["id"])

    def left(self) -> list[str]:
        """Files of jobs on the disk."""
        return sorted(path.name for path in (self.folder / "jobs").rglob("*") if path.is_file())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    engine = GatedEngine()
    app = make_app(tmp_path, engine, max_zip_bytes=1_000_000, max_jobs=2)
    async with in_process(app) as client:
        yield World(app, engine, tmp_path, client, await signed_in(app, "ada"), await signed_in(app, "bo"))
        engine.gate.set()


# Bringing one


async def test_an_archive_becomes_a_job(world: World) -> None:
    """202 with where it is; in the end every entry has its answer or its reason."""
    answer = await world.client.post("/api/jobs?name=beach.zip", content=zipped(), headers=ZIP)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["status"], job["file_name"], job["bytes"], job["total"]) == ("queued", "beach.zip", len(zipped()), None)
    job = await world.over(job["id"])
    assert [job[name] for name in ("status", "total", "done", "failed", "skipped")] == ["done", 6, 4, 1, 1]
    assert job["rate_per_s"] is job["eta_s"] is job["paused"] is job["error"] is None


async def test_a_form_brings_one_too(world: World) -> None:
    """Its part's file name is shown; text fields beside it do no harm."""
    form = {"file": ("../../form.zip", zipped(), "application/zip")}
    answer = await world.client.post("/api/jobs", files=form, data={"note": "x" * 100})
    assert answer.status_code == 202
    assert answer.json()["file_name"] == "form.zip"
    assert (await world.over(answer.json()["id"]))["done"] == 4


async def test_two_files_are_one_too_many(world: World) -> None:
    """Refused, and nothing is left."""
    form = [("file", ("a.zip", zipped())), ("file", ("b.zip", zipped()))]
    answer = await world.client.post("/api/jobs", files=form)
    assert answer.status_code == 400
    assert "more than one file" in answer.json()["detail"]
    assert world.left() == []


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("multipart", [True, False])
async def test_over_the_limit(world: World, chunked: bool, multipart: bool) -> None:
    """413 with the limit and the way out, however it is sent; nothing is left of it."""
    data, headers = bytes(3_000_000), dict(ZIP)
    if multipart:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        data, headers = head + data + b"\r\n--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]

    answer = await world.client.post("/api/jobs", content=chunks() if chunked else data, headers=headers)
    assert answer.status_code == 413
    assert "GLIMT_MAX_ZIP_BYTES" in answer.json()["detail"]
    assert world.left() == []
    assert await world.get("/api/jobs") == []


async def test_what_is_no_archive_fails_as_a_job(world: World) -> None:
    """It came whole; what is wrong with it is the job's error."""
    job = await world.over((await world.send(b"nonsense"))["id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "archive_invalid")
    assert "no zip" in job["error"]["detail"]


async def test_nothing_is_no_archive(world: World) -> None:
    """An empty body, and a form without a file as a browser sends it."""
    for options in ({"content": b""}, {"files": {"file": ("", b"")}}):
        answer = await world.client.post("/api/jobs", **options)
        assert answer.status_code == 400
        assert "no archive" in answer.json()["detail"]


async def test_too_many_jobs(world: World) -> None:
    """429 with the number and when to come again; another person's do not count."""
    world.engine.gate.clear()
    for _ in range(2):
        await world.send(who=world.ada)
    answer = await world.client.post("/api/jobs", content=zipped(), headers=ZIP | world.ada)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "2 of your jobs are not over yet" in answer.json()["detail"]
    await world.send(who=world.bo)


async def test_none_while_the_service_shuts_down(world: World) -> None:
    """503 before a byte is read."""
    world.app.house.classifier.drain()
    answer = await world.client.post("/api/jobs", content=zipped(), headers=ZIP)
    assert (answer.status_code, answer.json()["code"]) == (503, "draining")


@pytest.mark.slow
async def test_a_client_that_leaves_half_way(tmp_path: Path) -> None:
    """Over a real connection: nothing is left of what it sent."""
    app = make_app(tmp_path)
    async with under_uvicorn(app) as port:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" + bytes(2_000_000)
        )
        unfinished = tmp_path / "jobs/unfinished"
        await until(lambda: any(path.stat().st_size for path in unfinished.iterdir()))
        writer.close()
        await until(lambda: not list(unfinished.iterdir()))
        assert await app.house.own_jobs.store.list(None) == ()


# Seeing, cancelling, removing


async def test_a_job_is_cancelled_and_removed(world: World) -> None:
    """DELETE answers with the cancelled job, whose answers stay; with ?remove=true all goes, be it over or not."""
    world.engine.gate.clear()
    job = await world.send()
    answer = await world.client.delete(f"/api/jobs/{job['id']}")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert world.left() == ["archive.zip"]
    for removed in (job, await world.send()):
        answer = await world.client.delete(f"/api/jobs/{removed['id']}?remove=true")
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await world.client.get(f"/api/jobs/{removed['id']}")).status_code == 404
    assert world.left() == []


async def test_who_only_cancels_removes_nothing(world: World) -> None:
    """A DELETE meant to cancel came just after the job's end and took all its results with it."""
    job = await world.done()
    for _ in range(2):
        answer = await world.client.delete(f"/api/jobs/{job}")
        assert (answer.status_code, answer.json()["status"], answer.json()["done"]) == (200, "done", 4)
    assert len(await world.get(f"/api/jobs/{job}/results")) == 6
    world.engine.gate.clear()
    running = (await world.send(zipped({"new.png": png(77)})))["id"]
    assert (await world.client.delete(f"/api/jobs/{running}")).json()["status"] == "cancelled"
    assert (await world.client.delete(f"/api/jobs/{job}?remove=perhaps")).status_code == 422


async def test_the_list_is_newest_first_and_turns(world: World) -> None:
    """By the id of the last one seen."""
    ids = [await world.done() for _ in range(3)]
    assert [job["id"] for job in await world.get("/api/jobs")] == ids[::-1]
    assert [job["id"] for job in await world.get("/api/jobs?limit=1")] == ids[2:]
    assert [job["id"] for job in await world.get(f"/api/jobs?before={ids[1]}")] == ids[:1]


async def test_anothers_job_is_not_there(world: World) -> None:
    """404 at every address, for another account and for anybody; and it is still there afterwards."""
    job = await world.done(world.ada)
    api = [("GET", f"/api/jobs/{job}{rest}") for rest in ("", "/results", "/report", "/items", "/items/0/thumbnail")]
    pages = [("GET", f"/jobs/{job}"), ("GET", f"/jobs/{job}/items/0"), ("GET", f"/jobs/{job}/live")]
    changes = [
        ("DELETE", f"/api/jobs/{job}?remove=true"),
        ("POST", f"/jobs/{job}/cancel"),
        ("POST", f"/jobs/{job}/remove"),
    ]
    for method, path in (*api, *pages, *changes):
        for who in (world.bo, {}):
            assert (await world.client.request(method, path, headers=who)).status_code == 404, (method, path)
    assert await world.get("/api/jobs", world.bo) == []
    assert (await world.get(f"/api/jobs/{job}", world.ada))["done"] == 4


async def test_what_nobody_brought_belongs_to_nobody_signed_in(world: World) -> None:
    """In open mode, jobs without an account are those of all who have none."""
    job = await world.done()
    assert (await world.client.get(f"/api/jobs/{job}")).status_code == 200
    assert (await world.client.get(f"/api/jobs/{job}", headers=world.ada)).status_code == 404


# What came of it


@pytest.mark.parametrize(
    ("query", "accept", "media"),
    [
        ("", "*/*", "application/json"),
        ("", "text/csv", "text/csv; charset=utf-8"),
        ("?format=ndjson", "*/*", "application/x-ndjson"),
        ("?format=pairs", "text/csv", "application/json"),
    ],
)
async def test_results(world: World, query: str, accept: str, media: str) -> None:
    """All of them, to be saved under the archive's name."""
    job = await world.done()
    answer = await world.client.get(f"/api/jobs/{job}/results{query}", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert answer.headers["x-complete"] == "true"
    assert answer.headers["content-disposition"].startswith('attachment; filename="archive.')
    assert "one.png" in answer.text


async def test_results_so_far(world: World) -> None:
    """What there is, and the header and the file's name say that it is not all."""
    world.engine.gate.clear()
    job = await world.send()
    answer = await world.client.get(f"/api/jobs/{job['id']}/results")
    assert (answer.status_code, answer.headers["x-complete"]) == (200, "false")
    assert "archive-so-far.json" in answer.headers["content-disposition"]
    assert answer.json() == []


async def test_the_report(world: World) -> None:
    """Folders that name classes are the truth; one that names none is counted apart, and so is what failed."""
    job = await world.done()
    results = {item["name"]: item for item in await world.get(f"/api/jobs/{job}/results")}
    judged = [item for item in results.values() if item["status"] == "done" and item["truth"].startswith("class_")]
    report = await world.get(f"/api/jobs/{job}/report")
    found = report["accuracy"]
    assert (report["done"], report["failed"], report["skipped"]) == (4, 1, 1)
    assert sum(label["count"] for label in report["labels"]) == 4
    assert (found["pictures"], found["unknown"]) == (3, 1)
    assert found["top_1"] == round(sum(item["label"] == item["truth"] for item in judged) / 3, 6)
    among = [item["truth"] in [label for label, _ in item["guesses"][:5]] for item in judged]
    assert found["top_5"] == round(sum(among) / 3, 6)
    assert {(cell["truth"], cell["label"]) for cell in found["confusion"]} == {
        (item["truth"], item["label"]) for item in judged
    }
    assert {it["label"]: it["support"] for it in found["classes"]}["class_9"] == 2


async def test_a_report_after_another_model(world: World) -> None:
    """Folders whose class only the guesses below the first named counted among the first five, but not as pictures:
    top-5 was more than all. What the model of then guessed is a class."""
    job = await world.done()
    item = (await world.get(f"/api/jobs/{job}/items?limit=1"))[0]
    house = world.app.house
    run = await house.own_jobs.store.add(None, "old.zip", 1)
    old = JobItem(
        position=0,
        name="old_2/a.png",
        status="done",
        image_sha256=item["image_sha256"],
        label="old_1",
        score=0.6,
        guesses=[("old_1", 0.6), ("old_2", 0.4)],
        truth="old_2",
        model_version="old",
    )
    await house.own_jobs.store.checkpoint(run.id, [old, replace(old, position=1, truth="old_1")])
    found = (await world.get(f"/api/jobs/{run.id}/report"))["accuracy"]
    assert [found[name] for name in ("pictures", "unknown", "top_1", "top_5")] == [2, 0, 0.5, 1.0]


async def test_a_report_without_folders(world: World) -> None:
    """There is no accuracy to speak of."""
    job = await world.send(zipped({"a.png": png(1)}))
    await world.over(job["id"])
    assert (await world.get(f"/api/jobs/{job['id']}/report"))["accuracy"] is None


async def test_items_are_filtered_and_turned(world: World) -> None:
    """By status, label and score, a page at a time, in the archive's order."""
    job = await world.done()
    path = f"/api/jobs/{job}/items"
    everything = await world.get(path)
    assert [item["position"] for item in everything] == list(range(6))
    assert await world.get(f"{path}?after=1&limit=2") == everything[2:4]
    assert [item["name"] for item in await world.get(f"{path}?status=failed")] == ["class_9/torn.png"]
    best = everything[0]
    assert best in await world.get(f"{path}?label={best['label']}&most={best['score'] + 0.001}")
    assert await world.get(f"{path}?most=0") == []


async def test_a_thumbnail(world: World) -> None:
    """Small, private, not sent twice; none for what failed or was skipped."""
    job = await world.done()
    answer = await world.client.get(f"/api/jobs/{job}/items/1/thumbnail")
    assert Image.open(io.BytesIO(answer.content)).size == (128, 128)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["etag"] == f'"{sha256(FILES["class_9/two.png"]).hexdigest()}"'
    again = await world.client.get(
        f"/api/jobs/{job}/items/1/thumbnail", headers={"if-none-match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    for position in (4, 5, 6, 10**17):
        assert (await world.client.get(f"/api/jobs/{job}/items/{position}/thumbnail")).status_code == 404


async def test_a_thumbnail_whose_archive_is_gone(world: World) -> None:
    """404 in words."""
    job = await world.done()
    world.app.house.bulk.archive(job).unlink()
    answer = await world.client.get(f"/api/jobs/{job}/items/1/thumbnail")
    assert answer.status_code == 404
    assert "not kept any more" in answer.json()["detail"]


# The pages


async def test_the_pages(world: World) -> None:
    """The list, a job with its report and sheet, one picture: whole pages, and fragments for htmx."""
    job = await world.done()
    assert "archive.zip" in (await world.client.get("/jobs")).text
    page = (await world.client.get(f"/jobs/{job}")).text
    assert "How often I was right" in page
    assert page.count('<li class="tile"') == 6
    sheet = (await world.client.get(f"/jobs/{job}?label=&most=&status=skipped", headers=FRAGMENT)).text
    assert "<html" not in sheet
    assert sheet.count('<li class="tile"') == 1
    assert "What is it?" in (await world.client.get(f"/jobs/{job}/items/0")).text
    assert "<html" not in (await world.client.get(f"/jobs/{job}/items/0", headers=FRAGMENT)).text


async def test_a_row_asks_until_its_job_is_over(world: World) -> None:
    """Then it asks no more; on the job's own page it has the page load anew."""
    world.engine.gate.clear()
    job = (await world.send())["id"]
    assert "hx-trigger" in (await world.client.get(f"/jobs/{job}/live")).text
    world.engine.gate.set()
    await world.over(job)
    row = await world.client.get(f"/jobs/{job}/live?page=own")
    assert "hx-trigger" not in row.text
    assert row.headers["hx-refresh"] == "true"


async def test_cancelled_on_its_own_page(world: World) -> None:
    """That page got the list's row: with the name twice, and still without the report and the pictures there are."""
    world.engine.gate.clear()
    job = (await world.send())["id"]
    assert f'hx-post="/jobs/{job}/cancel?page=own"' in (await world.client.get(f"/jobs/{job}")).text
    row = await world.client.post(f"/jobs/{job}/cancel?page=own", headers=FRAGMENT)
    assert (row.status_code, row.headers["hx-refresh"]) == (200, "true")
    assert "job-name" not in row.text


async def test_a_row_keeps_the_focus(world: World) -> None:
    """Rows are exchanged each second: without an id, a link lost the keyboard's focus before it could be pressed."""
    job = await world.done()
    row = (await world.client.get(f"/jobs/{job}/live?page=own")).text
    assert [form for form in ("json", "ndjson", "csv") if f'id="{form}-{job}"' in row] == ["json", "ndjson", "csv"]


@pytest.mark.parametrize("path", ["/jobs", "/jobs/1"])
async def test_no_page_reloads_by_itself(world: World, path: str) -> None:
    """Without JavaScript it did every 5 seconds: whoever had just chosen a zip lost it. There is a link instead."""
    world.engine.gate.clear()
    await world.send()
    page = (await world.client.get(path)).text
    assert "http-equiv" not in page
    assert f'href="{path}">See how it goes now</a></noscript>' in page


async def test_a_refused_form_is_the_page_with_the_reason(world: World) -> None:
    """Without JavaScript the page comes again, with the status; with it, the reason alone."""
    form = {"file": ("big.zip", bytes(1_500_000))}
    whole = await world.client.post("/jobs", files=form)
    assert whole.status_code == 413
    assert "<html" in whole.text
    assert "GLIMT_MAX_ZIP_BYTES" in whole.text
    fragment = await world.client.post("/jobs", files=form, headers=FRAGMENT)
    assert fragment.status_code == 413
    assert "<html" not in fragment.text


@pytest.mark.parametrize(("keep_images", "kept"), [("feedback", True), ("none", False)])
async def test_a_correction_keeps_the_picture(tmp_path: Path, keep_images: str, kept: bool) -> None:
    """Out of the archive, where pictures are kept at all; the form says which by its hash, and it must be that one."""
    engine = GatedEngine()
    app = make_app(tmp_path, engine, keep_images=keep_images)
    async with in_process(app) as client:
        world = World(app, engine, tmp_path, client, await signed_in(app, "ada"), await signed_in(app, "bo"))
        job = await world.done(world.ada)
        item = (await world.get(f"/api/jobs/{job}/items?limit=1", world.ada))[0]
        said = {"predicted_class": item["label"], "score": str(item["score"]), "image_file_name": item["name"]}
        said |= {"verdict": "wrong", "correct_label": "class 1", "job": str(job), "position": "0"}
        said |= {"image_sha256": item["image_sha256"]}
        answer = await client.post("/cards/feedback", data=said, headers=world.ada)
        assert answer.status_code == 200
        (row,) = await world.get("/feedback", world.ada)
        assert (row["correct_label"], row["image_kept"]) == ("class_1", kept)
        assert app.house.pictures.path(item["image_sha256"]).exists() == kept
        other = await client.post("/cards/feedback", data=said | {"position": "1"}, headers=world.ada)
        assert other.status_code == (422 if kept else 200)
        assert (await client.post("/cards/feedback", data=said, headers=world.bo)).status_code == 200
        (row,) = await world.get("/feedback", world.bo)
        assert not row["image_kept"]


# A folder of the service's disk


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose operator allowed <tmp>/photos; `ada` is an admin."""
    for name, data in FILES.items():
        path = tmp_path / "photos/summer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    engine = GatedEngine()
    app = make_app(tmp_path / "data", engine, job_folders=f"{tmp_path}/photos")
    async with in_process(app) as client:
        ada, bo = await signed_in(app, "ada", "admin"), await signed_in(app, "bo")
        yield World(app, engine, tmp_path, client, ada, bo)


async def test_a_folder_becomes_a_job(shelf: World) -> None:
    """An admin's: its pictures are answered, judged by their folders and seen, and nothing of it goes with the job."""
    photos = shelf.folder / "photos/summer"
    answer = await shelf.client.post("/api/jobs", json={"folder": str(photos)}, headers=shelf.ada)
    assert (answer.status_code, answer.json()["folder"]) == (202, str(photos))
    job = await shelf.over(answer.json()["id"], shelf.ada)
    assert [job[name] for name in ("status", "total", "done", "failed", "skipped")] == ["done", 6, 4, 1, 1]
    report = await shelf.get(f"/api/jobs/{job['id']}/report", shelf.ada)
    assert report["accuracy"]["pictures"] == 3
    items = await shelf.get(f"/api/jobs/{job['id']}/items?status=done", shelf.ada)
    path = f"/api/jobs/{job['id']}/items/{items[0]['position']}/thumbnail"
    assert (await shelf.client.get(path, headers=shelf.ada)).status_code == 200
    page = (await shelf.client.get(f"/jobs/{job['id']}", headers=shelf.ada)).text
    assert f"folder {photos}" in page
    assert "the folder stays as it is" in page
    assert (await shelf.client.delete(f"/api/jobs/{job['id']}?remove=true", headers=shelf.ada)).status_code == 204
    assert len([path for path in photos.rglob("*") if path.is_file()]) == len(FILES)
    assert not [path for path in (shelf.folder / "data/jobs").rglob("*") if path.is_file()]


async def test_who_may_name_a_folder(shelf: World) -> None:
    """An admin's account: the local key's jobs would be anybody's. And only below what the operator allowed."""
    body = {"folder": str(shelf.folder / "photos")}
    key = operator(shelf.folder / "data")
    for headers, status in (({}, 401), (shelf.bo, 403), (key, 403)):
        for path in ("/api/jobs", "/jobs/folder"):
            content: dict[str, Any] = {"json": body} if path == "/api/jobs" else {"data": body}
            assert (await shelf.client.post(path, headers=headers, **content)).status_code == status, path
    for wrong, status in (
        ({"folder": "/etc"}, 403),
        ({"folder": f"{shelf.folder}/photos/none"}, 422),
        ({"folder": "photos"}, 422),
        ({"folder": 1}, 422),
        ({}, 422),
    ):
        answer = await shelf.client.post("/api/jobs", json=wrong, headers=shelf.ada)
        assert answer.status_code == status, wrong
    assert await shelf.get("/api/jobs", shelf.ada) == []


async def test_no_folder_where_none_is_allowed(world: World) -> None:
    """403 that names the setting; the page has no form for it."""
    admin = await signed_in(world.app, "eva", "admin")
    answer = await world.client.post("/api/jobs", json={"folder": "/srv"}, headers=admin)
    assert answer.status_code == 403
    assert "GLIMT_JOB_FOLDERS" in answer.json()["detail"]
    assert "/jobs/folder" not in (await world.client.get("/jobs", headers=admin)).text


async def test_a_folder_by_the_page(shelf: World) -> None:
    """Admins have a small form; it leads to the job, or back with the reason."""
    assert 'action="/jobs/folder"' in (await shelf.client.get("/jobs", headers=shelf.ada)).text
    for who in (shelf.bo, {}):
        assert "/jobs/folder" not in (await shelf.client.get("/jobs", headers=who)).text
    answer = await shelf.client.post("/jobs/folder", data={"folder": f"{shelf.folder}/photos"}, headers=shelf.ada)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs/1")
    wrong = await shelf.client.post("/jobs/folder", data={"folder": "/etc"}, headers=shelf.ada)
    assert wrong.status_code == 403
    assert "<html" in wrong.text
    assert "only below" in wrong.text


# Wrong answers, corrections, and a sheet that fills


async def test_wrong_answers_only(world: World) -> None:
    """Pictures whose folder names another class; one that names none is not judged."""
    job = await world.done()
    items = await world.get(f"/api/jobs/{job}/items?status=done")
    wrong = [it for it in items if it["truth"].startswith("class_") and it["truth"] != it["label"]]
    assert wrong
    assert await world.get(f"/api/jobs/{job}/items?wrong=true") == wrong
    assert await world.get(f"/api/jobs/{job}/items?wrong=true&after={wrong[-1]['position']}") == []
    page = (await world.client.get(f"/jobs/{job}?status=wrong")).text
    assert page.count('<li class="tile"') == len(wrong)
    assert '<option value="wrong" selected>' in page


async def test_no_wrong_answers_where_no_folder_names_a_class(world: World) -> None:
    """Nothing to choose, and nothing there."""
    job = (await world.over((await world.send(zipped({"a.png": png(1)})))["id"]))["id"]
    assert "Wrong answers only" not in (await world.client.get(f"/jobs/{job}")).text
    assert await world.get(f"/api/jobs/{job}/items?wrong=true") == []


async def test_a_correction_is_remembered(world: World) -> None:
    """A tile forgot it when the page was loaded anew, and its picture asked again. It is the owner's own word only."""
    jobs = {name: await world.done(who) for name, who in (("ada", world.ada), ("bo", world.bo))}
    item = (await world.get(f"/api/jobs/{jobs['ada']}/items?limit=1", world.ada))[0]
    said = {"predicted_class": item["label"], "score": item["score"], "image_file_name": item["name"]}
    said |= {"verdict": "wrong", "correct_label": "class_1", "image_sha256": item["image_sha256"]}
    assert (await world.client.post("/feedback", json=said, headers=world.ada)).status_code == 201
    page = (await world.client.get(f"/jobs/{jobs['ada']}", headers=world.ada)).text
    assert page.count('class="corrected"') == 1
    assert "you said “class 1”" in page
    shown = (await world.client.get(f"/jobs/{jobs['ada']}/items/0", headers=world.ada)).text
    assert "Noted: class 1" in shown
    assert 'class="corrected"' not in (await world.client.get(f"/jobs/{jobs['bo']}", headers=world.bo)).text


async def test_folders_do_not_count(world: World) -> None:
    """A zip of folders lists them too, and who sent it was told that so many entries were skipped."""
    about = await world.over((await world.send(zipped({"cats/": b"", "cats/a.png": png(1)})))["id"])
    job = about["id"]
    assert (about["total"], about["done"], about["skipped"]) == (1, 1, 0)
    assert [it["status"] for it in await world.get(f"/api/jobs/{job}/items")] == ["done"]
    for query, tiles in (("", 1), ("?status=skipped", 0), ("?status=done", 1), ("?status=failed", 0)):
        sheet = (await world.client.get(f"/jobs/{job}{query}", headers=FRAGMENT)).text
        assert sheet.count('<li class="tile"') == tiles


async def test_five_classes_or_fewer_have_no_first_five(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class is among them: the figure would say nothing."""
    job = await world.done()
    assert "Among the first five" in (await world.client.get(f"/jobs/{job}")).text
    few = ClassTable(tuple(f"class_{number}" for number in range(5)), (None,) * 5, ("",) * 5)
    monkeypatch.setattr(Classifier, "classes", few)
    page = (await world.client.get(f"/jobs/{job}")).text
    assert "F1, mean of classes" in page
    assert "Among the first five" not in page


async def test_a_sheet_asks_for_its_first_answers(world: World) -> None:
    """It said that there were none until somebody loaded the page anew. The job's row tells it when there are."""
    world.engine.gate.clear()
    job = (await world.send(zipped({"a.txt": b"-", "a.png": png(5)})))["id"]
    page = (await world.client.get(f"/jobs/{job}")).text
    assert "No answers yet." in page
    assert 'hx-trigger="answers from:body"' in page
    assert "hx-trigger" not in (await world.client.get(f"/jobs/{job}/live?page=own")).headers
    await world.app.house.own_jobs.store.checkpoint(
        job, [JobItem(position=0, name="a.txt", status="skipped", code="not_a_picture")]
    )
    assert (await world.client.get(f"/jobs/{job}/live?page=own")).headers["hx-trigger"] == "answers"
    sheet = (await world.client.get(f"/jobs/{job}", headers=FRAGMENT)).text
    assert sheet.count('<li class="tile"') == 1
    assert "answers from:body" not in sheet
    assert "More come while I work." in sheet
