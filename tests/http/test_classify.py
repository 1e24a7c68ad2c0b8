"""POST /predict, in process: the answer's fields, its options, its errors."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.fakes import GatedEngine
from tests.world import in_process, make_app, png, until

RECEIPT = {"decode_ms", "queue_ms", "infer_ms", "total_ms", "batch_size", "released_by", "cached"}


async def test_raw_picture(tmp_path: Path) -> None:
    """The body is the picture; every field of the contract is there."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.post("/predict", content=png(1), headers={"Content-Type": "image/png"})
    document = answer.json()
    assert answer.status_code == 200
    assert document["success"] is True
    assert len(document["predictions"]) == 5
    assert document["prediction"] == document["predictions"][0]["label"]
    assert document["score"] == document["predictions"][0]["score"]
    assert document["predictions"][0].keys() == {"label", "wnid", "index", "score"}
    assert document["model"] == {"name": "fake", "version": "1", "engine": "gated", "weights": "none"}
    assert document["image"].keys() == {"sha256", "width", "height", "format"}
    assert document["receipt"].keys() == RECEIPT
    assert "notice" not in document


async def test_multipart_picture_gets_the_same_answer(tmp_path: Path) -> None:
    """A form with one part `file` is as good as the raw body."""
    async with in_process(make_app(tmp_path)) as client:
        raw = await client.post("/predict", content=png(1))
        form = await client.post("/predict", files={"file": ("x.png", png(1), "image/png")})
    assert form.json()["predictions"] == raw.json()["predictions"]
    assert form.json()["receipt"]["cached"] is True


async def test_headers_say_where_the_time_went(tmp_path: Path) -> None:
    """Server-Timing and X-Request-ID; a client's own id is kept."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.post("/predict", content=png(1), headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
    stages = [part.split(";")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["decode", "queue", "infer", "total"]


async def test_options(tmp_path: Path) -> None:
    """top and preprocess are obeyed."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.post("/predict?top=2&preprocess=keras", content=png(1))
    assert len(answer.json()["predictions"]) == 2


async def test_notice_of_a_stand_in_model_is_in_every_answer(tmp_path: Path) -> None:
    """Who reads only the JSON learns it too."""
    async with in_process(make_app(tmp_path, notice="Only the demo.")) as client:
        answer = await client.post("/predict", content=png(1))
    assert answer.json()["notice"] == "Only the demo."


@pytest.mark.parametrize(
    ("query", "content", "status", "code", "words"),
    [
        ("", b"", 400, "bad_request", "no picture"),
        ("", b"hello", 415, "image_type_unsupported", ""),
        ("", png(1)[:50], 422, "image_corrupt", ""),
        ("", b"x" * 2000, 413, "image_too_large", "GLIMT_MAX_IMAGE_BYTES"),
        ("?top=0", png(1), 422, "invalid_field", "top"),
        ("?top=x", png(1), 422, "invalid_field", "top"),
        ("?preprocess=other", png(1), 422, "invalid_field", "preprocess"),
        ("?tpo=3", png(1), 422, "invalid_field", "tpo"),
        ("?deadline_ms=0", png(1), 422, "invalid_field", "deadline_ms"),
    ],
)
async def test_errors_are_problems(
    tmp_path: Path, query: str, content: bytes, status: int, code: str, words: str
) -> None:
    """problem+json with a stable code, and words that name the reason."""
    async with in_process(make_app(tmp_path, max_image_bytes=1000)) as client:
        answer = await client.post(f"/predict{query}", content=content)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem.keys() == {"type", "title", "status", "detail", "code", "request_id"}
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert words in problem["detail"]


async def test_wrong_method_and_unknown_path(tmp_path: Path) -> None:
    """GET /predict is 405 (reference D), an unknown path 404, both problems."""
    async with in_process(make_app(tmp_path)) as client:
        wrong, unknown = await client.get("/predict"), await client.get("/nothing")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["Allow"]) == (405, "method_not_allowed", "POST")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_a_fault_of_ours_tells_nothing(tmp_path: Path) -> None:
    """An unexpected exception is a 500 with a request id and no detail of the inside."""
    app = make_app(tmp_path)
    async with in_process(app) as client:

        def break_it(*_: object, **__: object) -> Any:
            raise ZeroDivisionError("secret")

        app.house.classifier.admission = break_it  # type: ignore[method-assign]
        answer = await client.post("/predict", content=png(1))
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


async def test_deadline(tmp_path: Path) -> None:
    """A picture that waits too long is a 504 and is not computed."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=1)
    async with in_process(app) as client:
        blocker = asyncio.create_task(client.post("/predict", content=png(1)))
        await until(lambda: app.house.classifier.stats().running)
        late = await client.post("/predict?deadline_ms=30", content=png(2))
        engine.gate.set()
        assert (await blocker).status_code == 200
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert sum(map(len, engine.batches)) == 1


async def test_overload_is_an_honest_no(tmp_path: Path) -> None:
    """503 with Retry-After at once; everybody who was accepted is answered."""
    engine = GatedEngine(open_gate=False)
    app = make_app(tmp_path, engine, max_batch=2, max_pending=4)
    async with in_process(app) as client:
        tasks = [asyncio.create_task(client.post("/predict", content=png(red))) for red in range(30)]
        await until(lambda: sum(task.done() for task in tasks) >= 24)
        engine.gate.set()
        answers = await asyncio.gather(*tasks)
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(answer.json()["code"] == "overloaded" and int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert sum(map(len, engine.batches)) == 30 - len(refused)


async def test_poison_harms_only_itself(tmp_path: Path) -> None:
    """T8: the engine fails on one picture of a batch: that one is a 500, the rest are answered."""
    engine = GatedEngine(open_gate=False)
    engine.fail_when = 100
    app = make_app(tmp_path, engine, max_batch=8)
    async with in_process(app) as client:
        tasks = [asyncio.create_task(client.post("/predict", content=png(red))) for red in (1, 2, 100, 3)]
        await until(lambda: (stats := app.house.classifier.stats()).pending + stats.running == 4)
        engine.gate.set()
        answers = await asyncio.gather(*tasks)
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
    assert answers[2].json()["code"] == "engine_failed"


def lines(answer: Any) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in answer.content.splitlines()]


async def test_several_parts_become_a_stream(tmp_path: Path) -> None:
    """A line per picture with its index and name, errors among them, and a last line that counts."""
    files = [("file", (f"{red}.png", png(red))) for red in range(3)] + [("file", ("bad.png", png(1)[:50]))]
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.post("/predict", files=files)
    *results, last = lines(answer)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert last == {"done": True, "ok": 3, "failed": 1}
    by_index = {line["index"]: line for line in results}
    assert [by_index[n]["filename"] for n in range(4)] == ["0.png", "1.png", "2.png", "bad.png"]
    assert all(by_index[n]["receipt"].keys() == RECEIPT for n in range(3))
    assert by_index[3]["error"]["code"] == "image_corrupt"


async def test_accept_ndjson_streams_even_one(tmp_path: Path) -> None:
    """Who asks for NDJSON gets it, also for a raw body."""
    async with in_process(make_app(tmp_path)) as client:
        answer = await client.post("/predict", content=png(1), headers={"Accept": "application/x-ndjson"})
    assert [line.get("index", line.get("done")) for line in lines(answer)] == [0, True]


async def test_form_with_too_many_pictures_says_the_limit(tmp_path: Path) -> None:
    """The pictures within the limit are answered; the last line says why the rest is not."""
    files = [("file", (f"{red}.png", png(red))) for red in range(6)]
    async with in_process(make_app(tmp_path, max_images_per_request=4)) as client:
        answer = await client.post("/predict", files=files)
    *results, last = lines(answer)
    assert len(results) == 4
    assert (last["done"], last["code"], last["ok"]) == (False, "body_too_large", 4)
    assert "4 pictures" in last["error"]["detail"]


async def test_a_stream_has_no_limit_but_a_window(tmp_path: Path) -> None:
    """Sixty pictures through a queue of four: the stream waits where single requests are refused."""
    files = [("file", (f"{red}.png", png(red))) for red in range(60)]
    async with in_process(make_app(tmp_path, max_images_per_request=8, max_pending=4)) as client:
        answer = await client.post("/predict", files=files, headers={"Accept": "application/x-ndjson"})
    assert lines(answer)[-1] == {"done": True, "ok": 60, "failed": 0}


async def test_picture_over_the_limit_inside_a_stream(tmp_path: Path) -> None:
    """Its line says so; its neighbours are answered."""
    files = [("file", ("1.png", png(1))), ("file", ("big.png", b"x" * 5000)), ("file", ("2.png", png(2)))]
    async with in_process(make_app(tmp_path, max_image_bytes=1000)) as client:
        answer = await client.post("/predict", files=files)
    *results, last = lines(answer)
    assert (last["ok"], last["failed"]) == (2, 1)
    assert next(line for line in results if line["index"] == 1)["error"]["code"] == "image_too_large"


@pytest.mark.parametrize(("keep_images", "kept"), [("all", 2), ("feedback", 0), ("none", 0)])
async def test_keep_images_decides_what_stays_on_disk(tmp_path: Path, keep_images: str, kept: int) -> None:
    """`all` keeps every answered picture once, under its hash; damaged ones never; the others keep none."""
    async with in_process(make_app(tmp_path, keep_images=keep_images)) as client:
        for picture in (png(1), png(2), png(1), png(3)[:50]):
            await client.post("/predict", content=picture)
    assert len(list((tmp_path / "pictures").rglob("*.bin"))) == kept
