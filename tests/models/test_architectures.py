from pathlib import Path

import numpy as np
import pytest

from service.models.architectures import ARCHITECTURES, BACKBONES, Recipe, build_trained

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15 on NumPy 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v2"])
def test_an_official_file_answers_as_in_keras(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras builds EfficientNet otherwise for its own weights than for none: ours, filled with a file, must be the same
    network as Keras's with weights="imagenet". It was not: the labels of EfficientNet were nonsense."""
    import keras
    from keras.src.applications import efficientnet, mobilenet_v2

    keras.utils.set_random_seed(1)
    ours = ARCHITECTURES[name].build()
    ours.set_weights([value + 0.01 * abs(value) + 0.5 * (value.ndim == 1) for value in ours.get_weights()])
    ours.save_weights(tmp_path / "official.weights.h5")
    ours.load_weights(tmp_path / "official.weights.h5")  # which makes the normalisation heed its new weights
    for module in (efficientnet, mobilenet_v2):
        monkeypatch.setattr(module.file_utils, "get_file", lambda *_, **__: str(tmp_path / "official.weights.h5"))
    build = {"efficientnet_b0": keras.applications.EfficientNetB0, "mobilenet_v2": keras.applications.MobileNetV2}
    theirs = build[name](weights="imagenet")
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    assert np.allclose(ours(pixels).numpy(), theirs(pixels).numpy(), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_recipes_network_is_flat(backbone: str) -> None:
    """Batch norms inside a nested model would be neither folded nor found by name."""
    import keras

    model = build_trained(Recipe(backbone, 3, 64))  # type: ignore[arg-type]
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert model.output.shape == (None, 3)
