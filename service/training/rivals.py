"""The model that a candidate is compared with: which, and what it answers to the run's pictures."""

import numpy as np
from PIL import Image

from service.errors import FileDamaged, ModelUnavailable
from service.inference.engines.engine import Pixels, Scores
from service.models.choice import choose, registered, to_download
from service.models.registry import Registry
from service.models.served import ServedModel
from service.settings import Settings
from service.training.fitting import AT_ONCE, Rows, Tick
from service.training.orders import Order


def rival(order: Order, settings: Settings) -> ServedModel | str:
    """The one that `order` names, else the one that is served. When that cannot be had, or only from the network, why.

    Raises NotFound, ModelUnavailable and FileDamaged for the one that was named.
    """
    if order.compare_with:
        return registered(order.compare_with, settings)
    try:
        activated = not settings.named_a_model and Registry(settings.data_path).pointer().served
        if activated or not to_download(settings):
            return choose(settings)
    except (ModelUnavailable, FileDamaged) as error:
        return f"The model that is served cannot be had. {error.detail}"
    return f"No model was activated, and the weights of {settings.model}, which the settings name, are not here."


def answers(served: ServedModel, settings: Settings, pixels: Pixels, rows: Rows, tick: Tick) -> Scores:
    """Its scores of the pictures in `rows`, by the engine that would serve it. Made to its size from the run's own, not
    from the files. Raises StartError when it cannot be loaded."""
    from service.construction import make_engine  # brings the whole service with it

    engine = make_engine(served, settings)
    engine.load()
    try:
        found = []
        for start in range(0, len(rows), AT_ONCE):
            found.append(engine.predict(_resized(pixels[rows[start : start + AT_ONCE]], served.input.size)))
            tick(min(1.0, (start + AT_ONCE) / len(rows)))
        return np.concatenate(found)
    finally:
        engine.close()


def _resized(pixels: Pixels, size: int) -> Pixels:
    if pixels.shape[1] == size:
        return np.ascontiguousarray(pixels)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR)) for one in pixels]
    )
