"""Computing once what many ask: values kept for those who ask again, computations shared by those who ask at once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """The values asked for last, at most `entries`."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """None when it is not there (any more)."""
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: Key, value: Value) -> None:
        """The one not asked for the longest makes room."""
        self._values[key] = value
        if len(self._values) > self._entries:
            self._values.popitem(last=False)


@dataclass(slots=True)
class _Flight(Generic[Value]):
    task: asyncio.Task[Value]
    waiters: int = 0


class Flights(Generic[Key, Value]):
    """Computations under way. One that nobody waits for any more is cancelled."""

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[Value]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._flights

    async def ride(self, key: Key, compute: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """What the computation of this name returns or raises; it is started if there is none."""
        flight = self._flights.get(key) or self._start(key, compute())
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                del self._flights[key]
                flight.task.cancel()

    def _start(self, key: Key, computation: Coroutine[Any, Any, Value]) -> _Flight[Value]:
        flight = self._flights[key] = _Flight(asyncio.create_task(computation))

        def landed(_: asyncio.Task[Value]) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight.task.add_done_callback(landed)
        return flight
