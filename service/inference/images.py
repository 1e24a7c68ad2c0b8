"""Bytes → checked, upright RGB picture → model input. Pure functions, safe in any number of threads.

What is shown is defined so: the first frame only; EXIF orientation applied; transparency over white; 16-bit grey
scaled to 8 bits, not clipped; whole numbers of 32 bits scaled from the smallest of 0..255 and 0..65535 that holds
them, floats also from 0..1, anything else from its own least to its greatest value, with NaN black; four-component
JPEG inverted when Adobe's marker says so. Colour profiles are ignored: every picture is taken as sRGB. A large
JPEG may be decoded at a half, a quarter or an eighth of its size, for a model that sees less than half of what is left.
"""

import ctypes
import hashlib
import math
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, _imaging
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from service.errors import ImageError, ImageTooLarge
from service.inference.headers import Header, check_pixels, corrupt, orientation, read_header
from service.inference.predictions import ImageInfo, InputSpec
from service.inference.resizing import resize
from service.settings import Profile

# Pillow warns about harmless oddities in words taken from the file, and Python remembers every new text for ever.
# Set once, on import: catch_warnings around each call would not be thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")
# libtiff writes a line to stderr, past all logging, for each broken row: gigabytes for a small fax. Where Pillow's
# own copy of it cannot be reached, it stays talkative.
with suppress(OSError, AttributeError):
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)

# The classes themselves, not Image.open: it tries several decoders on a file, and it loads every plugin there is.
DECODERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LEFT_WAS_RIGHT, TOP_WAS_BOTTOM = {2, 3, 6, 7}, {3, 4, 7, 8}
"""Turns after which the left (top) of the picture was at the right or the bottom (either) of the file's."""
TILE_PIXELS = 1_000_000
"""Pixels of 32 bits are scaled so many at a time: each whole copy of 50 megapixels would be 200 MB."""
REDUCING_GAP = 2
"""How much of a picture is left when a decoder reduces it: at least so many times what the resizer will leave. At 1
the probabilities of upsampled photos moved six times as much, and first labels where the halved detail was real."""
RESIZE_RATIO = 256 / 224
"""The imagenet profile: shorter side to 256, then the middle 224, as torchvision's reference transforms do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one picture: bytes as sent, pixels by its header (of the whole canvas)."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels in mode RGB, upright; format as sniffed (JPEG, PNG, GIF, WEBP, BMP, TIFF).

    Width and height are those of the file, after rotation. A pixel may stand for `reduced` by `reduced` of them; the
    corner of the picture then is at `left`, `top`, less than one pixel from that of `pixels`.
    """

    pixels: Image.Image
    format: str
    width: int
    height: int
    reduced: int = 1
    left: float = 0
    top: float = 0


def check(data: bytes, limits: Limits) -> str:
    """The format of a picture that decode would begin to read, by its header alone. Raises as decode does."""
    return _header(data, limits).format


def read(
    data: bytes, limits: Limits, profile: Profile, spec: InputSpec, *, sha256: str | None = None
) -> tuple[NDArray[np.uint8], ImageInfo]:
    """decode and to_input in one call, for a pool thread. Raises as decode does.

    `sha256` of the data, in hex, is computed here unless the caller knows it.
    """
    picture = decode(data, limits, REDUCING_GAP * _shorter_side(spec.size) if profile == "imagenet" else None)
    info = ImageInfo(sha256 or hashlib.sha256(data).hexdigest(), picture.width, picture.height, picture.format)
    return to_input(picture, profile, spec), info


def decode(data: bytes, limits: Limits, enough: int | None = None) -> Picture:
    """The first frame of a JPEG, PNG, GIF, WebP, BMP or TIFF file, upright, in RGB.

    A JPEG whose shorter side is at least twice, four or eight times `enough` pixels is decoded at so much less of its
    size: its decoder then computes fewer pixels. All others, and all when it is None, are decoded whole.
    Raises ImageTooLarge, ImageTypeUnsupported, ImageTooManyPixels (all before any pixel is allocated) or
    ImageCorrupt (broken or truncated), and nothing else.
    """
    header = _header(data, limits)
    try:
        return _picture(header, limits.max_pixels, enough)
    except ImageError:
        raise
    except Exception as error:  # Pillow raises nearly every type there is on broken files, MemoryError included
        raise corrupt(header.format, "it is damaged, truncated or of an unusual kind") from error


def to_input(picture: Picture, profile: Profile, spec: InputSpec) -> NDArray[np.uint8]:
    """uint8 (size, size, 3), RGB, C-contiguous; to normalise it is the engine's work.

    `keras`: nearest squash, the same bytes as keras.utils.load_img(target_size=…) (which does not rotate by EXIF).
    `imagenet`: torchvision's Resize(size · 256/224) and CenterCrop(size), bilinear and antialiased.
    """
    size = spec.size
    if profile == "imagenet":
        return resize(picture.pixels, size, crop_box(picture, size))
    small = picture.pixels.resize((size, size), Image.Resampling.NEAREST)
    return np.frombuffer(small.tobytes(), np.uint8).reshape(size, size, 3)


def _header(data: bytes, limits: Limits) -> Header:
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            f"The picture has {len(data):,} bytes; the limit is {limits.max_bytes:,}. "
            "Save it smaller, or raise GLIMT_MAX_IMAGE_BYTES."
        )
    return read_header(data, limits.max_pixels)


def _shorter_side(size: int) -> int:
    return round(size * RESIZE_RATIO)


def crop_box(picture: Picture, size: int) -> tuple[float, float, float, float]:
    """The part of `picture.pixels` that torchvision's resize and centre crop leave: left, top, right, bottom.

    Resizing this part alone gives the same pixels but for rounding (Pillow's filter sees beyond the box) without
    ever making the rest: for 1 by 10,000 pixels that would be 256 by 2,560,000.
    """
    shorter, target = min(picture.width, picture.height), _shorter_side(size)
    resized_width, resized_height = int(target * picture.width / shorter), int(target * picture.height / shorter)
    across, down = picture.width / resized_width, picture.height / resized_height
    left, top = round((resized_width - size) / 2), round((resized_height - size) / 2)
    return (
        picture.left + left * across / picture.reduced,
        picture.top + top * down / picture.reduced,
        picture.left + (left + size) * across / picture.reduced,
        picture.top + (top + size) * down / picture.reduced,
    )


def _picture(header: Header, max_pixels: int, enough: int | None) -> Picture:
    image = DECODERS[header.format](BytesIO(header.data))
    width, height = image.size
    check_pixels(width, height, max_pixels)  # the decoder's reading of the header, before it allocates
    drafted = image.draft(None, (enough, enough)) if enough else None  # None but for JPEG
    reduced = round(width / drafted[1][2]) if drafted else 1
    image.load()
    turn = header.orientation if header.format != "WEBP" else orientation(image.info.get("exif", b""))
    pixels = _rgb(image, header)
    if turn in TURNS:
        pixels = pixels.transpose(TURNS[turn])
    if reduced == 1:
        return Picture(pixels, header.format, pixels.width, pixels.height)
    if turn >= 5:
        width, height = height, width
    # The last column and row of the file may be padded to a whole pixel.
    left = pixels.width - width / reduced if turn in LEFT_WAS_RIGHT else 0
    top = pixels.height - height / reduced if turn in TOP_WAS_BOTTOM else 0
    return Picture(pixels, header.format, width, height, reduced, left, top)


def _rgb(image: Image.Image, header: Header) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _from_16_bits(image, header)
    if image.mode in ("I", "F"):
        return _from_numbers(image, header.white_is_zero)
    if image.mode == "CMYK" and header.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every four-component JPEG for an inverted one
    if "transparency" in image.info and image.mode != "P":
        image.info["transparency"] = _key_in_8_bits(image.info["transparency"], header.bits)
    if image.has_transparency_data:
        layer = image if image.mode == "RGBA" else image.convert("RGBA")  # which would copy it
        image = Image.new("RGB", layer.size, "white")
        image.paste(layer, mask=layer)
    return image if image.mode == "RGB" else image.convert("RGB")


def _key_in_8_bits(key: int | tuple[int, ...], bits: int) -> int | tuple[int, ...]:
    """A PNG's transparent colour is given in the file's depth, while Pillow has scaled the pixels to 8 bits."""
    top = 2**bits - 1
    if isinstance(key, tuple):
        return tuple((channel & top) * 255 // top for channel in key)
    return key if bits == 1 else (key & top) * 255 // top


def _from_16_bits(image: Image.Image, header: Header) -> Image.Image:
    """Scale by table: 16 bits, or the 12 that TIFF knows too."""
    top = 2**header.bits - 1
    table = np.rint(np.minimum(np.arange(65_536), top) * (255 / top)).astype(np.int32)
    if header.white_is_zero:
        table = 255 - table
    if "transparency" in image.info:
        table[image.info["transparency"]] = 255
    return image.convert("I").point(table.tolist(), "L").convert("RGB")


def _from_numbers(image: Image.Image, white_is_zero: bool) -> Image.Image:
    """Scale 32-bit whole numbers or floats by the rule in the module's docstring. Closes `image`, for its memory."""
    low, high = _range(image)
    factor = 255 / (high - low) if high > low else 0.0
    grey = np.empty((image.height, image.width), np.uint8)
    for place, values in _tiles(image):
        with np.errstate(all="ignore"):
            values -= low
            values *= factor
        np.nan_to_num(values, copy=False, nan=0, posinf=255, neginf=0)
        grey[place] = np.rint(np.clip(values, 0, 255, out=values), out=values)
    image.close()
    return Image.fromarray(np.invert(grey, out=grey) if white_is_zero else grey).convert("RGB")


def _range(image: Image.Image) -> tuple[float, float]:
    """The values to be shown as black and as white."""
    low, high = math.inf, -math.inf
    for _, values in _tiles(image):
        finite = values if np.isfinite(values).all() else values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low < 0:
        return low, high
    tops = (255.0, 65_535.0) if image.mode == "I" else (1.0, 255.0, 65_535.0)
    return next(((0.0, top) for top in tops if high <= top), (low, high))


def _tiles(image: Image.Image) -> Iterator[tuple[tuple[slice, slice], NDArray[np.float32]]]:
    """Whole rows, or parts of one: where they are (down, across), and a copy of the values."""
    width, height = min(image.width, TILE_PIXELS), max(1, TILE_PIXELS // image.width)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            right, bottom = min(left + width, image.width), min(top + height, image.height)
            tile = image.crop((left, top, right, bottom))
            yield (slice(top, bottom), slice(left, right)), np.array(tile, dtype=np.float32)
