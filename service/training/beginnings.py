"""The network that a run begins with: built after its recipe, its backbone filled with what others have learned."""

import re
from pathlib import Path
from typing import Any

from service.errors import BadRequest, NotFound, StartError
from service.inference.engines.preparing import load_weights
from service.models.architectures import ARCHITECTURES, Recipe, build_trained
from service.models.names import REF
from service.models.registry import Registry
from service.models.versions import ModelVersion
from service.models.weights import obtain
from service.settings import Settings
from service.training.orders import Order

FEATURES = "features"
"""The pooling of a trained network: before it is the backbone, after it are the new layers."""


def is_pretrained(order: Order) -> bool:
    """Whether its backbone has learned before: then the new layers are fitted first, alone."""
    return order.weights != "random" and (order.backbone, order.weights) != ("cnn", "imagenet")


def begin(order: Order, classes: tuple[str, ...], settings: Settings) -> Any:
    """The Keras model of `order`. Downloads official weights if need be.

    The new layers begin at random, except those of a registered version with just these classes and layers.
    Raises ModelUnavailable and FileDamaged (official weights), NotFound and BadRequest (what `order.weights` names).
    """
    recipe = order.recipe(len(classes))
    model = build_trained(recipe)
    if not is_pretrained(order):
        return model
    try:
        teacher, knows_all = _teacher(order, recipe, classes, settings)
    except NotFound:
        raise
    except StartError as error:
        if order.weights == "imagenet":
            raise
        raise BadRequest(error.detail) from error
    _copy(teacher, model, everything=knows_all)
    return model


def _teacher(order: Order, recipe: Recipe, classes: tuple[str, ...], settings: Settings) -> tuple[Any, bool]:
    """A model with the same backbone, and whether its last layers are for the same classes."""
    file = Path(order.weights).expanduser()
    if order.weights != "imagenet" and not file.is_file():
        version = _version(order.weights, settings)
        if version.recipe is None or version.recipe.backbone != order.backbone:
            raise BadRequest(
                f"{version.ref} is {version.architecture}, not a trained {order.backbone}. Way out: --model "
                f"{version.architecture}, or other --weights."
            )
        teacher = build_trained(version.recipe)
        load_weights(teacher, version.weights)
        alike = (version.recipe.dense, version.classes.labels) == (recipe.dense, classes)
        return teacher, alike
    if order.backbone == "cnn":
        raise BadRequest("The cnn begins at random, or with a version of the registry: --weights NAME:VERSION.")
    architecture = ARCHITECTURES[order.backbone]
    if order.weights == "imagenet":
        assert architecture.official is not None
        file = obtain(architecture.official, settings)
    teacher = architecture.build()
    load_weights(teacher, file)
    return teacher, False


def _version(ref: str, settings: Settings) -> ModelVersion:
    if not re.fullmatch(REF, ref):
        raise BadRequest(f"There is no file {ref}. Ways out: imagenet, random, a weights file, or NAME:VERSION.")
    version = Registry(settings.data_path).read(ref)
    if version.precision != "float32":
        raise BadRequest(f"{version.ref} is int8, which cannot learn. Way out: the version it was made from.")
    return version


def _copy(teacher: Any, model: Any, *, everything: bool) -> None:
    """Layer by layer in their order: both were built by the same code, but names that Keras counts up differ."""
    for theirs, ours in zip(teacher.layers, model.layers, strict=False):
        if ours.name == FEATURES and not everything:
            return
        ours.set_weights(theirs.get_weights())
