"""What a load is made of."""

from io import BytesIO
from itertools import islice
from pathlib import Path

import pytest
from PIL import Image

from service.errors import BadRequest
from service.tuning.pictures import MOST_FILES, Distinct, photos


def test_made_photos_are_of_common_size_and_weight() -> None:
    """500x375 JPEGs of about 96 kB, still pictures with something appended."""
    made = photos(None)
    assert len(set(made)) == len(made) == 40
    assert 80_000 < sum(map(len, made)) / 40 < 120_000
    with Image.open(BytesIO(next(Distinct(made)))) as picture:
        picture.load()
        assert picture.size == (500, 375)


def test_no_two_pictures_are_alike() -> None:
    """Not in one supply, nor in two: a cache that remembers the last load would help otherwise."""
    supplies = [Distinct([b"a", b"b"]) for _ in range(2)]
    drawn = [picture for supply in supplies for picture in islice(iter(supply.__next__, None), 100)]
    assert len(set(drawn)) == 200


def test_a_folder(tmp_path: Path) -> None:
    """Its files by name, no more than are held in memory; none is an error in words."""
    with pytest.raises(BadRequest, match="no file in"):
        photos(tmp_path)
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number:04}.jpg").write_bytes(b"%d" % number)
    (tmp_path / "folder").mkdir()
    assert photos(tmp_path) == [b"%d" % number for number in range(MOST_FILES)]
