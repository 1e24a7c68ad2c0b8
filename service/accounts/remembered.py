"""What was found out a moment ago and need not be found out again yet."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """At most `entries` values, each for so many seconds of `clock`; the one put there first makes room."""

    def __init__(self, entries: int, seconds: float, clock: Callable[[], float]) -> None:
        self._entries = entries
        self._seconds = seconds
        self._clock = clock
        self._until: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """None when it is not there, or not any more."""
        until, value = self._until.get(key, (0.0, None))
        return value if self._clock() < until else None

    def put(self, key: Key, value: Value) -> None:
        """From now on."""
        self._until[key] = (self._clock() + self._seconds, value)
        self._until.move_to_end(key)
        if len(self._until) > self._entries:
            self._until.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._until.clear()
