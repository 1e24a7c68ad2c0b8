"""Frozen values that travel between the rooms. Durations are milliseconds, scores are probabilities in [0, 1]."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Normalisation = Literal["caffe", "tf", "torch", "raw", "unit"]
"""How an architecture wants its pixels: caffe = BGR minus the ImageNet mean; tf = [-1, 1]; torch = [0, 1] then
standardised by the ImageNet mean and deviation; raw = 0..255; unit = [0, 1]. Names as in keras.applications."""

Released = Literal["full", "window", "idle", "deadline", "drain"]
"""Why a batch left the queue."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which model made an answer. `weights`: imagenet, random, demo, or the file's name."""

    name: str
    version: str
    engine: str
    weights: str


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the model wants to eat: uint8 (size, size, 3) RGB, which the engine normalises."""

    size: int
    normalisation: Normalisation


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The picture as it came: width and height after EXIF rotation, format as sniffed (JPEG, PNG, ...)."""

    sha256: str
    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Label:
    """One line of the answer. `wnid` is the WordNet id, None for classes that have none."""

    label: str
    wnid: str | None
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the time went. A cached answer has no batch: batch_size 0 and released_by None."""

    decode_ms: float
    queue_ms: float
    infer_ms: float
    total_ms: float
    batch_size: int
    released_by: Released | None
    cached: bool


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture: labels sorted by falling score, never empty. `notice`: one line about a model that is
    not what one would expect. `scores`: of all classes, float32, where the model itself answered."""

    labels: tuple[Label, ...]
    model: ModelInfo
    image: ImageInfo
    receipt: Receipt
    notice: str | None = None
    scores: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
