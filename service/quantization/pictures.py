"""A folder of pictures -> two sets that share none: one to calibrate with, one to check with."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.classify import pictures as picture_files
from service.counting import counted
from service.errors import BadRequest, ImageError
from service.inference.class_names import UNKNOWN, ClassNames
from service.inference.engines.engine import Pixels
from service.inference.images import Limits, read
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec

Labels = Literal["none", "folders", "names"]

LEAST = 30
"""Pictures of each set: fewer checked, and 0.97 could not be told from 1."""
MOST_CHECKED = 1000
"""At this many the agreement is known to half a point; of ResNet50 they take a minute on two cores."""


@dataclass(frozen=True)
class PictureSets:
    """Both uint8 (n, size, size, 3). `truth`: the class of each checked picture, int64 (n,), UNKNOWN if not known."""

    calibration: Pixels
    check: Pixels
    truth: NDArray[np.int64]
    unreadable: int
    duplicates: int


def gather(
    folder: Path, spec: InputSpec, limits: Limits, classes: ClassTable, *,
    labels: Labels, calibrate: int, seed: int, threads: int,
) -> PictureSets:  # fmt: skip
    """Read at most `calibrate` + MOST_CHECKED pictures of the folder and below it, and share them out.

    Which side a picture is on depends on its pixels and the seed, not on its name; of pictures with the same pixels
    one stays. Calibration gets at most half. Raises BadRequest when there are too few, or no label means a class.
    """
    files = sorted(picture_files([folder]))
    files = random.Random(seed).sample(files, min(len(files), calibrate + MOST_CHECKED))
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        found = list(pool.map(lambda path: _read(path, limits, spec), files))
    distinct: dict[bytes, tuple[Path, Pixels]] = {}
    for path, pixels in sorted(zip(files, found, strict=True), key=lambda pair: pair[0]):
        if pixels is not None:
            distinct.setdefault(hashlib.sha256(b"%d:%b" % (seed, pixels.tobytes())).digest(), (path, pixels))
    unreadable = sum(pixels is None for pixels in found)
    _check_enough(folder, len(distinct), unreadable)
    shared_out = [distinct[key] for key in sorted(distinct)]
    calibrate = min(calibrate, len(distinct) // 2)
    checked = shared_out[calibrate : calibrate + MOST_CHECKED]
    return PictureSets(
        calibration=np.stack([pixels for _, pixels in shared_out[:calibrate]]),
        check=np.stack([pixels for _, pixels in checked]),
        truth=_truth([path for path, _ in checked], folder, labels, classes),
        unreadable=unreadable,
        duplicates=len(files) - unreadable - len(distinct),
    )


def _read(path: Path, limits: Limits, spec: InputSpec) -> Pixels | None:
    try:
        with path.open("rb") as file:
            return read(file.read(limits.max_bytes + 1), limits, "imagenet", spec)[0]
    except (OSError, ImageError):
        return None


def _check_enough(folder: Path, count: int, unreadable: int) -> None:
    if count >= 2 * LEAST:
        return
    beside = f" ({unreadable} more cannot be read)" if unreadable else ""
    found = f"There {'is' if count == 1 else 'are'} {counted(count, 'different picture')}"
    raise BadRequest(
        f"{found} in {folder}{beside}; at least {2 * LEAST} are needed, {LEAST} to "
        f"calibrate with and {LEAST} others to check with. A few hundred of the kind that will be served are good."
    )


def _truth(paths: list[Path], folder: Path, labels: Labels, classes: ClassTable) -> NDArray[np.int64]:
    if labels == "none":
        return np.full(len(paths), UNKNOWN)
    name = _folder_name if labels == "folders" else _file_name
    names = [name(path, folder) for path in paths]
    known = ClassNames(classes)
    truth = np.array([known.find(name) for name in names])
    if (truth == UNKNOWN).all():
        found = ", ".join(sorted(set(names) - {""})[:3]) or f"the pictures are in no folder below {folder}"
        raise BadRequest(
            f"--labels {labels}: no picture's class is known ({found}). A {labels.removesuffix('s')} must begin with "
            f"a label or a WordNet id of the model, such as {classes.wnids[0] or classes.labels[0]}."
        )
    return truth


def _folder_name(path: Path, folder: Path) -> str:
    inside = path.relative_to(folder).parts
    return inside[0] if len(inside) > 1 else ""


def _file_name(path: Path, folder: Path) -> str:
    return path.stem
