"""A small version of a picture, for lists."""

from io import BytesIO

from service.inference import images

SIDE_PIXELS = 128
"""At most, across and down: 64 on the page, twice as fine."""
_QUALITY = 80  # of the JPEG: 3 to 6 KB


def thumbnail(data: bytes, limits: images.Limits, side: int = SIDE_PIXELS) -> bytes:
    """The picture, upright, within `side` by `side` pixels, as a JPEG file. Raises as `images.decode`."""
    pixels = images.decode(data, limits, side).pixels
    pixels.thumbnail((side, side))
    file = BytesIO()
    pixels.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
