"""Small versions of kept pictures, made when they are asked for."""

import asyncio
from io import BytesIO

from service.errors import ImageError, NotFound
from service.inference import images
from service.store.pictures import PictureStore

SIDE_PIXELS = 128
"""At most, across and down: 64 on the page, twice as fine."""
_QUALITY = 80  # of the JPEG: 3 to 6 KB


class Thumbnails:
    """One is made at a time: a page asks for two dozen at once, and each may be of 50 megapixels."""

    def __init__(self, pictures: PictureStore, limits: images.Limits) -> None:
        self._pictures = pictures
        self._limits = limits
        self._turn = asyncio.Semaphore()

    async def of(self, sha256: str) -> bytes:
        """A JPEG file. Raises NotFound when the picture is not kept, or cannot be shown any more."""
        async with self._turn:
            data = await self._pictures.read(sha256)
            if data is None:
                raise NotFound("This picture was not kept.")
            try:
                return await asyncio.to_thread(thumbnail, data, self._limits)
            except ImageError as error:
                raise NotFound(f"This picture cannot be shown: {error.detail}") from error


def thumbnail(data: bytes, limits: images.Limits) -> bytes:
    """The picture, upright, within SIDE_PIXELS by SIDE_PIXELS, as a JPEG file. Raises as `images.decode`."""
    pixels = images.decode(data, limits, SIDE_PIXELS).pixels
    pixels.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
    file = BytesIO()
    pixels.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
