import pytest

from service.inference.class_names import UNKNOWN, ClassNames
from service.inference.labels import ClassTable
from service.models.served import IMAGENET_CLASSES

IMAGENET = ClassNames(ClassTable.read(IMAGENET_CLASSES))


@pytest.mark.parametrize(
    "name",
    ["n02099601_golden_retriever", "n02099601", "N02099601-x", "Golden Retriever", "golden-retriever-7"],
)  # fmt: skip
def test_a_class_is_found_by_id_or_label(name: str) -> None:
    """Whatever the case and the separators, and whatever follows."""
    assert IMAGENET.find(name) == 207


@pytest.mark.parametrize("name", ["", "bird", "goldenretriever", "a_golden_retriever", "_"])
def test_another_name_is_no_class(name: str) -> None:
    """A part of a word, or a class later in the name, is not taken for one."""
    assert IMAGENET.find(name) == UNKNOWN


def test_the_longest_beginning_wins() -> None:
    """A class whose label begins another's does not hide it."""
    names = ClassNames(ClassTable(("fox", "fox_squirrel"), (None, None), ("", "")))
    assert names.find("fox squirrel 3") == 1
    assert names.find("fox terrier") == 0


def test_a_label_of_two_classes_finds_neither() -> None:
    """ImageNet has a crane that flies and one that lifts: only the id tells them apart."""
    assert IMAGENET.find("crane") == UNKNOWN
    assert IMAGENET.find("n02012849_crane") == 134
    assert IMAGENET.find("n03126707_crane") == 517
