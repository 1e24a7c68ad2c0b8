import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import StartError
from service.inference.engines import prepared
from service.inference.engines.engine import EarlyEngine, Engine, Pixels, Scores
from service.inference.engines.openvino import OpenVINOEngine
from service.inference.engines.prepared import KEPT, Runtime, prepare_once
from service.inference.engines.tensorflow import TensorFlowEngine
from service.inference.predictions import InputSpec
from service.models.architectures import ARCHITECTURES, build_demo
from service.models.served import DEMO

SHARED_MOBILENET = Path("../shared/data/weights/mobilenet_v2_imagenet.weights.h5")
DEMO_WEIGHTS = DEMO / "demo.weights.h5"
SMALL = ARCHITECTURES["demo"].input

pytestmark = [
    pytest.mark.slow,  # each starts Keras in a child, or here
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras 3.15 on NumPy 2
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for all, so that each model is prepared once. A service has no use for so many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "KEPT", 100)
        yield tmp_path_factory.mktemp("cache")


@pytest.fixture(params=["tensorflow", "openvino"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    name: Runtime = request.param
    return name


def make(runtime: Runtime, build: Callable[[], Any], weights: Path | None, spec: InputSpec, cache: Path) -> Engine:
    """An engine that prepares its model itself, not loaded."""
    prepare = partial(prepare_once, runtime, build, weights, spec, cache)
    return OpenVINOEngine(prepare, spec) if runtime == "openvino" else TensorFlowEngine(prepare, spec)


@contextmanager
def loaded(
    runtime: Runtime, build: Callable[[], Any], weights: Path | None, spec: InputSpec, cache: Path
) -> Iterator[Engine]:
    engine = make(runtime, build, weights, spec, cache)
    engine.load()
    try:
        yield engine
    finally:
        engine.close()


def pixels(n: int, input_spec: InputSpec, seed: int = 1) -> Pixels:
    """Random pictures."""
    shape = (n, input_spec.size, input_spec.size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def plain_keras(name: str, weights: Path | None, batch: Pixels) -> Scores:
    """What an ordinary Keras program answers, with Keras's own preprocessing."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    model = ARCHITECTURES[name].build()
    if weights is not None:
        model.load_weights(weights)
    return np.asarray(model(as_keras_wants(name, batch), training=False))


def as_keras_wants(name: str, batch: Pixels) -> Any:
    """Keras's own preprocess_input for the architecture."""
    from keras import applications

    if name == "demo":
        return batch.astype(np.float32) / 255
    module = {
        "resnet50": applications.resnet50,
        "mobilenet_v2": applications.mobilenet_v2,
        "efficientnet_b0": applications.efficientnet,
    }[name]
    return module.preprocess_input(batch.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("demo", DEMO_WEIGHTS),
        ("demo", None),
        ("mobilenet_v2", SHARED_MOBILENET),
        ("efficientnet_b0", None),
        ("resnet50", None),
    ],
)
def test_equals_plain_keras_alone_and_in_a_batch(
    runtime: Runtime, name: str, weights: Path | None, cache: Path
) -> None:
    """Every probability is plain Keras's within 1e-4, alone and whoever shares the batch."""
    if weights is not None and not weights.exists():
        pytest.skip(f"{weights} is not here")
    architecture = ARCHITECTURES[name]
    batch = pixels(5, architecture.input)
    expected = plain_keras(name, weights, batch)
    with loaded(runtime, architecture.build, weights, architecture.input, cache) as engine:
        together = engine.predict(batch)
        alone = np.concatenate([engine.predict(batch[i : i + 1]) for i in range(5)])
    assert together.dtype == np.float32
    assert together.shape == (5, architecture.classes)
    np.testing.assert_allclose(together, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(alone, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-3)


def test_every_picture_of_a_large_batch_gets_its_own_answer(runtime: Runtime, cache: Path) -> None:
    """With many more chunks than streams, and a rest, each row is what the picture gets alone; so is the next batch."""
    with loaded(runtime, build_demo, DEMO_WEIGHTS, SMALL, cache) as engine:
        for n in (67, 20):
            batch = pixels(n, SMALL, seed=n)
            alone = np.concatenate([engine.predict(batch[i : i + 1]) for i in range(n)])
            np.testing.assert_allclose(engine.predict(batch), alone, atol=1e-5, rtol=0)


def test_batches_begun_together_each_get_their_own_answers(cache: Path) -> None:
    """Asked for in any order; one that nobody asks for is in nobody's way, and one that cannot be begun neither."""
    with loaded("openvino", build_demo, DEMO_WEIGHTS, SMALL, cache) as engine:
        assert isinstance(engine, EarlyEngine)
        batches = [pixels(n, SMALL, seed=n) for n in (21, 8, 3, 1)]
        alone = [np.concatenate([engine.predict(one[np.newaxis]) for one in batch]) for batch in batches]
        engine.begin(pixels(9, SMALL))
        begun = [engine.begin(batch) for batch in batches]
        with pytest.raises(RuntimeError):
            engine.begin(np.zeros((8, 32, 32, 4), np.uint8))
        assert all(one.wait(60) for one in begun)
        for one, expected in reversed([*zip(begun, alone, strict=True)]):
            np.testing.assert_allclose(one.scores(), expected, atol=1e-5, rtol=0)


def test_requests_for_two_batches_are_there_from_the_start(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO makes one only when a stream has a moment: until then the batch before would not be answered."""
    with loaded("openvino", build_demo, DEMO_WEIGHTS, SMALL, cache) as engine:
        assert isinstance(engine, OpenVINOEngine)
        engine.warm_up([1, 16])
        monkeypatch.setattr(engine, "_streams", None)
        begun = [engine.begin(pixels(16, SMALL)) for _ in range(2)]
        assert [one.scores().shape for one in begun] == [(16, 10)] * 2


def test_folding_with_biases_and_statistics_changes_no_answer(runtime: Runtime, tmp_path: Path, cache: Path) -> None:
    """ResNet50 as trained has biases and statistics far from their initial values: they are folded right."""
    keras = pytest.importorskip("keras")
    model = ARCHITECTURES["resnet50"].build()
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.3, 1.2, w.shape) for w in layer.get_weights()])
        elif isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 0.5, random.normal(0, 0.1, bias.shape)])
    weights = tmp_path / "resnet50.weights.h5"
    model.save_weights(weights)
    architecture = ARCHITECTURES["resnet50"]
    batch = pixels(2, architecture.input)
    expected = np.asarray(model(as_keras_wants("resnet50", batch), training=False))
    with loaded(runtime, architecture.build, weights, architecture.input, cache) as engine:
        np.testing.assert_allclose(engine.predict(batch), expected, atol=1e-4, rtol=0)


def test_random_resnet50_tells_pictures_apart(runtime: Runtime, cache: Path) -> None:
    """A load test with random weights has finite answers that differ from picture to picture."""
    architecture = ARCHITECTURES["resnet50"]
    with loaded(runtime, architecture.build, None, architecture.input, cache) as engine:
        flat = np.full((2, 224, 224, 3), 220, np.uint8)
        flat[1] = 20
        scores = engine.predict(flat)
    assert np.isfinite(scores).all()
    assert np.abs(scores[0] - scores[1]).max() > 1e-3


def test_a_warm_cache_needs_no_keras(runtime: Runtime, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start takes the prepared model from disk: it works even when no child can be started."""
    with loaded(runtime, build_demo, DEMO_WEIGHTS, SMALL, cache) as engine:
        first = engine.predict(pixels(2, SMALL))
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with loaded(runtime, build_demo, DEMO_WEIGHTS, SMALL, cache) as engine:
        np.testing.assert_array_equal(engine.predict(pixels(2, SMALL)), first)


def test_a_damaged_cache_file_is_made_again(
    runtime: Runtime, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flipped byte is noticed, and the model prepared anew; the cache keeps few."""
    monkeypatch.setattr(prepared, "KEPT", KEPT)
    with loaded(runtime, build_demo, DEMO_WEIGHTS, SMALL, cache) as engine:
        first = engine.predict(pixels(2, SMALL))
    original = prepare_once(runtime, build_demo, DEMO_WEIGHTS, SMALL, cache)
    copy = shutil.copytree(original, tmp_path / original.name)
    damaged = max(copy.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    for n in range(2 * KEPT):
        old = tmp_path / f"openvino-{n:032x}"
        old.mkdir()
        os.utime(old, (n, n))
    with loaded(runtime, build_demo, DEMO_WEIGHTS, SMALL, tmp_path) as engine:
        np.testing.assert_array_equal(engine.predict(pixels(2, SMALL)), first)
    assert copy in set(tmp_path.iterdir())
    assert prepared.is_whole(copy)
    assert len(list(tmp_path.iterdir())) == KEPT


def test_weights_of_another_architecture_are_refused(runtime: Runtime, cache: Path) -> None:
    """Weights that do not fit end in a StartError that names the file, the architecture and the way out."""
    architecture = ARCHITECTURES["mobilenet_v2"]
    engine = make(runtime, architecture.build, DEMO_WEIGHTS, architecture.input, cache)
    with pytest.raises(StartError, match=r"demo\.weights\.h5 does not fit .*mobilenet.*--model"):
        engine.load()


def test_a_file_that_is_no_weights_file_is_refused(tmp_path: Path, cache: Path) -> None:
    """Something else under a weights file's name is a StartError, not a traceback; whatever the runtime, which the
    child comes to later."""
    nonsense = tmp_path / "x.weights.h5"
    nonsense.write_bytes(b"not HDF5")
    with pytest.raises(StartError, match=re.escape(str(nonsense))):
        make("openvino", build_demo, nonsense, SMALL, cache).load()


def test_a_missing_weights_file_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    """A weights file that went away between choosing and loading is named."""
    with pytest.raises(StartError, match=r"gone\.h5 cannot be read"):
        make(runtime, build_demo, tmp_path / "gone.h5", SMALL, tmp_path).load()


def test_weights_with_nan_are_refused(tmp_path: Path, cache: Path) -> None:
    """A diverged training run's weights cannot be served."""
    pytest.importorskip("keras")
    model = build_demo()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    model.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(StartError, match="does not answer probabilities"):
        make("openvino", build_demo, tmp_path / "nan.weights.h5", SMALL, cache).load()


def test_a_cache_that_cannot_be_written_is_named(runtime: Runtime, tmp_path: Path) -> None:
    """No room or no right to keep the prepared model: the folder is in the words."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot be kept in .*file"):
        make(runtime, build_demo, DEMO_WEIGHTS, SMALL, tmp_path / "file" / "cache").load()


def test_build_must_be_a_function_another_process_can_find(runtime: Runtime, tmp_path: Path) -> None:
    """A lambda cannot be named to the child: the programmer is told."""
    with pytest.raises(TypeError, match="module's own function"):
        make(runtime, lambda: None, None, SMALL, tmp_path).load()


def test_a_wrong_shape_is_an_error_and_the_next_batch_works(runtime: Runtime, cache: Path) -> None:
    """The runtime's refusal of one batch comes back as RuntimeError and leaves it usable, its streams too."""
    with loaded(runtime, build_demo, DEMO_WEIGHTS, SMALL, cache) as engine:
        with pytest.raises(RuntimeError):
            engine.predict(np.zeros((8, 32, 32, 4), np.uint8))
        assert engine.predict(pixels(8, SMALL)).shape == (8, 10)
        assert engine.predict(pixels(1, SMALL)).shape == (1, 10)


def test_order_of_calls(runtime: Runtime, cache: Path) -> None:
    """predict before load and after close is refused; close twice is once; the engine keeps the Protocol."""
    engine: Engine = make(runtime, build_demo, DEMO_WEIGHTS, SMALL, cache)
    with pytest.raises(RuntimeError, match="before load"):
        engine.predict(pixels(1, SMALL))
    engine.load()
    engine.warm_up([1, 2])
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="after close"):
        engine.predict(pixels(1, SMALL))


MEASURE_MEMORY = """
import sys
from functools import partial
from pathlib import Path
from service.inference.engines.openvino import OpenVINOEngine
from service.inference.engines.prepared import prepare_once
from service.inference.engines.tensorflow import TensorFlowEngine
from service.models.architectures import ARCHITECTURES
runtime, cache = sys.argv[1], Path(sys.argv[2])
architecture = ARCHITECTURES["resnet50"]
prepare = partial(prepare_once, runtime, architecture.build, None, architecture.input, cache)
engine = {"openvino": OpenVINOEngine, "tensorflow": TensorFlowEngine}[runtime](prepare, architecture.input)
engine.load()
engine.warm_up([1, 2, 4, 8, 16])
engine.warm_up([16, 8, 4, 2, 1])
assert not {"tensorflow", "keras"} & sys.modules.keys()
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
"""
MOST_MIB = {"tensorflow": 1050, "openvino": 500}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_resnet50_is_small_in_memory(runtime: Runtime, cache: Path) -> None:
    """ResNet50 at batch 16 stays small, and neither engine imports TensorFlow's Python package: it was 2,700 MiB."""
    python = [sys.executable, "-c", MEASURE_MEMORY, runtime, str(cache)]
    ran = subprocess.run(python, capture_output=True, text=True, check=True, timeout=300)
    assert int(ran.stdout) / 1024 < MOST_MIB[runtime]
