"""The trainings that this service started: one at a time, each a process of its own that ends when the service does."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import TypeVar

from service.errors import Conflict, NotFound
from service.models.registry import check_name
from service.settings import Settings
from service.store.feedback import FeedbackStore
from service.store.pictures import PictureStore
from service.training import feedback, processes
from service.training.dataset import read_dataset
from service.training.datasets import Datasets
from service.training.orders import Order
from service.training.runs import INTERRUPTED, Run, Runs, Status

T = TypeVar("T")
END_S = 10.0
"""For a trainer to write down where it is; after that it is killed, and goes on from its last whole epoch."""
WORDS_BYTES = 4096
"""Of a trainer that could not begin: the end of what it said."""
BEGINS_IN = timedelta(minutes=1)
"""A run that a terminal has made waits no longer for its trainer."""
MAX_RUNS = 200
"""Kept at once: each has its pictures on disk."""

PASSED = {"model", "weights", "engine", "weights_site", "max_image_bytes", "max_image_pixels"}

log = logging.getLogger(__name__)


class Trainings:
    """`async with Trainings(...) as trainings`. Looking at files happens in the one thread it owns."""

    def __init__(self, settings: Settings, said: FeedbackStore, pictures: PictureStore) -> None:
        self.runs = Runs(settings.data_path)
        self.datasets = Datasets(settings.data_path, max_picture_bytes=settings.max_image_bytes)
        self._settings = settings
        self._said = said
        self._pictures = pictures
        self._beginning = asyncio.Lock()
        self._run: Run | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_ended = False

    async def __aenter__(self) -> "Trainings":
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="glimt-training")
        await self.in_thread(self._sweep)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._end()
        self._thread.shutdown(wait=True)

    async def in_thread(self, look: Callable[[], T]) -> T:
        """Blocking work on the runs' files."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, look)

    async def begin(self, order: Order, *, since: datetime | None = None) -> Run:
        """Start a run. One from feedback learns from what was said since then.

        Raises BadRequest, NotFound (the run it extends), Conflict when another is being trained, or the name is taken
        by an architecture, OSError.
        """
        async with self._beginning:
            await self._wait_for_former()
            run = await self.in_thread(partial(self._create, order))
            try:
                if order.origin == "feedback":
                    await self._gather_feedback(run, order, since)
                await self._start(run)
            except BaseException:
                await self.in_thread(partial(self.runs.remove, run))
                raise
        return run

    async def resume(self, run: Run) -> Run:
        """Go on with a run that failed or was cancelled. Raises Conflict."""
        async with self._beginning:
            await self._wait_for_former()
            before = await self.in_thread(partial(self._queue_again, run))
            try:
                await self._start(run)
            except BaseException:
                await self.in_thread(partial(run.write, before))
                raise
        return run

    async def cancel(self, run: Run) -> Run:
        """End it; what it has learnt is kept. Nothing happens to one that is over. Raises Conflict for one that was
        started from a terminal."""
        if self._run is not None and self._run.id == run.id:
            await self._end()
        elif await self.in_thread(run.has_trainer):
            raise Conflict("This run was started from a terminal. Cancel it there, with Ctrl-C.")
        return run

    def is_ending(self, run: Run) -> bool:
        """Whether somebody cancelled it and its trainer is not gone yet."""
        return self._is_ended and self._run is not None and self._run.id == run.id

    def _sweep(self) -> None:
        """What a crash left half done."""
        self.datasets.sweep()
        for run in self.runs.all():
            with suppress(NotFound, OSError):
                status, latest = run.status(), datetime.now(UTC) - BEGINS_IN
                if status.state == "queued" and status.created < latest and not run.has_trainer():
                    run.write(status.model_copy(update={"state": "failed", **INTERRUPTED}))

    def _create(self, order: Order) -> Run:
        check_name(order.name)
        if len(self.runs.all()) >= MAX_RUNS:
            raise Conflict(f"There are {MAX_RUNS} runs, the limit. Remove some first.")
        if order.extends:
            self.runs.get(order.extends)
        run = self.runs.create(order)
        try:
            self._check_free(run)
        except Conflict:
            self.runs.remove(run)
            raise
        return run

    def _check_free(self, run: Run) -> None:
        """Raises Conflict, naming the run that is being trained."""
        with self.runs.training(run):
            pass

    def _queue_again(self, run: Run) -> Status:
        """Its status until now."""
        before = run.status()
        if before.state == "done":
            raise Conflict(f"{run.id} is done. Make a new run, which may extend it.")
        self._check_free(run)
        run.write(Status(created=before.created))
        return before

    async def _wait_for_former(self) -> None:
        """One that has said its last word is about to end. Raises Conflict, naming it, when it has not."""
        run, watching = self._run, self._watching
        if run is None or watching is None:
            return
        if not (await self.in_thread(run.status)).is_over:
            raise Conflict(f"{run.id} is being trained; one at a time. Wait for it or cancel it.")
        await asyncio.wait([watching])

    async def _gather_feedback(self, run: Run, order: Order, since: datetime | None) -> None:
        known = await self.in_thread(partial(self._classes, order.extends)) if order.extends else ()
        taken = await feedback.write_feedback(
            self._said.export(), self._pictures, known, run.folder / feedback.FILE, since=since
        )
        log.info("run %s: %s", run.id, taken.words())

    def _classes(self, run_id: str) -> tuple[str, ...]:
        return read_dataset(self.runs.get(run_id).folder).classes

    async def _start(self, run: Run) -> None:
        pipe = asyncio.subprocess.PIPE
        environment = processes.environment() | _named(self._settings)
        self._child = await asyncio.create_subprocess_exec(
            *processes.trainer(run.folder), stdin=pipe, stderr=pipe, env=environment, start_new_session=True
        )
        self._run, self._is_ended = run, False
        self._watching = asyncio.create_task(self._watch(run, self._child), name=f"training {run.id}")
        log.info("run %s began in process %s", run.id, self._child.pid)

    async def _watch(self, run: Run, child: asyncio.subprocess.Process) -> None:
        assert child.stderr is not None
        words = b""
        while piece := await child.stderr.read(WORDS_BYTES):
            words = (words + piece)[-WORDS_BYTES:]
        await child.wait()
        try:
            said = words.decode(errors="replace").strip()
            status = await self.in_thread(partial(_settled, run, said, self._is_ended))
            log.info("run %s ended: %s %s", run.id, status.state, status.detail or "")
        except (NotFound, OSError) as error:
            log.warning("run %s ended, and how cannot be written down: %s", run.id, error)
        finally:
            self._run = self._child = None

    async def _end(self) -> None:
        """The trainer ends when its standard input does; it is killed when it takes too long."""
        child, watching = self._child, self._watching
        if child is None or watching is None:
            return
        self._is_ended = True
        if child.stdin is not None:
            child.stdin.close()
        done, _ = await asyncio.wait([watching], timeout=END_S)
        if not done:
            with suppress(ProcessLookupError):
                child.kill()
            await asyncio.wait([watching])


def _settled(run: Run, words: str, is_ended: bool) -> Status:
    """Its status once its trainer has gone, written down where the trainer could not: it never began, or was killed.

    `is_ended`: somebody wanted that."""
    status = run.status()
    if status.is_over and status.code != INTERRUPTED["code"]:
        return status
    what = {"code": None, "detail": None} if is_ended else INTERRUPTED | ({"detail": words} if words else {})
    state = "cancelled" if is_ended else "failed"
    status = status.model_copy(update={"state": state, "eta_s": None, "ended": datetime.now(UTC), **what})
    run.write(status)
    return status


def _named(settings: Settings) -> dict[str, str]:
    """What decides which model the trainer compares with and which pictures it takes, as its own settings will say."""
    named = {f"GLIMT_{name.upper()}": str(getattr(settings, name)) for name in PASSED & settings.model_fields_set}
    return named | {"GLIMT_DATA_DIR": str(settings.data_path)}
