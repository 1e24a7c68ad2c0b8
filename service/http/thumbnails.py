"""Small versions of kept pictures, made when they are asked for."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from service.errors import ImageError, NotFound
from service.inference import images
from service.inference.thumbnails import SIDE_PIXELS, thumbnail
from service.store.pictures import PictureStore

_NOT_KEPT = "This picture was not kept."


class Thumbnails:
    """One is made at a time: a page asks for two dozen at once, and each may be of 50 megapixels."""

    def __init__(self, pictures: PictureStore, limits: images.Limits, side: int = SIDE_PIXELS) -> None:
        self._pictures = pictures
        self._side = side
        self._limits = limits
        self._turn = asyncio.Semaphore()

    async def answer(self, request: Request, sha256: str) -> Response:
        """As `thumbnail_answer`. Raises NotFound when the picture is not kept, or cannot be shown any more."""
        if not await self._pictures.has(sha256):
            raise NotFound(_NOT_KEPT)
        return await thumbnail_answer(request, sha256, lambda: self._of(sha256))

    async def _of(self, sha256: str) -> bytes:
        async with self._turn:
            data = await self._pictures.read(sha256)
            if data is None:
                raise NotFound(_NOT_KEPT)
            try:
                return await asyncio.to_thread(thumbnail, data, self._limits, self._side)
            except ImageError as error:
                raise NotFound(f"This picture cannot be shown: {error.detail}") from error


async def thumbnail_answer(request: Request, sha256: str | None, make: Callable[[], Awaitable[bytes]]) -> Response:
    """The JPEG file that `make` gives, unless the browser, which asks each time whether it still may, has it already.
    Raises as `make`."""
    headers = {"Cache-Control": "private, no-cache", "ETag": f'"{sha256}"'}
    if sha256 and request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(await make(), 200, headers, "image/jpeg")
