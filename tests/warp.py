"""A loop whose clock jumps: nothing sleeps for real, a 1,000-second window passes in no time, and no test guesses."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

MOST_SLEEPS = 100_000
"""Whoever wakes more often than that waits for what never comes."""


class _WarpSelector(selectors.SelectSelector):
    loop: "WarpLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits and nothing will ever happen")
        if not ready and timeout:
            self.loop.now += timeout
            self.loop.sleeps += 1
            assert self.loop.sleeps <= MOST_SLEEPS, "time passes and nothing ever happens"
        return ready


class WarpLoop(asyncio.SelectorEventLoop):
    """Time passes only when everybody waits for it. `timers` counts call_at, `sleeps` how often the loop slept. The
    next timer fires `early_s` too early, as uvloop's may."""

    def __init__(self) -> None:
        selector = _WarpSelector()
        selector.loop = self
        self.now = 0.0
        self.timers = 0
        self.early_s = 0.0
        self.sleeps = 0
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def call_at(  # type: ignore[override]  # typeshed's TypeVarTuple adds nothing here
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers += 1
        when, self.early_s = when - self.early_s, 0.0
        return super().call_at(when, callback, *args, context=context)


def warped(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a WarpLoop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=WarpLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def warp_loop() -> WarpLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WarpLoop)
    return loop


async def settle() -> None:
    """Let everybody run who can run without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)
