"""Asks what a model looked at, from the event loop: a child process for each question, one at a time."""

import asyncio
import logging
import pickle

from service.errors import DeadlineExceeded, EngineFailed, QueueFull
from service.training.explaining import Question
from service.training.processes import environment, explaining

MAX_WAITING = 4
LONGEST_S = 60.0
"""Starting TensorFlow and loading ResNet50 takes about ten."""
_log = logging.getLogger(__name__)


class Explainer:
    """One child at a time: each takes a core and a few hundred megabytes."""

    def __init__(self, *, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._turn = asyncio.Lock()
        self._asked = 0

    async def explain(self, question: Question) -> bytes:
        """The picture with where the model looked, as a PNG.

        Raises QueueFull at once, DeadlineExceeded, EngineFailed. A cancelled call takes its child with it.
        """
        if self._asked > MAX_WAITING:
            raise QueueFull(
                f"{MAX_WAITING} such questions are waiting already, and each takes some seconds. Ask again soon.",
                retry_after_s=10,
            )
        self._asked += 1
        try:
            async with self._turn:
                return await self._ask(pickle.dumps(question))
        finally:
            self._asked -= 1

    async def _ask(self, question: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *explaining(), stdin=pipe, stdout=pipe, stderr=pipe, env=environment()
        )
        try:
            async with asyncio.timeout(self._longest_s):
                png, words = await child.communicate(question)
        except TimeoutError:
            raise DeadlineExceeded(f"It took longer than {self._longest_s:.0f} s to look into the model.") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            _log.error("explaining failed: %s", words.decode(errors="replace")[-2000:])
            raise EngineFailed("What the model looked at could not be found out. The log says why.")
        return png
