"""`glimt classify`: many files, here or by a running service, with a progress bar, to a table or NDJSON."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from service.app import make_engine, make_worker
from service.errors import BadRequest, GlimtError, Unavailable
from service.http.classify import prediction_document
from service.http.problems import problem
from service.inference.classifier import Classifier
from service.models.served import choose
from service.settings import Settings

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
IN_FLIGHT = 32  # two full batches: one runs while the next one fills
TRIES = 30  # of one picture at a service that is overloaded or still loading
RETRY_AFTER_S = 1.0  # when a service that refuses does not say

Answer = dict[str, Any]
Ask = Callable[[bytes], Awaitable[Answer]]


async def classify_all(sources: list[str], settings: Settings, *, top: int, ndjson: bool) -> int:
    """Classify every picture of the sources and print the answers; the number of pictures that failed.

    A source that begins with http:// or https:// is the service that shall do it. Raises StartError.
    """
    urls = [source for source in sources if source.startswith(("http://", "https://"))]
    files = list(pictures([Path(source) for source in sources if source not in urls]))
    rows: dict[Path, tuple[str, str, str]] = {}
    failed = 0
    if len(urls) > 1:
        raise BadRequest(f"One service at a time: {' or '.join(urls)}.")
    errors = Console(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("classifying", total=len(files))
        async with by_service(urls[0], top) if urls else here(settings, top) as ask:
            async for path, line in answers(files, ask):
                progress.advance(task)
                failed += "error" in line
                if ndjson:
                    sys.stdout.buffer.write(orjson.dumps({"filename": str(path), **line}) + b"\n")
                else:
                    rows[path] = row(line)
    if rows:
        Console().print(table([(path, *rows[path]) for path in files]))
    if not files:
        errors.print("There is no picture among the arguments.")
    return failed or not files


def pictures(paths: Iterable[Path]) -> Iterable[Path]:
    """Files as they are; of folders the files with a picture's suffix, below them too, sorted."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def table(rows: list[tuple[Path, str, str, str]]) -> Table:
    """For people, in the order in which the files were named."""
    shown = Table(Column("picture", overflow="fold"), "label", "score", "also", box=None, pad_edge=False)
    for path, *cells in rows:
        shown.add_row(escape(str(path)), *cells)
    return shown


def row(line: Answer) -> tuple[str, str, str]:
    """The table's cells for one answer."""
    if "error" in line:
        return f"[red]{line['error']['code']}[/red]", "", escape(line["error"]["detail"])
    also = ", ".join(f"{label['label']} {label['score']:.1%}" for label in line["predictions"][1:3])
    return line["prediction"], f"{line['score']:.1%}", also


async def answers(files: list[Path], ask: Ask) -> AsyncIterator[tuple[Path, Answer]]:
    """Each file with its answer or error, as they come, at most IN_FLIGHT at a time."""
    remaining = iter(files)
    asking: set[asyncio.Task[tuple[Path, Answer]]] = set()
    try:
        while True:
            asking |= {asyncio.create_task(answer(path, ask)) for path in islice(remaining, IN_FLIGHT - len(asking))}
            if not asking:
                return
            done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in asking:
            task.cancel()


async def answer(path: Path, ask: Ask) -> tuple[Path, Answer]:
    """One file's answer, or why there is none."""
    try:
        return path, await ask(await asyncio.to_thread(path.read_bytes))
    except OSError as error:
        return path, {"error": {"code": "unreadable", "detail": f"{path}: {error.strerror or error}"}}
    except GlimtError as error:
        return path, {"error": problem(error)}


@asynccontextmanager
async def here(settings: Settings, top: int) -> AsyncIterator[Ask]:
    """Ask a model loaded into this process."""
    served = await asyncio.to_thread(choose, settings)
    if served.notice:
        Console(stderr=True, soft_wrap=True).print(served.notice, markup=False, highlight=False)
    settings = settings.model_copy(update={"max_batch": IN_FLIGHT // 2, "max_wait_ms": 0.0})  # not worth calibrating
    worker = make_worker(make_engine(served, settings), served, settings)
    async with worker, Classifier(worker, served.classes, served.input, settings) as classifier:
        await worker.loaded()

        async def ask(data: bytes) -> Answer:
            return prediction_document(await classifier.classify(data, top=top, patient=True))

        yield ask


@asynccontextmanager
async def by_service(url: str, top: int) -> AsyncIterator[Ask]:
    """Ask a running service. It is waited for when it is overloaded or not ready, as it says in Retry-After."""
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:

        async def ask(data: bytes) -> Answer:
            try:
                for _ in range(TRIES):
                    reply = await client.post("/predict", params={"top": top}, content=data)
                    if reply.status_code != 503:
                        break
                    await asyncio.sleep(retry_after_s(reply))
                document: Answer = reply.json()
            except httpx2.TransportError as error:
                raise Unavailable(
                    f"The service at {url} cannot be reached: {error or type(error).__name__}."
                ) from error
            except ValueError as error:
                raise BadRequest(f"What answers at {url} ({reply.status_code}) is not Glimt: no JSON.") from error
            expected = "predictions" if reply.is_success else "code"
            if not isinstance(document, dict) or expected not in document:
                raise BadRequest(f"What answers at {url} ({reply.status_code}) is not Glimt.")
            return document if reply.is_success else {"error": document}

        yield ask


def retry_after_s(reply: httpx2.Response) -> float:
    """Seconds to wait; a date, which Glimt never sends, counts as the least."""
    told = reply.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else RETRY_AFTER_S
