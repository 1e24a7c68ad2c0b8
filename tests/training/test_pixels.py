"""The file of decoded pictures."""

from pathlib import Path

import numpy as np
import pytest

from service.errors import NotFound
from service.training.pixels import FILE, PixelFile, open_pixels


def look(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((8, 8, 3), number, np.uint8)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [1, 3, 4], [2], [0]])
def test_what_was_kept_is_there_in_order(tmp_path: Path, rows: list[int]) -> None:
    """The others leave no trace, and numpy reads the file."""
    with PixelFile(tmp_path, 8) as file:
        assert [file.add(look(number)) for number in range(5)] == [0, 1, 2, 3, 4]
        file.finish(rows)
    pixels = open_pixels(tmp_path)
    assert pixels.shape == (len(rows), 8, 8, 3)
    assert pixels[:, 0, 0, 0].tolist() == rows
    assert (tmp_path / FILE).stat().st_size == 128 + len(rows) * 192


def test_an_unfinished_one_is_none(tmp_path: Path) -> None:
    """What a killed process leaves cannot be taken for pictures."""
    with PixelFile(tmp_path, 8) as file:
        file.add(look(1))
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFound):
            open_pixels(folder)


def test_the_pictures_cannot_be_changed(tmp_path: Path) -> None:
    """A reader's slip does not reach the disk."""
    with PixelFile(tmp_path, 8) as file:
        file.add(look(1))
        file.finish([0])
    with pytest.raises(ValueError, match="read-only"):
        open_pixels(tmp_path)[0] = 7


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    """They would shift all that follow."""
    with PixelFile(tmp_path, 8) as file, pytest.raises(ValueError, match="is needed"):
        file.add(np.zeros((8, 9, 3), np.uint8))
