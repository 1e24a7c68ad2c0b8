"""Connections whose clients must take what they are sent: who stops reading an answer is hung up on in the end.

uvicorn makes the app wait until the client reads on, however long that is, with all that the answer holds.
"""

import asyncio
from typing import Any, ClassVar

import structlog

from service.connections import Bounded

log = structlog.get_logger()


class Taken(Bounded):
    """Aborts a connection of which nothing could be sent for `write_s`, though there was something to send. The app
    then sees that its client left."""

    write_s: ClassVar[float]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsent = 0
        self._write_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """As uvicorn's: there is more to send than the client takes."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """As uvicorn's: the client took most of it."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_watching()

    def on_response_complete(self) -> None:
        """As uvicorn's, which may have closed: then what is left to send must still go."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_writing()

    def timeout_keep_alive_handler(self) -> None:
        """As uvicorn's; the last answer may not have been taken."""
        super().timeout_keep_alive_handler()
        self._watch_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's."""
        self._stop_watching()
        super().connection_lost(exc)

    def _close(self) -> None:
        self.transport.close()
        self._watch_writing()

    def _watch_writing(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent and self._write_timer is None:
            self._write_timer = self.loop.call_later(self.write_s, self._on_write_timer)

    def _stop_watching(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _on_write_timer(self) -> None:
        self._write_timer = None
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch_writing()
            return
        log.info("a client took nothing of its answer and was hung up on", client=self.client, unsent=self._unsent)
        self.transport.abort()
