"""`glimt classify`: many files and zip archives, here or by a running service, with a progress bar, to a table or
NDJSON."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from service.bulk.archive import open_archive
from service.bulk.directory import ArchiveLimits
from service.construction import make_serving, make_worker
from service.credentials import bearer, is_loopback, own_url, refused
from service.errors import BadRequest, Forbidden, GlimtError, Unavailable
from service.http.classify import prediction_document
from service.http.problems import problem
from service.inference.classifier import Classifier
from service.models.choice import choose
from service.remote_job import RemoteJob
from service.settings import Settings
from service.terminal import printable

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
IN_FLIGHT = 32  # two full batches: one runs while the next one fills
TRIES = 30  # of one picture at a service that is overloaded or still loading
RETRY_AFTER_S = 1.0  # when a service that refuses does not say

Answer = dict[str, Any]
Ask = Callable[[bytes], Awaitable[Answer]]


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """One to be asked about. `read` gives its bytes, blocking; raises OSError or GlimtError."""

    name: str
    read: Callable[[], bytes]


async def classify_all(
    sources: list[str], settings: Settings, *, top: int, ndjson: bool, token: str | None = None
) -> int:
    """Classify every picture of the sources, also those in zip archives, and print the answers; how many failed.

    A source that begins with http:// or https:// is the service that shall do it; `token` is a personal one for it.
    Raises StartError, BadRequest, Forbidden.
    """
    urls = [source for source in sources if source.startswith(("http://", "https://"))]
    files = list(pictures([Path(source) for source in sources if source not in urls]))
    url = await asyncio.to_thread(own_url, urls[0], settings.data_path) if urls else ""
    zips = [path for path in files if path.suffix.lower() == ".zip"]
    if len(urls) > 1:
        raise BadRequest(f"One service at a time: {' or '.join(urls)}.")
    errors = Console(stderr=True)
    printed = Printed(ndjson)
    bar = Progress(console=errors, transient=True, disable=not errors.is_terminal)
    with ExitStack() as archives, bar as progress:
        singles = [*present((path for path in files if path not in zips), printed)]
        if not url:
            limits = ArchiveLimits(max_member_bytes=settings.max_image_bytes)
            singles += await asyncio.to_thread(lambda: [*packed(zips, limits, archives, printed)])
        task = progress.add_task("classifying", total=len(singles), visible=bool(singles))
        if singles:  # or a model would be loaded for nothing
            async with by_service(url, top, settings, token) if url else here(settings, top) as ask:
                async for picture, line in answers(singles, ask):
                    progress.advance(task)
                    printed.add(picture.name, line)
        for path in zips if url else ():
            await by_job(path, url, top, settings, token, progress, printed)
    printed.end([picture.name for picture in singles], errors)
    if not files:
        errors.print("There is no picture among the arguments.")
    return printed.failed or not files


class Printed:
    """What is printed: each line at once as NDJSON, or all of it as a table at the end."""

    def __init__(self, ndjson: bool) -> None:
        self.failed = 0
        self._ndjson = ndjson
        self._rows: list[tuple[str, str, str, str]] = []
        self._skipped: Counter[str] = Counter()

    def add(self, name: str, line: Answer) -> None:
        """One answer, or the `error` why there is none, or why it was `skipped`."""
        self.failed += "error" in line
        if "skipped" in line:
            self._skipped[line["skipped"]] += 1
        if self._ndjson:
            sys.stdout.buffer.write(orjson.dumps({"filename": name, **line}) + b"\n")
        elif "skipped" not in line:
            self._rows.append((name, *row(line)))

    def end(self, order: list[str], errors: Console) -> None:
        """The table, in this order as far as it goes, and what was passed over."""
        if self._rows:
            place = {name: number for number, name in enumerate(order)}
            Console().print(table(sorted(self._rows, key=lambda cells: place.get(cells[0], len(place)))))
        if self._skipped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self._skipped.most_common())
            errors.print(f"Skipped: {escape(printable(reasons))}.")


def pictures(paths: Iterable[Path]) -> Iterable[Path]:
    """Files as they are; of folders the files with a picture's suffix, below them too, sorted."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def present(files: Iterable[Path], printed: Printed) -> Iterator[Picture]:
    """Those that can be looked at. Why others cannot is printed."""
    for path in files:
        try:
            path.stat()
        except OSError as error:
            printed.add(str(path), unreadable(path, error))
        else:
            yield Picture(str(path), path.read_bytes)


def packed(zips: Iterable[Path], limits: ArchiveLimits, archives: ExitStack, printed: Printed) -> Iterator[Picture]:
    """The pictures in these archives, which stay open as long as `archives`. What is wrong or skipped is printed."""
    for path in zips:
        try:
            archive = archives.enter_context(open_archive(path, limits))
        except OSError as error:
            printed.add(str(path), unreadable(path, error))
            continue
        except GlimtError as error:
            printed.add(str(path), {"error": problem(error)})
            continue
        for entry in archive.entries:
            name = f"{path}/{entry.name}"
            if entry.skip is None:
                yield Picture(name, partial(archive.read, entry))
            elif entry.skip != "directory":
                printed.add(name, {"skipped": entry.skip})


async def by_job(
    path: Path, url: str, top: int, settings: Settings, token: str | None, progress: Progress, printed: Printed
) -> None:
    """Have a running service work through an archive. Raises Forbidden."""
    key = await asyncio.to_thread(bearer, url, settings.data_path, token)
    task = progress.add_task(f"{path.name}: sending", total=None)

    def told(doing: str, done: int, total: int | None) -> None:
        said = escape(printable(f"{path.name}: {doing}"))
        progress.update(task, description=said, completed=done, total=total)

    try:
        async for item in RemoteJob(url, key).answers(path, told):
            printed.add(f"{path}/{item['name']}", item_line(item, top))
    except OSError as error:
        printed.add(str(path), unreadable(path, error))
    except Forbidden:
        raise
    except GlimtError as error:
        printed.add(str(path), {"error": problem(error)})


def item_line(item: Answer, top: int) -> Answer:
    """An entry of a job as a line like those of single pictures; a job keeps at most ten guesses."""
    if item["status"] == "skipped":
        return {"skipped": item["error"]["code"]}
    if item["status"] == "failed":
        return {"error": item["error"]}
    guesses = [{"label": label, "score": score} for label, score in item["guesses"][:top]]
    return {"success": True, "prediction": item["label"], "score": item["score"], "predictions": guesses}


def table(rows: list[tuple[str, str, str, str]]) -> Table:
    """For people."""
    shown = Table(Column("picture", overflow="fold"), "label", "score", "also", box=None, pad_edge=False)
    for name, *cells in rows:
        shown.add_row(escape(printable(name)), *cells)
    return shown


def row(line: Answer) -> tuple[str, str, str]:
    """The table's cells for one answer."""
    if "error" in line:
        code, detail = (escape(printable(line["error"][part])) for part in ("code", "detail"))
        return f"[red]{code}[/red]", "", detail
    also = ", ".join(f"{label['label']} {label['score']:.1%}" for label in line["predictions"][1:3])
    return escape(printable(line["prediction"])), f"{line['score']:.1%}", escape(printable(also))


async def answers(wanted: list[Picture], ask: Ask) -> AsyncIterator[tuple[Picture, Answer]]:
    """Each picture with its answer or error, as they come, at most IN_FLIGHT at a time."""
    remaining = iter(wanted)
    asking: set[asyncio.Task[tuple[Picture, Answer]]] = set()
    try:
        while True:
            asking |= {asyncio.create_task(answer(one, ask)) for one in islice(remaining, IN_FLIGHT - len(asking))}
            if not asking:
                return
            done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in asking:
            task.cancel()


async def answer(picture: Picture, ask: Ask) -> tuple[Picture, Answer]:
    """One picture's answer, or why there is none."""
    try:
        return picture, await ask(await asyncio.to_thread(picture.read))
    except OSError as error:
        return picture, unreadable(picture.name, error)
    except GlimtError as error:
        return picture, {"error": problem(error)}


def unreadable(path: Path | str, error: OSError) -> Answer:
    """The line for a file that the system does not give."""
    return {"error": {"code": "unreadable", "detail": f"{path}: {error.strerror or error}"}}


@asynccontextmanager
async def here(settings: Settings, top: int) -> AsyncIterator[Ask]:
    """Ask a model loaded into this process."""
    served = await asyncio.to_thread(choose, settings)
    if served.notice:
        Console(stderr=True, soft_wrap=True).print(served.notice, markup=False, highlight=False)
    settings = settings.model_copy(update={"max_batch": IN_FLIGHT // 2, "max_wait_ms": 0.0})  # not worth calibrating
    worker = make_worker(make_serving(served, settings), settings)
    async with worker, Classifier(worker, settings) as classifier:
        await worker.loaded()

        async def ask(data: bytes) -> Answer:
            return prediction_document(await classifier.classify(data, top=top, patient=True))

        yield ask


@asynccontextmanager
async def by_service(url: str, top: int, settings: Settings, token: str | None) -> AsyncIterator[Ask]:
    """Ask a running service. It is waited for when it is overloaded or not ready, as it says in Retry-After."""
    key = await asyncio.to_thread(bearer, url, settings.data_path, token)
    async with httpx2.AsyncClient(base_url=url, timeout=60, trust_env=not is_loopback(url)) as client:

        async def ask(data: bytes) -> Answer:
            try:
                for _ in range(TRIES):
                    headers = {"Authorization": f"Bearer {key()}"} if key() else {}
                    reply = await client.post("/predict", params={"top": top}, content=data, headers=headers)
                    if reply.status_code not in (429, 503):
                        break
                    await asyncio.sleep(retry_after_s(reply))
                document: Answer = reply.json()
            except httpx2.TransportError as error:
                raise Unavailable(
                    f"The service at {url} cannot be reached: {error or type(error).__name__}."
                ) from error
            except ValueError as error:
                raise BadRequest(f"What answers at {url} ({reply.status_code}) is not Glimt: no JSON.") from error
            if reply.status_code in (401, 403):
                raise refused(url, reply.status_code, str(document.get("detail", "")))
            expected = "predictions" if reply.is_success else "code"
            if not isinstance(document, dict) or expected not in document:
                raise BadRequest(f"What answers at {url} ({reply.status_code}) is not Glimt.")
            return document if reply.is_success else {"error": document}

        yield ask


def retry_after_s(reply: httpx2.Response) -> float:
    """Seconds to wait; a date, which Glimt never sends, counts as the least."""
    told = reply.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else RETRY_AFTER_S
