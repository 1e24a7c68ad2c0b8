"""What a picture costs from its bytes to the model's input, by decoder and resizer; and what each does to the answers.

    .venv/bin/python -m perf.decoding [--images DIR] [--weights mobilenet_v2.weights.h5] [--rounds 9]

Every candidate does the whole path: check the header, hash, decode, crop and resize to uint8 (224, 224, 3). They take
turns over the same pictures in one process, first with one thread, then with two. Milliseconds are of processor time in
one thread; the gain of two threads is of wall time, and means something on two free cores only. All are medians of the
rounds. The photos come as they are (their names begin with the WordNet id), upsampled to 1600x1200 and to 4000x3000
(the first 12 and 4), and once as they are for an input of 80, where draft halves real detail. With --weights (of
keras.applications.MobileNetV2) the answers are compared with those of the first candidate. Candidates whose package
is not installed are named and left out: `pip install simplejpeg opencv-python-headless`.
"""

import argparse
import hashlib
import importlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from service.inference.headers import read_header
from service.inference.images import REDUCING_GAP, RESIZE_RATIO, Limits, Picture, crop_box, decode, read
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec

ROOT = Path(__file__).parents[1]
SHARED_PHOTOS = ROOT.parent / "shared/data/images"
IMAGENET_CLASSES = ROOT / "service/models/imagenet_classes.tsv"
LIMITS = Limits(max_bytes=100_000_000, max_pixels=50_000_000)
MARGIN = 4
"""Pixels beyond its box that a bilinear filter sees when it leaves at least a quarter of each side."""

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Candidate = Callable[[bytes, int], Pixels]


class Pictures(NamedTuple):
    name: str
    size: int
    files: list[bytes]
    wnids: list[str]


def served(data: bytes, size: int) -> Pixels:
    return read(data, LIMITS, "imagenet", InputSpec(size, "raw"))[0]


def drafted(data: bytes, size: int, gap: int = REDUCING_GAP) -> Picture:
    """Hashed, checked and decoded, by Pillow; draft leaves `gap` times of what the resizer will leave."""
    hashlib.sha256(data).hexdigest()
    return decode(data, LIMITS, gap * round(size * RESIZE_RATIO) if gap else None)


def opened(data: bytes, size: int, *, block: int = 65_536, mode: str | None = None) -> Picture:
    """The same without what only other pictures than plain JPEGs need, to change what `decode` does not let change."""
    hashlib.sha256(data).hexdigest()
    image = JpegImageFile(BytesIO(read_header(data, LIMITS.max_pixels).data))
    (width, height), enough = image.size, REDUCING_GAP * round(size * RESIZE_RATIO)
    image.decodermaxblock = block
    draft = image.draft(mode, (enough, enough))
    image.load()
    pixels = image if image.mode in ("RGB", "YCbCr") else image.convert("RGB")
    return Picture(pixels, "JPEG", width, height, round(width / draft[1][2]) if draft else 1)


def turbo(simplejpeg: Any, data: bytes, size: int, **options: bool) -> Picture:
    """The same with libjpeg-turbo by itself: four components, damage and EXIF would need Pillow beside it."""
    hashlib.sha256(data).hexdigest()
    jpeg, enough = read_header(data, LIMITS.max_pixels).data, REDUCING_GAP * round(size * RESIZE_RATIO)
    height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
    reduced = next((factor for factor in (8, 4, 2) if min(height, width) >= factor * enough), 1)
    least = (-(-height // reduced), -(-width // reduced)) if reduced > 1 else (0, 0)
    pixels = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=least[0], min_width=least[1], **options)
    return Picture(pixels, "JPEG", width, height, reduced)  # the array stands in for an image, for what follows


def by_pillow(picture: Picture, size: int, filter: Image.Resampling = Image.Resampling.BILINEAR) -> Pixels:
    image = picture.pixels if isinstance(picture.pixels, Image.Image) else Image.fromarray(picture.pixels)
    small = image.resize((size, size), filter, box=crop_box(picture, size)).convert("RGB")
    return np.frombuffer(small.tobytes(), np.uint8).reshape(size, size, 3)


def part_of(picture: Picture, size: int) -> tuple[Pixels, Box]:
    """The pixels that the resizer needs, and its box within them."""
    (left, top, right, bottom), whole = crop_box(picture, size), picture.pixels
    x, y = max(0, int(left) - MARGIN), max(0, int(top) - MARGIN)
    ends = int(right) + 1 + MARGIN, int(bottom) + 1 + MARGIN
    if isinstance(whole, Image.Image):
        pixels = np.asarray(whole.crop((x, y, min(whole.width, ends[0]), min(whole.height, ends[1]))))
    else:
        pixels = whole[y : ends[1], x : ends[0]]
    return pixels, (left - x, top - y, right - x, bottom - y)


def by_cykooz(cykooz: Any, picture: Picture, size: int) -> Pixels:
    pixels, box = part_of(picture, size)
    part = cykooz.ImageData(pixels.shape[1], pixels.shape[0], cykooz.PixelType.U8x3, pixels.tobytes())
    small = cykooz.ImageData(size, size, cykooz.PixelType.U8x3)
    cykooz.Resizer().resize(part, small, _bilinear(cykooz, box))
    return np.frombuffer(small.get_buffer(), np.uint8).reshape(size, size, 3)


def in_shared_memory(cykooz: Any, picture: Picture, size: int) -> Pixels:
    """It reads Pillow's private structures: measured, never to be served."""
    small = Image.new("RGB", (size, size))
    cykooz.Resizer().resize_pil(picture.pixels, small, _bilinear(cykooz, crop_box(picture, size)))
    return np.frombuffer(small.tobytes(), np.uint8).reshape(size, size, 3)


def _bilinear(cykooz: Any, box: Box) -> Any:
    crop = cykooz.CropBox(box[0], box[1], box[2] - box[0], box[3] - box[1])
    return cykooz.ResizeOptions(cykooz.ResizeAlg.convolution(cykooz.FilterType.bilinear), False, crop)


def by_opencv(cv2: Any, picture: Picture, size: int) -> Pixels:
    """Two taps in each direction, whatever the scale: fast, and not the antialiased resize of the profile."""
    pixels, box = part_of(picture, size)
    left, top, right, bottom = map(round, box)
    small: Pixels = cv2.resize(pixels[top:bottom, left:right], (size, size), interpolation=cv2.INTER_LINEAR)
    return small


def candidates() -> Iterator[tuple[str, Candidate]]:
    yield "Pillow, decoded whole", lambda data, size: by_pillow(drafted(data, size, 0), size)
    yield "Pillow, draft to >= 256", lambda data, size: by_pillow(drafted(data, size, 1), size)
    yield "Pillow, draft to >= 512", lambda data, size: by_pillow(drafted(data, size), size)
    yield "**that, resized with SIMD: served**", served
    yield "Pillow, one block for the decoder", lambda data, size: by_pillow(opened(data, size, block=2**25), size)
    yield "Pillow, resized as YCbCr", lambda data, size: by_pillow(opened(data, size, mode="YCbCr"), size)
    yield "Pillow, box filter", lambda data, size: by_pillow(drafted(data, size), size, Image.Resampling.BOX)
    packages: dict[str, Any] = {}
    for name in ("simplejpeg", "cykooz_resizer", "cv2"):
        try:
            packages[name] = importlib.import_module(name)
        except ImportError:
            print(f"left out: {name} is not installed")
    jpeg, resizer, opencv = map(packages.get, ("simplejpeg", "cykooz_resizer", "cv2"))
    if jpeg:
        fast = {"fastdct": True, "fastupsample": True}
        yield "simplejpeg", lambda data, size: by_pillow(turbo(jpeg, data, size), size)
        yield "simplejpeg, fast", lambda data, size: by_pillow(turbo(jpeg, data, size, **fast), size)
    if resizer:
        yield "served, in shared memory", lambda data, size: in_shared_memory(resizer, drafted(data, size), size)
    if jpeg and resizer:
        yield "simplejpeg, cykooz.resizer", lambda data, size: by_cykooz(resizer, turbo(jpeg, data, size), size)
    if jpeg and opencv:
        opencv.setNumThreads(1)
        yield "simplejpeg, OpenCV linear", lambda data, size: by_opencv(opencv, turbo(jpeg, data, size), size)


def enlarged(data: bytes, size: tuple[int, int]) -> bytes:
    """The photo, upsampled and saved as a camera might: JPEG quality 90, colours at half the resolution."""
    image, file = Image.open(BytesIO(data)).convert("RGB"), BytesIO()
    size = size if image.width >= image.height else size[::-1]
    image.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
    return file.getvalue()


def run(candidate: Candidate, pictures: Pictures) -> float:
    """Milliseconds of processor time for each picture."""
    began = time.thread_time()
    for data in pictures.files:
        candidate(data, pictures.size)
    return (time.thread_time() - began) * 1000 / len(pictures.files)


def gain_of_two(candidate: Candidate, pictures: Pictures) -> tuple[float, float]:
    """Processor time as above, and how many times as many pictures two threads do as one in the same wall time."""
    with ThreadPoolExecutor(2) as pool:
        began = time.perf_counter()
        cost = run(candidate, pictures)
        alone = time.perf_counter() - began
        list(pool.map(run, [candidate] * 2, [pictures] * 2))
        return cost, 2 * alone / (time.perf_counter() - began - alone)


def scores_of(weights: Path, size: int) -> Callable[[list[Pixels]], NDArray[np.float32]]:
    keras = importlib.import_module("keras")
    model = keras.applications.MobileNetV2(weights=None, input_shape=(size, size, 3))
    model.load_weights(weights)
    return lambda inputs: np.asarray(model(np.stack(inputs).astype(np.float32) / 127.5 - 1, training=False))


def answers(scores: NDArray[np.float32], reference: NDArray[np.float32], classes: list[int]) -> str:
    """Agreement in the first label, change of its probability, and accuracy by the names of the files."""
    best, top = reference.argmax(1), np.argsort(-scores, axis=1)
    apart = np.abs(np.take_along_axis(scores - reference, best[:, None], 1)).mean()
    hits = (top[:, :5] == np.array(classes)[:, None]).any(1).mean()
    same, first = (top[:, 0] == best).mean(), (top[:, 0] == classes).mean()
    return f"{same:.3f} | {apart:.4f} | {first:.3f} / {hits:.3f}"


def table(rows: list[tuple[str, Candidate]], pictures: Pictures, weights: Path | None, rounds: int) -> None:
    mean = statistics.mean(map(len, pictures.files)) / 1000
    print(f"\n{pictures.name}: {len(pictures.files)} pictures of {mean:.0f} kB on average, input {pictures.size}\n")
    took: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in rows}
    for _, (name, candidate) in itertools.product(range(rounds), rows):
        took[name].append(gain_of_two(candidate, pictures))
    ms, gain = ({name: statistics.median(pair[i] for pair in pairs) for name, pairs in took.items()} for i in (0, 1))
    inputs = {name: [candidate(data, pictures.size) for data in pictures.files] for name, candidate in rows}
    print("| path | ms | times as fast | gain of two threads | mean / max pixel apart", end="")
    print(" | top-1 same | change of p | top-1 / top-5 right |" if weights else " |")
    print("|---" * (8 if weights else 5) + "|")
    first = rows[0][0]
    if weights:
        score, classes = scores_of(weights, pictures.size), classes_of(pictures.wnids)
        reference = score(inputs[first])
    for name, _ in rows:
        apart = np.abs(np.stack(inputs[name]).astype(int) - np.stack(inputs[first]))
        print(f"| {name} | {ms[name]:.2f} | {ms[first] / ms[name]:.2f} | {gain[name]:.2f}", end="")
        print(f" | {apart.mean():.2f} / {apart.max()}", end="")
        print(f" | {answers(score(inputs[name]), reference, classes)} |" if weights else " |")


def classes_of(wnids: list[str]) -> list[int]:
    known = ClassTable.read(IMAGENET_CLASSES).wnids
    return [known.index(wnid) for wnid in wnids]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = SHARED_PHOTOS.exists()
    parser.add_argument("--images", type=Path, default=SHARED_PHOTOS if there else None, required=not there)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    inside = chosen.images.iterdir() if chosen.images.is_dir() else ()
    paths = sorted(path for path in inside if path.suffix.lower() in (".jpeg", ".jpg"))
    if not paths:
        parser.error(f"there is no JPEG in {chosen.images}; --images names a folder of photos")
    if chosen.weights and not chosen.weights.is_file():
        parser.error(f"there is no file {chosen.weights}; --weights names MobileNetV2's, or is left out")
    files, wnids = [path.read_bytes() for path in paths], [path.name.split("_")[0] for path in paths]
    large = [enlarged(data, (1600, 1200)) for data in files[:12]]
    huge = [enlarged(data, (4000, 3000)) for data in files[:4]]
    rows = list(candidates())
    for pictures, rounds in (
        (Pictures("As they are", 224, files, wnids), chosen.rounds),
        (Pictures("1600x1200", 224, large, wnids[:12]), chosen.rounds),
        (Pictures("4000x3000", 224, huge, wnids[:4]), max(3, chosen.rounds // 3)),
        (Pictures("As they are, for a small model", 80, files, wnids), chosen.rounds),
    ):
        table(rows, pictures, chosen.weights, rounds)


if __name__ == "__main__":
    main()
