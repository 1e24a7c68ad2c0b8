"""Who is let in to wait for a batch: places, and how many of them are worth having. The batcher's door."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from service.errors import Draining, NotReady, QueueFull, Unavailable
from service.inference.lanes import INTERACTIVE, Lane, Lanes
from service.inference.pace import Pace


class Door:
    """A place is taken from the announcement of an item until it leaves for the runner. Who finds none is refused at
    once, before any work is done for him; `changed` is called when somebody announced has come, or gives up.

    The batcher tells whether it `is_open` (it lives), whether it is `draining`, and how many items are `running`.
    """

    def __init__(self, lanes: Lanes[Any, Any], pace: Pace, totals: Counter[str], changed: Callable[[], None]) -> None:
        self.is_open = self.draining = False
        self.running = 0
        self.max_batch = self.max_pending = 1
        self._lanes, self._pace, self._totals, self._changed = lanes, pace, totals, changed
        self._announced: Counter[Lane] = Counter()
        self._room = asyncio.Event()

    @contextmanager
    def announce(self, lane: Lane = INTERACTIVE) -> Iterator[None]:
        """Hold a place for an item that is being prepared; leave the block right before `submit`.

        While somebody holds one, a free runner waits for it (at most the window) instead of leaving idle.
        Raises QueueFull, Draining or NotReady before any work is done.
        """
        self.refuse_if_full()
        self._announced[lane] += 1
        try:
            yield
        finally:
            self._announced[lane] -= 1
            self._changed()
            self.look_again()

    async def wait_for_room(self) -> None:
        """Return when there is a place (streams wait where single requests are refused), or when it closes."""
        while self.taken >= self.max_pending and self.is_open and not self.draining:
            self._room.clear()
            await self._room.wait()

    def look_again(self) -> None:
        """For those who wait for room: there may be some."""
        self._room.set()

    def refuse_if_full(self, admitted: int = 0) -> None:
        """Admission, to be asked before any work: raises QueueFull, Draining or NotReady.

        `admitted` counts the callers that are on their way, be they here already or not.
        """
        if self.draining:
            raise self.closed()
        self.refuse(admitted - self.running)

    def refuse_if_in_vain(self) -> None:
        """Raises QueueFull when one more caller would wait longer than an answer is wanted."""
        callers = self._lanes.callers + self._announced[INTERACTIVE]
        if callers >= (places := self.places):
            seconds = callers * self._pace.item_s
            raise self.refusal(
                f"{callers} pictures wait already, {seconds:.1f} s of work; at most {places} may "
                "wait now, so that answers come while they are wanted."
            )

    def refuse(self, on_their_way: int = 0) -> None:
        """`refuse_if_full` for who was admitted: a drain still takes him."""
        if not self.is_open:
            raise self.closed()
        waiting = max(self.taken, on_their_way)
        if waiting >= self.max_pending:
            raise self.refusal(f"{waiting} pictures wait already; the limit is {self.max_pending}.")

    def refusal(self, detail: str) -> QueueFull:
        """For who refuses for another reason than places: as honest, and counted."""
        self._totals["refused"] += 1
        return self.queue_full(detail)

    def queue_full(self, detail: str) -> QueueFull:
        """Retry-After is the queued work divided by the measured rate."""
        retry_after_s = max(1, math.ceil((self.taken + self.running) * self._pace.item_s))
        return QueueFull(f"{detail} Try again in {retry_after_s} s.", retry_after_s=retry_after_s)

    def closed(self) -> Unavailable:
        """Why nobody is let in any more."""
        if self.draining:
            return Draining("The service is shutting down and takes no new pictures.", retry_after_s=5)
        return NotReady("The batch worker is not running.", retry_after_s=5)

    @property
    def places(self) -> int:
        """How many callers may wait now; nothing but the limit counts before anything was measured."""
        if not self._pace.is_known:
            return self.max_pending
        worth = self._lanes.overload.places(self._pace.item_s)
        return min(self.max_pending, max(self.max_batch, worth))

    @property
    def taken(self) -> int:
        """Places that are taken: by who waits, and by who is announced."""
        return len(self._lanes) + self.on_their_way

    @property
    def on_their_way(self) -> int:
        """Announced items."""
        return self._announced.total()
