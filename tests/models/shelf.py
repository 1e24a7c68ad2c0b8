"""Versions to put into a registry, made of a few bytes."""

from typing import Any

from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec
from service.models.architectures import Recipe
from service.models.registry import Registry
from service.models.versions import ModelVersion

CLASSES = ClassTable(("cat", "dog"), ("n02121808", None), ("house cat", ""))


def put(registry: Registry, name: str = "pets", content: bytes = b"weights", **what: Any) -> ModelVersion:
    """Publish a version whose weights are `content`."""
    weights = registry.folder.parent / "source" / "pets.weights.h5"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(content)
    classes = what.pop("classes", CLASSES)
    return registry.publish(
        name, weights=weights, architecture="cnn", input_spec=InputSpec(32, "unit"),
        recipe=Recipe("cnn", len(classes), 32, 0), metrics={"accuracy": 0.9}, classes=classes, **what,
    )  # fmt: skip
