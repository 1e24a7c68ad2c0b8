"""One model that can answer: how its engine is made, and all that its answers need. Not loaded yet."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from service.inference.engines.engine import Engine
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec, ModelInfo

Identity = tuple[ModelInfo, str]


@dataclass(frozen=True)
class KerasSource:
    """What the model is as a Keras model: `build` makes it, `weights` are loaded into it, None for random ones."""

    build: Callable[[], Any]
    weights: Path | None


@dataclass(frozen=True, eq=False)
class Serving:
    """`engine` makes a new engine, not yet loaded, whenever it is called: at the start, when the one that answers has
    to be recreated, and when it comes back by a rollback. It is called in the thread that will own the engine.

    `curve_file` is where its measured curve is kept. `notice` is a paragraph and `brief` one line for every answer,
    where the model is not what one would expect; `details` is the notice for admins, with this machine's paths.
    `keras` is None where there are no Keras weights to look into.
    """

    engine: Callable[[], Engine]
    model: ModelInfo
    classes: ClassTable
    input: InputSpec
    curve_file: Path | None = None
    notice: str | None = None
    brief: str | None = None
    details: str | None = None
    keras: KerasSource | None = None

    @cached_property
    def identity(self) -> Identity:
        """What its answers are kept under: who takes in the same weights with other labels has another model."""
        return self.model, hashlib.sha256(repr((self.classes.labels, self.classes.wnids)).encode()).hexdigest()
