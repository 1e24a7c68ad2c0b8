"""Memory that was needed for a moment, given back while the service runs."""

import asyncio

from service.inference.engines.memory import give_memory_back

EVERY_S = 60.0
"""It takes a millisecond, and as much again until the next burst has back what it needs."""


async def give_back_forever() -> None:
    """malloc keeps what a burst needed, in an arena for each few threads, and the next burst needs it elsewhere: with
    nothing held for longer, what is resident only ever grew, by some 40 MiB an hour under mixed load."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(give_memory_back)
