"""A job's answers as files: the same rows in each format, safe for spreadsheets, never all in memory."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.job_queries import Format
from service.http.job_results import COLUMNS, PIECE_BYTES, chosen, disposition, rows
from service.store.job_rows import Job, JobItem

ANSWER = JobItem(
    position=0,
    name="dogs/a.png",
    status="done",
    image_sha256="0" * 64,
    label="dog",
    score=0.93456789,
    guesses=[("dog", 0.934568), ("cat", 0.05)],
    truth="dog",
    model_version="1",
)
FAILURE = JobItem(position=1, name="b.png", status="failed", code="image_corrupt", detail="The picture ends, early.")
SKIPPED = JobItem(position=2, name="notes.txt", unsafe_name=True, status="skipped", code="not_a_picture")
ALL = (ANSWER, FAILURE, SKIPPED)


async def of(*items: JobItem) -> AsyncIterator[JobItem]:
    for item in items:
        yield item


async def made(form: Format, *items: JobItem) -> bytes:
    return b"".join([piece async for piece in rows(of(*items), form)])


def a_job(**changes: Any) -> Job:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    said: dict[str, Any] = {"id": 7, "owner": "", "created_at": now, "started_at": now, "ended_at": now}
    said |= {"file_name": "beach.zip", "bytes": 5, "status": "done", "error_code": None, "error_detail": None}
    return Job(**(said | {"total": 3, "done": 1, "failed": 1, "skipped": 1} | changes))


async def test_json_and_ndjson_say_the_same() -> None:
    """An array, and a line each: every entry with its reason or its guesses."""
    array = orjson.loads(await made("json", *ALL))
    assert [orjson.loads(line) for line in (await made("ndjson", *ALL)).splitlines()] == array
    assert [item["name"] for item in array] == ["dogs/a.png", "b.png", "notes.txt"]
    assert (array[0]["score"], array[0]["guesses"], array[0]["error"]) == (
        0.934568,
        [["dog", 0.934568], ["cat", 0.05]],
        None,
    )
    assert array[1]["error"] == {"code": "image_corrupt", "detail": "The picture ends, early."}
    assert array[2]["error"] == {"code": "not_a_picture", "detail": ""}


async def test_pairs_are_those_of_reference_e() -> None:
    """[name, [[label, probability], ...]] of what has an answer."""
    assert orjson.loads(await made("pairs", *ALL)) == [["dogs/a.png", [["dog", 0.934568], ["cat", 0.05]]]]


async def test_csv_has_a_header_and_a_row_each() -> None:
    """As a spreadsheet reads it."""
    header, *found = csv.reader(io.StringIO((await made("csv", *ALL)).decode()))
    assert tuple(header) == COLUMNS
    assert found[0] == ["0", "dogs/a.png", "done", "dog", "0.934568", "dog", "", "", "false", "0" * 64, "1"]
    assert found[1][:8] == ["1", "b.png", "failed", "", "", "", "image_corrupt", "The picture ends, early."]


@given(st.text(min_size=1, max_size=20))
async def test_no_cell_is_a_formula(name: str) -> None:
    """Names come from whoever packed the archive."""
    item = JobItem(position=0, name=name, status="failed", code="image_corrupt", detail=name, truth=name)
    _, row = csv.reader(io.StringIO((await made("csv", item)).decode(errors="replace"), newline=""))
    assert not any(cell.startswith(("=", "@", "\t", "\r", "\n")) for cell in row)


@pytest.mark.parametrize(("form", "content"), [("json", b"[]\n"), ("pairs", b"[]\n"), ("ndjson", b"")])
async def test_without_answers(form: Format, content: bytes) -> None:
    """Still a document of its kind."""
    assert await made(form) == content


@pytest.mark.parametrize("form", get_args(Format))
async def test_rows_are_read_while_they_are_sent(form: Format) -> None:
    """At most one piece is held; another row is read only when somebody takes the next piece."""
    read = 0

    async def many() -> AsyncIterator[JobItem]:
        nonlocal read
        while read < 10_000:
            read += 1
            yield ANSWER

    pieces = rows(many(), form)
    first = await anext(pieces)
    assert PIECE_BYTES <= len(first) < 2 * PIECE_BYTES
    assert read < 2000


@pytest.mark.parametrize(
    ("asked", "accept", "form"),
    [
        (None, "", "json"),
        (None, "*/*", "json"),
        (None, "application/json", "json"),
        (None, "application/x-ndjson", "ndjson"),
        (None, "Text/CSV; q=0.9, */*", "csv"),
        ("csv", "application/x-ndjson", "csv"),
        ("pairs", "", "pairs"),
    ],
)
def test_the_query_comes_before_accept(asked: Format | None, accept: str, form: Format) -> None:
    """JSON for who asks for nothing."""
    assert chosen(asked, accept) == form


@pytest.mark.parametrize(
    ("changes", "form", "name"),
    [
        ({}, "csv", "beach.csv"),
        ({}, "pairs", "beach.pairs.json"),
        ({"status": "running"}, "json", "beach-so-far.json"),
        ({"status": "cancelled"}, "ndjson", "beach-so-far.ndjson"),
        ({"file_name": 'a"; filename="evil.exe\r\nX: y'}, "csv", "a-filename-evil.exe-X-y.csv"),
        ({"file_name": "été 2026.zip"}, "csv", "t-2026.csv"),
        ({"file_name": "照片.zip"}, "csv", "job-7.csv"),
        ({"file_name": "x" * 255}, "csv", "x" * 80 + ".csv"),
    ],
)
def test_the_files_name(changes: dict[str, Any], form: Format, name: str) -> None:
    """Plain whatever the archive is called, and says when it is not all."""
    assert disposition(a_job(**changes), form) == f'attachment; filename="{name}"'
