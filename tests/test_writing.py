"""Who does not take an answer is hung up on; who takes it slowly is not."""

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from service.protocol import timed
from service.settings import Settings
from service.writing import Taken
from tests.warp import warped


class Pipe(asyncio.Transport):
    """A transport of which the test takes what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        """What is left to send is still to go."""

    def abort(self) -> None:
        self.aborted = True


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Never asked."""


def connection(pipe: Pipe) -> Taken:
    """One with a write timeout of 10 s, that is full."""
    one = timed(Settings(write_timeout_s=10, header_timeout_s=3600))(
        Config(app, log_config=None), ServerState(), {}, asyncio.get_running_loop()
    )
    one.connection_made(pipe)
    pipe.unsent = 100_000
    one.pause_writing()
    return one


@warped
async def test_who_takes_nothing_is_hung_up_on() -> None:
    """After the timeout, not before."""
    pipe = Pipe()
    one = connection(pipe)
    await asyncio.sleep(9)
    assert not pipe.aborted
    await asyncio.sleep(2)
    assert pipe.aborted
    one.connection_lost(None)


@warped
async def test_who_takes_a_little_is_waited_for() -> None:
    """Each time that something could be sent counts anew."""
    pipe = Pipe()
    one = connection(pipe)
    for _ in range(5):
        await asyncio.sleep(9)
        pipe.unsent -= 1000
    assert not pipe.aborted
    one.connection_lost(None)


@warped
async def test_a_new_answer_has_its_own_time() -> None:
    """Full again a moment before the timer of the last time fires: it counts from now."""
    pipe = Pipe()
    one = connection(pipe)
    await asyncio.sleep(9)
    one.resume_writing()
    one.pause_writing()
    await asyncio.sleep(9)
    assert not pipe.aborted
    one.connection_lost(None)
