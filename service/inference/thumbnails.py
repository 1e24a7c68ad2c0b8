"""A small version of a picture, for lists."""

from io import BytesIO

from service.inference import images

SIDE_PIXELS = 128
"""At most, across and down: 64 on the page, twice as fine."""
_QUALITY = 80  # of the JPEG: 3 to 6 KB


def thumbnail(data: bytes, limits: images.Limits) -> bytes:
    """The picture, upright, within SIDE_PIXELS by SIDE_PIXELS, as a JPEG file. Raises as `images.decode`."""
    pixels = images.decode(data, limits, SIDE_PIXELS).pixels
    pixels.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
    file = BytesIO()
    pixels.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
