"""The threads that turn the bytes of files into pixels, and what they are told by."""

import asyncio
import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.cores import BESIDE, COMPUTING, lower_priority
from service.inference import images
from service.inference.lanes import INTERACTIVE, Lane
from service.inference.predictions import ImageInfo, InputSpec
from service.settings import Profile

HASH_ON_LOOP_BYTES = 256 * 1024  # below this, SHA-256 (about 1 GB/s) costs less than a hop to a thread


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture: uint8 (size, size, 3), what its file was, and how long it took."""

    pixels: NDArray[np.uint8]
    image: ImageInfo
    decode_ms: float


class Decoders:
    """A pool of `workers` threads for each lane: or callers would stand behind the pictures of a zip."""

    def __init__(self, workers: int, limits: images.Limits) -> None:
        self._limits = limits
        self._callers = ThreadPoolExecutor(workers, "decode", lower_priority, (COMPUTING,))
        self._bulk = ThreadPoolExecutor(workers, "decode-bulk", lower_priority, (BESIDE,))

    async def decode(
        self, data: bytes, profile: Profile, spec: InputSpec, lane: Lane, sha256: str | None = None
    ) -> Decoded:
        """A file's bytes, for a model's input. `sha256` if it is known. Raises an ImageError for what is wrong."""
        pool = self._callers if lane == INTERACTIVE else self._bulk
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, partial(self.read, data, profile, spec, sha256))

    def read(self, data: bytes, profile: Profile, spec: InputSpec, sha256: str | None) -> Decoded:
        """What `decode` does, here. Blocking."""
        started = time.perf_counter()
        pixels, image = images.read(data, self._limits, profile, spec, sha256=sha256)
        return Decoded(pixels, image, (time.perf_counter() - started) * 1000)

    async def sha256(self, data: bytes) -> str:
        """Of a file's bytes, hexadecimal."""
        if len(data) <= HASH_ON_LOOP_BYTES:
            return hashlib.sha256(data).hexdigest()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._callers, lambda: hashlib.sha256(data).hexdigest())

    def close(self) -> None:
        """What waits is not begun any more; what runs is not waited for."""
        for pool in (self._callers, self._bulk):
            pool.shutdown(wait=False, cancel_futures=True)
