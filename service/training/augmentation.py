"""Pictures turned, moved, sheared, zoomed and flipped at random, so that a few look like many. Keras layers."""

from typing import Any

TURN = 20 / 360
"""Of a full turn, either way: what people hold a camera askew by."""
SHARE = 0.2
"""Of the side: shifted by, sheared by, zoomed by at most, either way."""


def augmentation(seed: int) -> list[Any]:
    """Layers for float32 (n, size, size, 3) that work while training only. What comes in at an edge is its nearest
    pixel. Each draws from a seed of its own."""
    from keras.layers import RandomFlip, RandomRotation, RandomShear, RandomTranslation, RandomZoom

    fill: dict[str, Any] = {"fill_mode": "nearest"}
    return [
        RandomRotation(TURN, **fill, seed=seed),
        RandomTranslation(SHARE, SHARE, **fill, seed=seed + 1),
        RandomShear(SHARE, SHARE, **fill, seed=seed + 2),
        RandomZoom(SHARE, **fill, seed=seed + 3),
        RandomFlip("horizontal", seed=seed + 4),
    ]
