"""What a fitting needs to go on from, in one file that is replaced whole: `checkpoint/state.npz`."""

import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from service.files import sync
from service.training.runs import Epoch

Arrays = Sequence[NDArray[Any]]
_EPOCHS = TypeAdapter(tuple[Epoch, ...])
_PARTS = ("state", "optimizer", "best")


@dataclass(frozen=True)
class Checkpoint:
    """After a whole epoch. `state`: every variable of what learns, seeds of chance among them; `best`: the weights of
    the epoch with the least validation loss; `start_loss`: the validation loss that its phase began with."""

    epochs: tuple[Epoch, ...]
    start_loss: float
    state: Arrays
    optimizer: Arrays
    best: Arrays


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the one that is there: after a power cut there is the old or the new one. Raises OSError."""
    folder.mkdir(exist_ok=True)
    path, new = folder / "state.npz", folder / "state.npz.new"
    arrays = {f"{part}-{index}": array for part in _PARTS for index, array in enumerate(getattr(checkpoint, part))} | {
        "epochs": np.frombuffer(_EPOCHS.dump_json(checkpoint.epochs), np.uint8)
    }
    try:
        with new.open("wb") as file:
            np.savez(file, allow_pickle=False, start_loss=np.float64(checkpoint.start_loss), **arrays)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync(folder)
    except BaseException:
        with suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The last one; None when there is none, or none that can be read."""
    try:
        with (folder / "state.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Checkpoint(
                _EPOCHS.validate_json(file["epochs"].tobytes()),
                float(file["start_loss"]),
                *([file[f"{part}-{index}"] for index in range(_count(file.files, part))] for part in _PARTS),
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):  # ValidationError is a ValueError
        return None


def _count(names: Sequence[str], part: str) -> int:
    return sum(name.startswith(f"{part}-") for name in names)
