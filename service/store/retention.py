"""Deleting what has had its time, at the start and each hour."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

import structlog

from service.errors import GlimtError

log = structlog.get_logger()

_EVERY_S = 3600.0


class Retention:
    """`async with Retention(*duties)`: while it is open, each of them is done every hour. One that fails holds up none
    of the others."""

    def __init__(self, *duties: Callable[[], Awaitable[None]], every_s: float = _EVERY_S) -> None:
        self._duties = duties
        self._every_s = every_s

    async def __aenter__(self) -> "Retention":
        self._task = asyncio.create_task(self._expire_forever(), name="glimt-retention")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _expire_forever(self) -> None:
        while True:
            for duty in self._duties:
                try:
                    await duty()
                except GlimtError as error:
                    log.warning("what is too old was not deleted; the next try is in an hour", reason=error.detail)
                except Exception:
                    log.exception("what is too old was not deleted; the next try is in an hour")
            await asyncio.sleep(self._every_s)
