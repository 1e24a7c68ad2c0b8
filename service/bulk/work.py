"""One job's work: read each entry, classify it, store what became of it. Knows neither turns nor other jobs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

import structlog

from service.bulk.run import Run
from service.bulk.source import Entry, Source
from service.bulk.window import Window
from service.errors import ArchiveUnreadable, Draining, EngineFailed, GlimtError, ImageError, StoreFull, Unavailable
from service.inference.class_names import UNKNOWN, ClassNames
from service.inference.labels import ClassTable
from service.inference.lanes import BULK, Lane
from service.inference.predictions import Prediction
from service.store.job_rows import JobItem
from service.store.jobs import JobStore

T = TypeVar("T")
Opening = Callable[[], AbstractContextManager[Source]]

GUESSES = 10
RETRY_S = 1.0
"""How long a job pauses before it tries a full disk, a busy database or a loading model again."""
INTERNAL = "The fault is ours and in the log."

log = structlog.get_logger()


class Classifies(Protocol):
    """What is needed of the classifier."""

    @property
    def classes(self) -> ClassTable: ...

    def admission(self, *, patient: bool) -> AbstractContextManager[object]: ...

    async def classify(self, data: bytes, *, top: int, lane: Lane, patient: bool) -> Prediction: ...


class Work:
    """What the work of every job is done with. Its files are read in `threads`."""

    def __init__(
        self,
        jobs: JobStore,
        classifier: Classifies,
        window: Window,
        threads: ThreadPoolExecutor,
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self._jobs = jobs
        self._classifier = classifier
        self._window = window
        self._threads = threads
        self._retry_s = retry_s
        self._names: tuple[ClassTable, ClassNames] | None = None

    async def do(self, run: Run, opening: Opening) -> None:
        """Everything that is left of the job, to its end. Raises ArchiveInvalid, ArchiveTooLarge, ArchiveUnreadable,
        Draining; when the run is to leave also StoreFull and StoreBusy. Whatever ends it, what is answered is stored.
        """
        job_id = run.job.id
        settled = await self.insist(run, lambda: self._jobs.settled(job_id))
        async with self._opened(run, opening) as source:
            files = [entry for entry in source.entries if entry.skip != "directory"]
            entries = [entry for entry in files if entry.index not in settled]
            run.begin(_now(), sum(entry.skip is None for entry in entries))
            if not await self.insist(run, lambda: self._jobs.begin(job_id, len(files))):
                return  # it was cancelled before it was started
            try:
                await self._each(run, source, entries)
                await self._store(run)
            finally:
                await self._store(run)  # whatever interrupted it, be it in the line above
        await self.insist(run, lambda: self._jobs.end(job_id, "done"))

    async def insist(self, run: Run, ask: Callable[[], Awaitable[T]]) -> T:
        """The store's answer, also when the disk is full or the database busy: then the job pauses and asks again,
        unless it is to leave."""
        with run.pausing() as pause:
            while True:
                try:
                    return await ask()
                except Draining:
                    raise
                except (StoreFull, Unavailable) as error:
                    if run.leaving:
                        raise
                    pause(error.detail)
                await asyncio.sleep(self._retry_s)

    async def _each(self, run: Run, source: Source, entries: list[Entry]) -> None:
        try:
            async with asyncio.TaskGroup() as pictures:
                for entry in entries:
                    if entry.skip is not None:
                        await self._answered(run, self._about(entry)(status="skipped", code=entry.skip))
                        continue
                    await self._window.take(entry.size)
                    task = pictures.create_task(self._picture(run, source, entry))
                    task.add_done_callback(partial(self._give_back, entry.size))  # also when cancelled unbegun
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _give_back(self, size: int, _task: object) -> None:
        self._window.give_back(size)

    async def _picture(self, run: Run, source: Source, entry: Entry) -> None:
        await self._answered(run, await self._item(run, source, entry))

    async def _item(self, run: Run, source: Source, entry: Entry) -> JobItem:
        about = self._about(entry)
        try:
            answer = await self._answer(run, await self._from_disk(lambda: source.read(entry)))
        except (ImageError, EngineFailed) as error:
            return about(status="failed", code=error.code, detail=error.detail)
        except GlimtError:
            raise
        except Exception:
            log.exception("a picture of a job failed", job=run.job.id, position=entry.index)
            return about(status="failed", code="internal", detail=INTERNAL)
        best = answer.labels[0]
        return about(
            status="done",
            image_sha256=answer.image.sha256,
            label=best.label,
            score=best.score,
            guesses=[(guess.label, round(guess.score, 6)) for guess in answer.labels],
            model_version=answer.model.version,
        )

    def _about(self, entry: Entry) -> Callable[..., JobItem]:
        """The answer to the entry, for the rest of it."""
        return partial(
            JobItem,
            position=entry.index,
            name=entry.name,
            unsafe_name=entry.unsafe_name,
            truth=self._truth(entry.folder) if entry.folder is not None else None,
        )

    def _truth(self, folder: str) -> str:
        """The class that a folder names, in the model's own word where it has one."""
        classes = self._classifier.classes
        if self._names is None or self._names[0] is not classes:
            self._names = classes, ClassNames(classes)
        index = self._names[1].find(folder)
        return folder if index == UNKNOWN else classes.labels[index]

    async def _answer(self, run: Run, data: bytes) -> Prediction:
        """Waits through what will pass: a model that loads, a queue that others fill."""
        with run.pausing() as pause:
            while True:
                try:
                    with self._classifier.admission(patient=True):
                        return await self._classifier.classify(data, top=GUESSES, lane=BULK, patient=True)
                except Draining:
                    raise
                except Unavailable as error:
                    pause(error.detail)
                await asyncio.sleep(self._retry_s)

    async def _answered(self, run: Run, item: JobItem) -> None:
        """Note it, and when it is time store it with the others. Whoever finds that it is time waits until that is
        done, and holds a place in the window: so a full disk stops the reading."""
        run.answered.append(item)
        if run.is_due(_now()):
            async with run.storing:
                if run.is_due(_now()):
                    await self._store(run)

    async def _store(self, run: Run) -> None:
        """Store what is answered. Cancelled, it may be stored nevertheless, and may be stored again."""
        if items := run.answered[:]:
            await self.insist(run, lambda: self._jobs.checkpoint(run.job.id, items))
            run.stored(_now(), items)

    @asynccontextmanager
    async def _opened(self, run: Run, opening: Opening) -> AsyncIterator[Source]:
        async def enter() -> tuple[Source, AbstractContextManager[Source]]:
            opened = opening()  # one that failed cannot be entered again
            return await self._from_disk(opened.__enter__), opened

        source, opened = await self.insist(run, enter)
        try:
            yield source
        finally:
            opened.__exit__(None, None, None)

    async def _from_disk(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            raise ArchiveUnreadable(
                f"The archive can no longer be read from the service's disk ({error.strerror}). Send it again."
            ) from error


def _now() -> float:
    return asyncio.get_running_loop().time()
