"""What a network begins with: here with real Keras and weights that were drawn at random."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import BadRequest, NotFound
from service.inference.labels import ClassTable
from service.models.architectures import ARCHITECTURES, build_trained, input_of
from service.models.registry import Registry
from service.settings import Settings
from service.training.beginnings import FEATURES, begin, is_pretrained
from service.training.orders import Order

# Keras 3.15 saves with np.array(variable), of which numpy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
CLASSES = ("cat", "dog")


def order(**changes: Any) -> Order:
    options: dict[str, Any] = {"name": "pets", "source": "pets", "backbone": "cnn", "size": 32}
    return Order(**(options | changes))


def begun(folder: Path, classes: tuple[str, ...] = CLASSES, **changes: Any) -> Any:
    return begin(order(**changes), classes, Settings(data_dir=folder))


def published(folder: Path, classes: tuple[str, ...] = CLASSES) -> tuple[str, Any]:
    """NAME:VERSION of a cnn with random weights, and its model."""
    recipe = order().recipe(len(classes))
    model = build_trained(recipe)
    weights = folder / "made.weights.h5"
    model.save_weights(weights)
    version = Registry(folder).publish(
        "pets",
        weights=weights,
        architecture="cnn",
        input_spec=input_of(recipe),
        metrics={},
        classes=ClassTable(classes, (None,) * len(classes), ("",) * len(classes)),
        recipe=recipe,
    )
    return version.ref, model


def alike(one: Any, other: Any) -> list[bool]:
    """Of each layer with weights."""
    layers = zip(one.layers, other.layers, strict=True)
    pairs = [(a.get_weights(), b.get_weights()) for a, b in layers if a.weights]
    return [all(np.array_equal(x, y) for x, y in zip(*pair, strict=True)) for pair in pairs]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_b0"])
def test_the_backbone_of_a_weights_file_is_taken(tmp_path: Path, backbone: str) -> None:
    """The file has a thousand classes; our network sees the same features in a picture as that one."""
    import keras

    whole = ARCHITECTURES[backbone].build()
    whole.save_weights(file := tmp_path / "whole.weights.h5")
    ours = begun(tmp_path, backbone=backbone, weights=str(file), size=224)
    inputs = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    pooling = next(layer for layer in reversed(whole.layers) if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    theirs = keras.Model(whole.inputs[0], pooling.output)(inputs, training=False)
    seen = keras.Model(ours.inputs[0], ours.get_layer(FEATURES).output)(inputs, training=False)
    np.testing.assert_allclose(seen, theirs, atol=1e-6)


@pytest.mark.slow
def test_a_version_with_the_same_classes_goes_on_whole(tmp_path: Path) -> None:
    """Its last layers know these classes already."""
    ref, model = published(tmp_path)
    assert all(alike(begun(tmp_path, weights=ref), model))


@pytest.mark.slow
def test_a_version_with_other_classes_lends_its_backbone(tmp_path: Path) -> None:
    """The new layers begin at random, even where as many classes have other names."""
    ref, model = published(tmp_path)
    found = alike(begun(tmp_path, ("cat", "eel"), weights=ref), model)
    assert found == [True] * (len(found) - 2) + [False] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"weights": "nowhere.h5"}, NotFound, "nowhere.h5"),
        ({"weights": "no where"}, BadRequest, "no file"),
        ({"weights": "pets:0"}, NotFound, "pets:0"),
        ({"weights": __file__, "backbone": "mobilenet_v2"}, BadRequest, "does not fit"),
        ({"weights": __file__}, BadRequest, "NAME:VERSION"),
    ],
)
def test_what_cannot_be_begun_with(tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str) -> None:
    """The name of it, and the ways out."""
    with pytest.raises(error, match=words):
        begun(tmp_path, **changes)


@pytest.mark.slow
def test_a_version_of_another_backbone_is_refused(tmp_path: Path) -> None:
    """In words that say which it is."""
    ref, _ = published(tmp_path)
    with pytest.raises(BadRequest, match="is cnn, not a trained mobilenet_v2"):
        begun(tmp_path, weights=ref, backbone="mobilenet_v2", size=64)


def test_what_has_learned_before() -> None:
    """Then only the new layers are fitted at first. There are no official weights of our cnn."""
    assert is_pretrained(order(backbone="resnet50"))
    assert is_pretrained(order(weights="pets:1"))
    assert not is_pretrained(order())
    assert not is_pretrained(order(backbone="resnet50", weights="random"))
