"""Uncertain answers on their way to be reviewed: beside the answers, bounded, and dropped when there is too much."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

import structlog
from sqlalchemy.exc import IntegrityError

from service.errors import GlimtError
from service.store.pictures import PictureStore
from service.store.review import Doubt, ReviewStore

MAX_MARGIN = 0.5
"""Between the first two labels: an answer that is surer than that is not worth a person's time."""
MAX_WAITING, MAX_WAITING_BYTES = 8, 64 * 1024 * 1024
"""Pictures held at once for this: what comes while the disk is busy is passed over."""
MAX_SEEN = 4096
"""Answers remembered, so that a picture that is asked again and again is stored once."""
LIMIT_LASTS_S = 60.0
"""For which a full shelf is taken to be full: people decide, and make room."""

log = structlog.get_logger()


class Doubts:
    """`async with Doubts(...) as doubts`, then `offer`: keeps the pictures of the `most` least certain answers.

    `forget` is told of pictures that had to make room.
    """

    def __init__(
        self,
        review: ReviewStore,
        pictures: PictureStore,
        forget: Callable[[str, str | None], Awaitable[None]],
        *,
        most: int,
    ) -> None:
        self.review = review
        self._pictures = pictures
        self._forget = forget
        self.most = most
        self._waiting: asyncio.Queue[tuple[Doubt, bytes]] = asyncio.Queue(MAX_WAITING)
        self._bytes = 0
        self._limit = MAX_MARGIN
        self._limit_until = 0.0
        self._seen: dict[tuple[object, ...], None] = {}
        self.passed_over = 0

    async def __aenter__(self) -> "Doubts":
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._store_forever(), name="glimt-doubts")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        try:
            await self.flush()
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wants(self, margin: float) -> bool:
        """Whether an answer with this margin would be kept now."""
        limit = self._limit if self._loop.time() < self._limit_until else MAX_MARGIN
        return self.most > 0 and margin < limit

    def offer(self, doubt: Doubt, data: bytes) -> None:
        """Have it kept soon, with its picture, if it is wanted. Never waits, never raises."""
        key = (doubt.user_id, doubt.image_sha256, doubt.model_name, doubt.model_version)
        if not self.wants(doubt.margin) or key in self._seen:
            return
        if self._waiting.full() or self._bytes + len(data) > MAX_WAITING_BYTES:
            self.passed_over += 1
            return
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen[key] = None
        self._bytes += len(data)
        self._waiting.put_nowait((doubt, data))

    async def flush(self) -> None:
        """Return when all that was taken until now is stored, or lost."""
        await self._waiting.join()

    async def _store_forever(self) -> None:
        while True:
            doubt, data = await self._waiting.get()
            try:
                await self._store(doubt, data)
            except (GlimtError, IntegrityError, OSError) as error:  # also of an account that has gone meanwhile
                log.warning("a picture was not kept for review", reason=str(error))
            except Exception:
                log.exception("a picture was not kept for review")
            finally:
                self._bytes -= len(data)
                self._waiting.task_done()

    async def _store(self, doubt: Doubt, data: bytes) -> None:
        if not self.wants(doubt.margin):  # the limit has fallen since
            return
        sha256 = await self._pictures.keep(data)
        try:
            added = await self.review.add(doubt, most=self.most)
        except BaseException:  # without its row nobody would ever tidy the picture away
            await self._forget(sha256, _owner(doubt.user_id))
            raise
        for gone, user_id in added.evicted:
            await self._forget(gone, _owner(user_id))
        if added.limit is not None:
            self._limit, self._limit_until = added.limit, self._loop.time() + LIMIT_LASTS_S


def _owner(user_id: int | None) -> str | None:
    return None if user_id is None else str(user_id)
