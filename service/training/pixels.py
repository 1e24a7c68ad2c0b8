"""pixels.npy: the pictures of a run, decoded. A plain .npy file, written as it grows and read from the disk."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.cores import usable_cores
from service.errors import ImageError, NotFound
from service.files import sync
from service.inference.images import Limits, read
from service.inference.predictions import InputSpec
from service.training.sources import Found

Pixels = NDArray[np.uint8]

Answer = tuple[str, Pixels] | ImageError | OSError
"""Of a picture: the SHA-256 of its bytes in hex, and what the model will see of it; or why it cannot be read."""

AHEAD = 4
"""Pictures waiting per decoding thread: enough that none is idle, few in memory."""
FILE = "pixels.npy"
HEADER_BYTES = 128
"""Of a .npy file with so small a description: it is padded to a multiple of 64 bytes, with room for a longer shape."""


class PixelFile:
    """`with PixelFile(folder, size) as file`: a new file, into which pictures of size by size pixels are put.

    One picture at a time is in memory. Until `finish` it is no .npy file: the header comes last. Raises OSError.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._path = folder / FILE
        self._shape = (size, size, 3)
        self._bytes = size * size * 3
        self._rows = 0

    def __enter__(self) -> "PixelFile":
        self._file = self._path.open("w+b")
        self._file.seek(HEADER_BYTES)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, picture: Pixels) -> int:
        """Put it at the end; its row."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(f"uint8 {self._shape} is needed, not {picture.dtype} {picture.shape}")
        self._file.write(picture.tobytes())
        self._rows += 1
        return self._rows - 1

    def finish(self, rows: list[int]) -> None:
        """Keep these rows only, given rising, and write down how many there are; on disk when this returns."""
        for place, row in enumerate(rows):
            if place != row:
                picture = os.pread(self._flushed(), self._bytes, HEADER_BYTES + row * self._bytes)
                os.pwrite(self._file.fileno(), picture, HEADER_BYTES + place * self._bytes)
        os.ftruncate(self._flushed(), HEADER_BYTES + len(rows) * self._bytes)
        self._file.seek(0)
        description = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *self._shape)}
        npy.write_array_header_1_0(self._file, description)
        assert self._file.tell() == HEADER_BYTES
        self._file.flush()
        sync(self._path)

    def _flushed(self) -> int:
        self._file.flush()
        return self._file.fileno()


def open_pixels(folder: Path) -> Pixels:
    """uint8 (n, size, size, 3) of a run's folder, read-only, from the disk as they are looked at: a slice, or a list
    of rows, is a few pictures in memory. Raises NotFound when there are none."""
    try:
        pixels: Pixels = np.load(folder / FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise NotFound(f"The pictures of training run {folder.name} are not there any more.") from error
    return pixels


def decoded(found: Sequence[Found], limits: Limits, size: int) -> Iterator[tuple[Found, Answer]]:
    """Each with its answer, in order, decoded in threads a few ahead of who takes them."""
    threads = usable_cores()
    waiting: deque[tuple[Found, Future[Answer]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for one in found:
            waiting.append((one, pool.submit(_read, one, limits, size)))
            if len(waiting) > AHEAD * threads:
                yield waiting[0][0], waiting.popleft()[1].result()
        while waiting:
            yield waiting[0][0], waiting.popleft()[1].result()


def _read(one: Found, limits: Limits, size: int) -> Answer:
    try:
        look, info = read(one.read(), limits, "imagenet", InputSpec(size, "raw"))
    except (ImageError, OSError) as error:
        return error
    return info.sha256, look
