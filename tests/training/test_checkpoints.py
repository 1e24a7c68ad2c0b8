"""What a fitting goes on from."""

import math
from pathlib import Path

import numpy as np
import pytest

from service.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from service.training.runs import Epoch

EPOCH = Epoch(
    phase="head", epoch=1, loss=0.5, accuracy=0.8, val_loss=0.6, val_accuracy=0.7, learning_rate=0.001, seconds=2
)


def checkpoint(value: float = 1.0) -> Checkpoint:
    state = [np.full((2, 3), value, np.float32), np.array([7, 9], np.uint32)]
    return Checkpoint((EPOCH,), math.inf, state, [np.array(3)], [np.full((2, 3), value / 2, np.float32)])


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Epochs, the start's loss, and every array with its type and shape."""
    write_checkpoint(tmp_path / "checkpoint", written := checkpoint())
    read = read_checkpoint(tmp_path / "checkpoint")
    assert read is not None
    assert (read.epochs, read.start_loss) == (written.epochs, written.start_loss)
    for part in ("state", "optimizer", "best"):
        for found, expected in zip(getattr(read, part), getattr(written, part), strict=True):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype


def test_without_one_a_fitting_begins_anew(tmp_path: Path) -> None:
    """There is none before the first epoch is whole."""
    assert read_checkpoint(tmp_path / "checkpoint") is None


@pytest.mark.parametrize("kept", [0, 100, -100])
def test_a_damaged_one_is_none(tmp_path: Path, kept: int) -> None:
    """Cut off anywhere it is as if it were not there."""
    write_checkpoint(tmp_path, checkpoint())
    path = tmp_path / "state.npz"
    path.write_bytes(path.read_bytes()[:kept])
    assert read_checkpoint(tmp_path) is None


def test_a_full_disk_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no beginning of a new one."""
    write_checkpoint(tmp_path, checkpoint(1.0))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(tmp_path, checkpoint(2.0))
    read = read_checkpoint(tmp_path)
    assert read is not None
    assert read.state[0][0, 0] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]
