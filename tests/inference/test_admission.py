"""How many bytes of pictures are held: requests are refused, streams wait."""

import asyncio

import pytest

from service.errors import QueueFull
from service.inference.admission import Memory
from tests.warp import settle, warp_loop, warped


def memory(limit: int = 100) -> Memory:
    return Memory(limit, places=lambda: 10, patience_s=10, refusal=lambda detail: QueueFull(detail, retry_after_s=7))


def test_announced_bytes_are_counted_before_they_come() -> None:
    """Who announces too much is refused at once; the words name the setting."""
    held = memory()
    with held.share(60):
        assert held.held == 60
        with pytest.raises(QueueFull, match="GLIMT_MAX_PENDING_BYTES"), held.share(41):
            pass
        with held.share(40):
            assert held.held == 100
    assert held.held == 0


def test_bytes_that_were_not_announced_are_counted_as_they_come() -> None:
    """Who goes over the limit is refused then, and what he held is free."""
    held = memory()
    with held.share() as one:
        one.read(70)
        with held.share() as other:
            other.read(30)
            with pytest.raises(QueueFull):
                other.read(31)
        assert held.held == 70
    assert held.held == 0


def test_what_was_announced_is_not_counted_twice() -> None:
    """Its bytes take the place of the announcement; what is more is counted as well."""
    held = memory()
    with held.share(50) as one:
        one.read(40)
        one.keep(50)
        assert held.held == 50
        one.read(10)
        assert held.held == 60
        one.drop(50)
        assert held.held == 50


@warped
async def test_streams_wait_at_half() -> None:
    """One that is at the limit is read on when another's picture is answered; requests have the other half."""
    held = memory()
    with held.share(patient=True) as one, held.share(patient=True) as other:
        one.keep(50)
        waiting = asyncio.create_task(other.room())
        await settle()
        assert not waiting.done()
        with held.share(50):
            await settle()
        assert not waiting.done()
        one.drop(10)
        await waiting


@warped
async def test_streams_that_wait_for_each_other_end() -> None:
    """All in the middle of a picture, none can go on: after the patience one is refused, which frees the others."""
    held = memory()
    with held.share(patient=True) as one:
        one.read(50)
        with pytest.raises(QueueFull):
            await one.room()
        assert warp_loop().now == 10


def test_a_request_becomes_a_stream() -> None:
    """A form with several pictures: what it announced is forgotten, what it holds counts as a stream's."""
    held = memory()
    with held.share(30) as one:
        one.keep(20)
        one.stream()
        assert (held.held, held.streamed) == (20, 20)
    assert (held.held, held.streamed) == (0, 0)
