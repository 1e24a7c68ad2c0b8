"""What a load is made of: photos of a folder or made ones, and never the same bytes twice."""

import os
import random
from io import BytesIO
from itertools import islice
from pathlib import Path

from PIL import Image

from service.errors import BadRequest

MADE = 40
MOST_FILES = 500  # they are held in memory: 50 MB of photos of common size
MOST_BYTES = 512 * 1024 * 1024


def photos(folder: Path | None) -> list[bytes]:
    """The files of the folder, the first 500 by name; without one, made JPEGs of the size and weight of a mean
    ImageNet photo (500x375, ~96 kB). Raises BadRequest when the folder has no files or 512 MiB of them."""
    if folder is None:
        return [_made(random.Random(number)) for number in range(MADE)]
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = list(islice((path for path in inside if path.is_file()), MOST_FILES))
    if not paths:
        raise BadRequest(f"There is no file in {folder}. Name a folder of pictures, or none for made ones.")
    if sum(path.stat().st_size for path in paths) > MOST_BYTES:
        raise BadRequest(f"The pictures in {folder} have more than {MOST_BYTES >> 20} MiB. Name a smaller folder.")
    return [path.read_bytes() for path in paths]


def _made(chance: random.Random) -> bytes:
    coarse = Image.frombytes("RGB", (63, 47), chance.randbytes(63 * 47 * 3))
    grain = Image.frombytes("RGB", (500, 375), chance.randbytes(500 * 375 * 3))
    smooth = coarse.resize((500, 375), Image.Resampling.BICUBIC)
    Image.blend(smooth, grain, 0.12).save(file := BytesIO(), "JPEG", quality=92)
    return file.getvalue()


class Distinct:
    """An endless supply of pictures no two of which have the same bytes, so that no cache helps, not even one that
    remembers an earlier load: random letters and a counter are appended after the picture's end."""

    def __init__(self, pictures: list[bytes]) -> None:
        self._pictures = pictures
        self._salt = os.urandom(8).hex().encode()
        self._count = 0

    def __next__(self) -> bytes:
        self._count += 1
        return b"%b%b%016d" % (self._pictures[self._count % len(self._pictures)], self._salt, self._count)
