import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import BadRequest
from service.inference.class_names import UNKNOWN
from service.inference.images import Limits
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec
from service.quantization import pictures
from service.quantization.pictures import LEAST, PictureSets, gather

CLASSES = ClassTable(("cat", "dog"), ("n02121808", None), ("", ""))
SPEC = InputSpec(8, "unit")


def write(folder: Path, numbers: Sequence[int], prefix: str = "p") -> None:
    """One-coloured pictures; the same number is the same picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", (12, 12), (number % 256, number // 256, 90)).save(folder / f"{prefix}{number}.png")


def taken(folder: Path, **changes: Any) -> PictureSets:
    options: dict[str, Any] = {"labels": "none", "calibrate": 300, "seed": 0, "threads": 2}
    return gather(folder, SPEC, Limits(10**6, 10**6), CLASSES, **(options | changes))


def colours(batch: Any) -> set[tuple[int, ...]]:
    return {tuple(picture[0, 0]) for picture in batch}


def test_the_sets_share_no_picture_and_miss_none(tmp_path: Path) -> None:
    """Half calibrate when there are not enough, the others check; uint8 as the engine wants it."""
    write(tmp_path, range(100))
    sets = taken(tmp_path)
    assert sets.calibration.shape == sets.check.shape == (50, 8, 8, 3)
    assert sets.calibration.dtype == np.uint8
    assert not colours(sets.calibration) & colours(sets.check)
    assert len(colours(sets.calibration) | colours(sets.check)) == 100


def test_no_more_calibrate_than_asked(tmp_path: Path) -> None:
    """All others check."""
    write(tmp_path, range(100))
    sets = taken(tmp_path, calibrate=30)
    assert (len(sets.calibration), len(sets.check)) == (30, 70)


def test_the_seed_decides(tmp_path: Path) -> None:
    """The same one gives the same sets, another one others."""
    write(tmp_path, range(100))
    first, again, other = taken(tmp_path, seed=1), taken(tmp_path, seed=1), taken(tmp_path, seed=2)
    np.testing.assert_array_equal(first.check, again.check)
    assert colours(first.check) != colours(other.check)


def test_names_do_not_decide(tmp_path: Path) -> None:
    """Renamed and moved pictures stay on their side."""
    write(tmp_path / "a", range(100))
    write(tmp_path / "b" / "below", range(100), prefix="z")
    assert colours(taken(tmp_path / "a").check) == colours(taken(tmp_path / "b").check)


def test_a_copy_is_left_out(tmp_path: Path) -> None:
    """The same pixels in another file, format or folder are one picture: they cannot be on both sides."""
    write(tmp_path / "a", range(80))
    write(tmp_path / "b", range(40))
    Image.open(tmp_path / "a" / "p50.png").save(tmp_path / "again.bmp")
    sets = taken(tmp_path)
    assert len(sets.calibration) + len(sets.check) == 80
    assert not colours(sets.calibration) & colours(sets.check)
    assert sets.duplicates == 41


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """Damaged ones, too large ones and a text under a picture's name; other files are not looked at."""
    write(tmp_path, range(60))
    content = (tmp_path / "p1.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    Image.new("RGB", (2000, 2000)).save(tmp_path / "large.png")
    (tmp_path / "notes.txt").write_text("no picture either")
    sets = taken(tmp_path)
    assert sets.unreadable == 3
    assert len(sets.calibration) + len(sets.check) == 60


def test_too_few_are_refused_with_both_numbers(tmp_path: Path) -> None:
    """Copies and unreadable ones do not count."""
    write(tmp_path / "a", range(2 * LEAST - 1))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "x.png").touch()
    with pytest.raises(BadRequest, match=r"There are 59 different pictures in .* \(1 more cannot be read\).* 60 "):
        taken(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """No picture at all is too few as well."""
    with pytest.raises(BadRequest, match="There are 0 different pictures"):
        taken(tmp_path)


def test_no_more_are_read_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole ImageNet is neither read nor held in memory."""
    monkeypatch.setattr(pictures, "MOST_CHECKED", 40)
    write(tmp_path, range(200))
    sets = taken(tmp_path, calibrate=30)
    assert (len(sets.calibration), len(sets.check)) == (30, 40)


def test_labels_from_folders(tmp_path: Path) -> None:
    """The first folder below the one that was named is the class, however deep the picture lies."""
    write(tmp_path / "dog" / "deep", range(40))
    write(tmp_path / "n02121808 cats", range(100, 140))
    write(tmp_path / "bird", range(200, 240))
    sets = taken(tmp_path, labels="folders")
    assert set(sets.truth) == {0, 1, UNKNOWN}
    for picture, truth in zip(sets.check, sets.truth, strict=True):
        red = int(picture[0, 0, 0])
        assert truth == (1 if red < 40 else 0 if red < 140 else UNKNOWN)


def test_labels_from_names(tmp_path: Path) -> None:
    """The beginning of the file's name is the class."""
    write(tmp_path, range(40), prefix="dog_")
    write(tmp_path, range(100, 140), prefix="n02121808_x")
    sets = taken(tmp_path, labels="names")
    assert [int(picture[0, 0, 0]) < 40 for picture in sets.check] == [truth == 1 for truth in sets.truth]


def test_without_labels_no_truth_is_known(tmp_path: Path) -> None:
    """Names are not looked at unless asked for."""
    write(tmp_path, range(60), prefix="dog")
    assert set(taken(tmp_path).truth) == {UNKNOWN}


@pytest.mark.parametrize(
    ("labels", "found"), [("names", r"p\d+, p\d+, p\d+"), ("folders", "no folder below")], ids=["names", "folders"]
)
def test_labels_that_mean_nothing_are_refused(tmp_path: Path, labels: str, found: str) -> None:
    """What was found, and what would be understood, are in the words."""
    write(tmp_path, range(10, 90))
    with pytest.raises(BadRequest, match=rf"--labels {labels}: .*{found}.*such as n02121808"):
        taken(tmp_path, labels=labels)
