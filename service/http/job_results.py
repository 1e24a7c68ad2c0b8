"""A job's answers as a file to download: JSON, pairs, NDJSON or CSV, made row by row while it goes out."""

import re
from collections.abc import AsyncIterator, Callable

import orjson

from service.http.job_documents import item_document
from service.http.job_queries import Format
from service.http.operation import CSV, JSON, NDJSON
from service.store.export import csv_cell, csv_line
from service.store.job_rows import Job, JobItem

MEDIA: dict[Format, str] = {"json": JSON, "pairs": JSON, "ndjson": NDJSON, "csv": CSV}
COLUMNS = (
    "position", "name", "status", "label", "score", "truth", "code", "detail",
    "unsafe_name", "image_sha256", "model_version",
)  # fmt: skip
PIECE_BYTES = 64 * 1024
"""Sent at once: a row alone is far less than what a send costs."""


def chosen(asked: Format | None, accept: str) -> Format:
    """By the query, else by Accept, else JSON."""
    if asked:
        return asked
    accepted = {kind.partition(";")[0].strip() for kind in accept.lower().split(",")}
    return "ndjson" if NDJSON in accepted else "csv" if CSV in accepted else "json"


def disposition(job: Job, form: Format) -> str:
    """Content-Disposition: the archive's own name as far as it is plain, and whether this is all of it."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", job.file_name.removesuffix(".zip")).strip("-.")[:80] or f"job-{job.id}"
    so_far = "" if job.status == "done" else "-so-far"
    ending = {"pairs": "pairs.json"}.get(form, form)
    return f'attachment; filename="{stem}{so_far}.{ending}"'


def rows(items: AsyncIterator[JobItem], form: Format) -> AsyncIterator[bytes]:
    """The file in pieces. What `items` raises breaks it off: then its end is missing."""
    return _pieces(_WRITERS[form](items))


async def _pieces(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    piece = bytearray()
    async for line in lines:
        piece += line
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


async def _ndjson(items: AsyncIterator[JobItem]) -> AsyncIterator[bytes]:
    async for item in items:
        yield orjson.dumps(item_document(item), option=orjson.OPT_APPEND_NEWLINE)


async def _json(items: AsyncIterator[JobItem]) -> AsyncIterator[bytes]:
    async for line in _array(orjson.dumps(item_document(item)) async for item in items):
        yield line


async def _pairs(items: AsyncIterator[JobItem]) -> AsyncIterator[bytes]:
    """What has no answer has no place in this shape."""
    async for line in _array(orjson.dumps((item.name, item.guesses)) async for item in items if item.guesses):
        yield line


async def _array(values: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    before = b"["
    async for value in values:
        yield before + value
        before = b",\n"
    yield b"[]\n" if before == b"[" else b"]\n"


async def _csv(items: AsyncIterator[JobItem]) -> AsyncIterator[bytes]:
    yield csv_line(COLUMNS)
    async for item in items:
        said = item_document(item)
        said |= said["error"] or {"code": None, "detail": None}
        yield csv_line(tuple(csv_cell(said[column]) for column in COLUMNS))


_WRITERS: dict[Format, Callable[[AsyncIterator[JobItem]], AsyncIterator[bytes]]] = {
    "json": _json,
    "pairs": _pairs,
    "ndjson": _ndjson,
    "csv": _csv,
}
