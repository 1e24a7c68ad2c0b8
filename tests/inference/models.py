"""Small models for tests of the worker and the classifier."""

from collections.abc import Callable
from typing import Any

from service.inference.engines.engine import Engine
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec, ModelInfo
from service.inference.serving import Serving

CLASSES = ClassTable(tuple(f"class_{n}" for n in range(10)), (None,) * 10, ("",) * 10)
MODEL = ModelInfo("fake", "1", "gated", "none")


def serving(
    engine: Engine | Callable[[], Engine], *, model: ModelInfo = MODEL, size: int = 8, **changes: Any
) -> Serving:
    """A fake model; an engine itself stands for a factory that makes no other."""
    make = engine if callable(engine) else lambda: engine
    options: dict[str, Any] = {"classes": CLASSES, "input": InputSpec(size, "unit")}
    return Serving(make, model, **(options | changes))
