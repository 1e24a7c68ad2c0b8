"""The OpenAPI document is whole and true: every route is in it, and real answers are what it says they are."""

import asyncio
import io
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from starlette.requests import Request
from starlette.responses import Response

from service.app import WEB, Glimt
from service.errors import GlimtError
from service.http.access import Access, Door
from service.http.documents import codes
from service.http.model_documents import A_VERSION
from service.http.openapi import openapi
from service.http.operation import JSON, NDJSON, PICTURE, PROBLEM, TAR, URLENCODED, ZIP
from service.http.training_documents import A_STAMP
from service.inference.labels import ClassTable
from service.models.exchange import export_version
from service.models.registry import Registry
from service.training import processes
from tests.faults.archives import Part, pack
from tests.models.shelf import put
from tests.training import finished, pretended_trainer
from tests.training.reports import a_report
from tests.world import CLASSES, PASSWORD, in_process, make_app, png, signed_in

EMAIL = "ada@example.org"
NEEDS_A_REAL_MODEL = {"/api/explain"}
"""Answered as described in tests/e2e/test_review.py."""
AN_ARCHIVE = pack(Part(b"class_1/a.png", png(1)), Part(b"class_2/b.png", png(2)))
TRAINED = a_report()
A_FOLDER = "/srv/photos/holidays"


@dataclass(frozen=True)
class Said:
    """One operation of the document, and where it stands."""

    method: str
    path: str
    about: dict[str, Any]


class Book:
    """The document, read as a client reads it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operations = [
            Said(method.upper(), path, about)
            for path, methods in document["paths"].items()
            for method, about in methods.items()
        ]

    def resolved(self, part: dict[str, Any]) -> dict[str, Any]:
        """What stands at the end of a `$ref`, or the part itself."""
        while "$ref" in part:
            found: Any = self.document
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            part = found
        return part

    def check(self, schema: dict[str, Any], value: object) -> None:
        """Raises for what the schema does not allow; objects may have nothing that is not described."""
        components = {"schemas": {name: closed(it) for name, it in self.document["components"]["schemas"].items()}}
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "components": components}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)

    def check_answer(self, said: Said, answer: httpx2.Response) -> None:
        """Raises unless the status, the media type, the headers and the body are all as described."""
        described = self.resolved(said.about["responses"][str(answer.status_code)])
        for name, header in described["headers"].items():
            assert name in answer.headers or not self.resolved(header)["required"], name
        content = described.get("content") or {}
        media = answer.headers.get("content-type", "").partition(";")[0]
        assert bool(content) == bool(answer.content)
        if media == NDJSON:
            for line in answer.text.splitlines():
                self.check(content[NDJSON]["x-itemSchema"], jsonschema_free(line))
        elif content:
            self.check(content[media]["schema"], answer.json() if media.endswith("json") else answer.text)


def jsonschema_free(line: str) -> object:
    """A line of NDJSON, read."""
    return httpx2.Response(200, text=line).json()


def closed(schema: Any) -> Any:
    """The same schema, whose objects have only the fields that are named."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    extra = {"additionalProperties": False} if "properties" in schema else {}
    return extra | {name: part if name == "examples" else closed(part) for name, part in schema.items()}


@pytest.fixture
def app(tmp_path: Path) -> Glimt:
    (tmp_path / "photos").mkdir()
    return make_app(tmp_path, keep_images="all", retrain_after=5, job_folders=str(tmp_path))


@pytest.fixture
def book(app: Glimt) -> Book:
    return Book(openapi(doors(app), login_required=False))


@pytest.fixture
async def client(app: Glimt) -> AsyncIterator[httpx2.AsyncClient]:
    async with in_process(app) as client:
        yield client


def doors(app: Glimt) -> list[Door]:
    """The route table."""
    return [route for route in app.routes if isinstance(route, Door)]


def references(part: Any) -> Iterator[str]:
    """Every `$ref` in it."""
    if isinstance(part, list):
        for item in part:
            yield from references(item)
    elif isinstance(part, dict):
        yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        for item in part.values():
            yield from references(item)


def test_every_door_is_described_and_nothing_else(app: Glimt, book: Book) -> None:
    """The document has exactly the methods and paths of the route table."""
    table = {(method, door.path_format) for door in doors(app) for method in (door.methods or set()) - {"HEAD"}}
    assert {(said.method, said.path) for said in book.operations} == table


def test_every_operation_says_that_slow_and_long_heads_are_refused(book: Book) -> None:
    """408 and 431 come before any handler, so from every address."""
    assert all({"408", "431"} <= said.about["responses"].keys() for said in book.operations)


def test_a_door_without_a_description_is_named(app: Glimt) -> None:
    """Who adds a route and forgets to describe it is told which."""

    async def silent(_request: Request) -> Response:
        return Response()

    door = Door(doors(app)[0]._gate, "GET", "/silent", silent, Access.PUBLIC)
    with pytest.raises(LookupError, match="get /silent"):
        openapi([door], login_required=False)


def test_every_operation_says_what_it_is(book: Book) -> None:
    """A summary that is a sentence's length, a known tag, and an id of its own."""
    tags = {tag["name"] for tag in book.document["tags"]}
    assert all(5 <= len(said.about["summary"]) <= 120 for said in book.operations)
    assert all(set(said.about["tags"]) <= tags for said in book.operations)
    assert len({said.about["operationId"] for said in book.operations}) == len(book.operations)


def test_every_reference_leads_somewhere(book: Book) -> None:
    """No `$ref` hangs in the air."""
    for reference in set(references(book.document)):
        assert book.resolved({"$ref": reference})


def test_every_example_is_of_its_schema(book: Book) -> None:
    """What is shown as an example could be sent or come back."""
    schemas = book.document["components"]["schemas"]
    shown = [(name, value) for name, schema in schemas.items() for value in schema.get("examples", ())]
    assert len(shown) > 10
    for name, value in shown:
        book.check({"$ref": f"#/components/schemas/{name}"}, value)
    for answer in book.document["components"]["responses"].values():
        for example in answer["content"][PROBLEM]["examples"].values():
            book.check(answer["content"][PROBLEM]["schema"], example["value"])


def test_every_body_has_an_example(book: Book) -> None:
    """Of each JSON body and of each JSON answer that is an object of ours; of pictures, one to fetch."""
    for said in book.operations:
        for media, content in said.about.get("requestBody", {}).get("content", {}).items():
            schema = book.resolved(content["schema"])
            assert "examples" in {*content, *schema} or binary(schema), (said.method, said.path, media)


def test_codes_are_those_of_the_tree(book: Book) -> None:
    """Each code an answer can have is in the enum once; those of a failed start are not."""
    named = book.document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert named == codes(GlimtError)
    assert len(named) == len(set(named))
    assert {"internal", "email_taken", "image_corrupt", "draining", "too_many_requests"} <= set(named)
    assert not {"start_failed", "store_unusable", "client_gone"} & set(named)


@pytest.mark.parametrize(
    ("login_required", "method", "path", "needed"),
    [
        (False, "post", "/predict", False),
        (True, "post", "/predict", True),
        (True, "get", "/healthz", False),
        (False, "get", "/api/me", True),
        (False, "patch", "/api/batching", True),
    ],
)
def test_security_follows_from_the_door(app: Glimt, login_required: bool, method: str, path: str, needed: bool) -> None:
    """Where nobody needs to sign in, one of the ways is none at all."""
    document = openapi(doors(app), login_required=login_required)
    ways = document["paths"][path][method]["security"]
    assert ({} not in ways) == needed
    assert {"session", "bearer", "basic"} == {name for way in ways for name in way}


def test_an_admins_operation_names_the_role(book: Book) -> None:
    """The role stands beside the way to sign in."""
    ways = book.document["paths"]["/api/batching"]["patch"]["security"]
    assert ways == [{"session": ["admin"]}, {"bearer": ["admin"]}, {"basic": ["admin"]}]


async def test_the_document_comes_once(client: httpx2.AsyncClient, book: Book) -> None:
    """It is what openapi() makes; who has it already gets a 304 and no body."""
    first = await client.get("/openapi.json")
    assert first.json() == book.document
    again = await client.get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_the_viewer_is_all_our_own(client: httpx2.AsyncClient) -> None:
    """Nothing inline, nothing from elsewhere, and every file it names is there."""
    page = (await client.get("/docs")).text
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|https?://", page)
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        assert (await client.get(name)).status_code == 200, name


@pytest.mark.slow
async def test_examples_are_answered_as_described(
    app: Glimt, client: httpx2.AsyncClient, book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request as the document shows it, sent to the service by an admin, gets a described answer below 400."""
    monkeypatch.setattr(processes, "trainer", pretended_trainer.command)
    sent = 0
    for said in (it for it in book.operations if it.path not in NEEDS_A_REAL_MODEL):
        for options in requests_of(book, said):
            headers, ids = await an_admin(app, client, f"admin{sent}")
            if any(word in said.path for word in ("model", "trial", "roll-back")):
                ids |= await a_shelf(client, headers, tmp_path, said)
            if said.path.startswith("/review"):
                ids |= await a_pile(client, headers)
            if "/training" in said.path or said.path == "/review/train":
                ids |= await a_school(client, headers, tmp_path, said)
            shown = {A_STAMP: ids.get("dataset"), A_VERSION["ref"]: ids.get("ref"), TAR: ids.get("tar")}
            shown["newts"] = f"newts-{sent}"  # a run of the same name would be extended
            shown |= {A_FOLDER: str(tmp_path / "photos")}
            options = real(options, shown)
            answer = await client.request(
                said.method,
                said.path.format_map(ids),
                **(options | {"headers": headers | options.get("headers", {})}),
            )
            assert answer.status_code < 400, (said.method, said.path, answer.text)
            book.check_answer(said, answer)
            sent += 1
    assert sent > len(book.operations)


async def an_admin(app: Glimt, client: httpx2.AsyncClient, name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """A new admin's headers, and rows for each name that stands in a path. Beside them there is only Ada."""
    headers = await signed_in(app, name, "admin")
    for person in (await client.get("/user/", headers=headers)).json():
        if person["email"] in (EMAIL, "grace@example.org"):
            await client.delete(f"/user/{person['id']}", headers=headers)
    ada = {"name": "Ada", "email": EMAIL, "password": PASSWORD}
    user = (await client.post("/user/", json=ada, headers=headers)).json()
    token = (await client.post("/api/tokens", json={"name": "one"}, headers=headers)).json()
    said = {"score": 0.5, "predicted_class": "cat", "image_file_name": "a.png", "feedback": "yes"}
    row = (await client.post("/feedback", json=said, headers=headers)).json()
    await client.post("/predict", content=png(1), headers=headers)
    (past,) = (await client.get("/api/history", headers=headers)).json()
    job = (await client.post("/api/jobs", content=AN_ARCHIVE, headers=headers)).json()
    async with asyncio.timeout(20):
        while (await client.get(f"/api/jobs/{job['id']}", headers=headers)).json()["status"] != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    ids = {
        "user_id": user["id"],
        "token_id": token["id"],
        "feedback_id": row["id"],
        "id": row["id"],
        "row_id": past["id"],
        "job_id": job["id"],
        "position": 0,
    }
    return headers, ids


async def a_shelf(client: httpx2.AsyncClient, headers: dict[str, str], folder: Path, said: Said) -> dict[str, Any]:
    """A version of a model, activated or tried out where that is to be seen or ended; and another one, packed up and
    gone."""
    registry, tar = Registry(folder), io.BytesIO()
    gone, kept = (put(registry, content=secrets.token_bytes(8), classes=CLASSES).ref for _ in range(2))
    export_version(registry, gone, tar)
    registry.delete(gone)
    await client.delete("/api/trial", headers=headers)
    if said.path.endswith("/roll-back"):
        await client.post(f"/api/models/{kept}/activate", headers=headers)
    if said.path == "/models/trial" and said.method == "GET":
        await client.put("/api/trial", json={"model": kept}, headers=headers)
    sha256 = await a_difference(client, headers, registry) if "sha256" in said.path else None
    return {"ref": kept, "tar": tar.getvalue(), "sha256": sha256}


async def a_difference(client: httpx2.AsyncClient, headers: dict[str, str], registry: Registry) -> str:
    """The SHA-256 of a picture to which a candidate gives another label, as all of its labels are others."""
    others = ClassTable(tuple(f"other_{n}" for n in range(10)), (None,) * 10, ("",) * 10)
    candidate = put(registry, content=secrets.token_bytes(8), classes=others).ref
    await client.put("/api/trial", json={"model": candidate, "share": 1}, headers=headers)
    answer = await client.post("/predict", content=png(secrets.randbelow(2**16)), headers=headers)
    async with asyncio.timeout(20):
        while not (await client.get("/api/trial/differences", headers=headers)).json():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return str(answer.json()["image"]["sha256"])


async def a_pile(client: httpx2.AsyncClient, headers: dict[str, str]) -> dict[str, Any]:
    """A kept picture to look at, and enough new labels to learn from."""
    pictures = [(await client.post("/predict", content=png(n), headers=headers)).json()["image"] for n in range(5)]
    for picture in pictures:
        said = {"score": 0.5, "predicted_class": "cat", "image_file_name": "a.png", "image_sha256": picture["sha256"]}
        await client.post("/feedback", json=said | {"verdict": "wrong", "correct_label": "newt"}, headers=headers)
    return {"sha256": pictures[0]["sha256"]}


async def a_school(client: httpx2.AsyncClient, headers: dict[str, str], folder: Path, said: Said) -> dict[str, Any]:
    """A dataset, and a run that is done; where one is to be resumed, one that failed. Nothing is being trained."""
    async with asyncio.timeout(20):
        while any(  # noqa: ASYNC110
            run["state"] not in ("done", "failed")
            for run in (await client.get("/api/training/runs", headers=headers)).json()
        ):
            await asyncio.sleep(0.01)
    kind = {"content-type": ZIP}
    dataset = await client.post("/api/training/datasets", content=AN_ARCHIVE, headers=headers | kind)
    run = finished.failed(folder) if said.path.endswith("/resume") else finished.done(folder, TRAINED)
    return {"dataset": dataset.json()["id"], "run": run.id, "index": 0, "sheet": "map-1"}


def real(value: Any, names: Mapping[str, Any]) -> Any:
    """What an example shows, with what there is instead of the names of what there is not."""
    if isinstance(value, Mapping):
        return {name: real(part, names) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(real(part, names) for part in value)
    return names.get(value, value) if isinstance(value, str) else value


def requests_of(book: Book, said: Said) -> Iterator[dict[str, Any]]:
    """The requests the document shows for an operation, as a client's keyword arguments."""
    query = {
        param["name"]: param["schema"]["examples"][0]
        for param in said.about["parameters"]
        if param["in"] == "query" and "examples" in param["schema"]
    }
    bodies = said.about.get("requestBody", {}).get("content", {})
    if not bodies:
        yield {"params": query}
    for media, content in bodies.items():
        for body in bodies_of(book, media, content):
            yield {"params": query, **body}
            if NDJSON in said.about["responses"].get("200", {}).get("content", {}):
                yield {"params": query, **body, "headers": body.get("headers", {}) | {"Accept": NDJSON}}


def bodies_of(book: Book, media: str, content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One body for each example."""
    schema = book.resolved(content["schema"])
    if media == PICTURE:
        for example in content["examples"].values():
            yield {"content": (WEB / example["externalValue"].lstrip("/")).read_bytes()}
        return
    if media in (ZIP, TAR):
        yield {"content": AN_ARCHIVE if media == ZIP else TAR}
        return
    for example in schema.get("examples", [{}]):
        if media == JSON:
            yield {"json": example}
        elif media == URLENCODED:
            yield {"data": example}
        else:
            yield {"files": parts(schema, example)}


def parts(schema: dict[str, Any], example: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A multipart form: the example's fields, and a picture where one is required."""
    fields: list[tuple[str, Any]] = [(name, (None, str(value))) for name, value in example.items()]
    needs_file = "file" in schema.get("required", ()) and binary(schema)
    file = AN_ARCHIVE if "archive" in str(schema) else TAR if "export" in str(schema) else png(7)
    return fields + ([("file", ("a.png", file))] if needs_file else [])


def binary(schema: dict[str, Any]) -> bool:
    """Whether a form has pictures, which no example can show."""
    return "binary" in str(schema)
