"""The hourly deletion: at the start, again after trouble, and ended with its owner."""

import asyncio

import pytest
from structlog.testing import capture_logs

from service.errors import StoreBusy
from service.store.retention import Retention


class Duty:
    """Counts, and raises what it is given."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.done = 0
        self.twice = asyncio.Event()

    async def __call__(self) -> None:
        self.done += 1
        if self.done == 2:
            self.twice.set()
        if self.errors:
            raise self.errors.pop(0)


async def test_it_begins_at_the_start_and_ends_with_its_owner() -> None:
    """Once at once; afterwards no task is left."""
    duty = Duty()
    before = asyncio.all_tasks()
    async with Retention(duty, every_s=1000):
        await asyncio.sleep(0)
    assert duty.done == 1
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("error", [StoreBusy("locked"), RuntimeError("a bug")])
async def test_trouble_is_logged_and_tried_again(error: Exception) -> None:
    """One bad hour does not end it, and holds up no other duty."""
    duty, other = Duty(error), Duty()
    with capture_logs() as said:
        async with Retention(duty, other, every_s=0):
            await asyncio.wait_for(other.twice.wait(), 5)
    assert duty.done >= 2
    assert len(said) == 1
    assert "not deleted" in said[0]["event"]
