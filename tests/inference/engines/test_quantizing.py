import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.errors import GlimtError
from service.inference.engines.engine import Pixels, Scores
from service.inference.engines.openvino import OpenVINOEngine
from service.inference.engines.prepared import prepare_once
from service.inference.engines.quantizing import layers, quantize, worst_layers
from service.models.architectures import ARCHITECTURES, build_demo
from service.models.served import DEMO

SPEC = ARCHITECTURES["demo"].input
EXAGGERATED = 500

pytestmark = [
    pytest.mark.slow,  # Keras starts, here and in a child
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras 3.15 on NumPy 2
]
pytest.importorskip("nncf")


def pictures(n: int, seed: int) -> Pixels:
    """Four coloured squares each, on which the model is not of one opinion."""
    squares = np.random.default_rng(seed).integers(0, 256, (n, 2, 2, 3), dtype=np.uint8)
    return squares.repeat(16, axis=1).repeat(16, axis=2)


def answers(folder: Path, batch: Pixels) -> Scores:
    """What the engine answers that will serve it; its load compares the probe."""
    engine = OpenVINOEngine(lambda: folder, SPEC)
    engine.load()
    try:
        return engine.predict(batch)
    finally:
        engine.close()


@pytest.fixture(scope="module")
def outlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, prepared, with one channel EXAGGERATED times too strong between its second and third layer.

    The third layer's weights undo it, so the float32 model answers as ever; int8 has no steps left for the others.
    """
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("outlier")
    model = build_demo()
    model.load_weights(DEMO / "demo.weights.h5")
    norm = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)][1]
    conv = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)][2]
    gamma, beta, mean, variance = norm.get_weights()
    gamma[0] *= EXAGGERATED
    beta[0] *= EXAGGERATED
    norm.set_weights([gamma, beta, mean, variance])
    (kernel,) = conv.get_weights()
    kernel[:, :, 0] /= EXAGGERATED
    conv.set_weights([kernel])
    model.save_weights(folder / "outlier.weights.h5")
    return prepare_once("openvino", build_demo, folder / "outlier.weights.h5", SPEC, folder / "cache")


def test_int8_answers_nearly_as_float32(tmp_path: Path) -> None:
    """The bundled model, whole in int8, a third of the size; the files are what the engine serves."""
    prepared = prepare_once("openvino", build_demo, DEMO / "demo.weights.h5", SPEC, tmp_path / "cache")
    quantize(prepared, pictures(60, seed=1), SPEC, tmp_path / "int8")
    batch = pictures(40, seed=2)
    assert len(layers(tmp_path / "int8")) == 6
    assert np.abs(answers(tmp_path / "int8", batch) - answers(prepared, batch)).mean() < 0.02
    assert {path.name for path in (tmp_path / "int8").iterdir()} == {"model.xml", "model.bin", "probe.npy"}
    assert (tmp_path / "int8" / "model.bin").stat().st_size < (prepared / "model.bin").stat().st_size / 3


def test_the_worst_layer_is_found_and_left_in_float(outlier: Path, tmp_path: Path) -> None:
    """The layer behind the outlier is named first, and leaving it out of int8 mends most of the damage."""
    calibration, check = pictures(60, seed=1), pictures(40, seed=2)
    quantize(outlier, calibration, SPEC, tmp_path / "plain")
    worst = worst_layers(outlier, tmp_path / "plain", calibration[:16])
    quantize(outlier, calibration, SPEC, tmp_path / "mended", worst[:1])
    assert sorted(worst) == sorted(layers(tmp_path / "plain"))
    assert sorted(worst[1:]) == sorted(layers(tmp_path / "mended"))
    expected = answers(outlier, check)
    plain, mended = (np.abs(answers(tmp_path / name, check) - expected).mean() for name in ("plain", "mended"))
    assert mended < plain / 3


def test_nncfs_refusal_has_its_words(outlier: Path, tmp_path: Path) -> None:
    """A layer that does not exist, for instance: an error of ours, and nothing is written."""
    with pytest.raises(GlimtError, match=r"could not quantize the model: .*nosuch"):
        quantize(outlier, pictures(2, seed=1), SPEC, tmp_path / "int8", ["nosuch"])
    assert not (tmp_path / "int8").exists()


TELEMETRY = """
import os
from service.inference.engines.quantizing import _nncf
before = os.environ.get("CI")
_nncf()
from nncf.telemetry.wrapper import telemetry
assert os.environ.get("CI") == before
print(telemetry._impl.consent)
"""


def test_telemetry_is_declined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NNCF reports what is done with it unless told not to; and it writes nothing into the home folder."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", TELEMETRY], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "False"
    assert list(tmp_path.iterdir()) == []
