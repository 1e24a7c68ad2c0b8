"""The whole of `glimt quantize`, on the demo model and drawn digits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from PIL import Image

from service.app import create_app
from service.construction import make_engine
from service.data_folder import claimed
from service.errors import BadRequest, ModelUnavailable, StartError
from service.models.choice import choose
from service.models.registry import Registry
from service.quantization.run import Order, run, to_serve
from service.settings import Settings
from tests.models.shelf import put

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "web/static/examples").glob("digit-*.png"))
RUN = """
import sys
from service.cli import app
try:
    app(sys.argv[1:])
finally:
    sys.stderr.write(f"imported: {sorted({'tensorflow', 'keras', 'torch'} & sys.modules.keys())}")
"""


def draw(folder: Path, count: int) -> None:
    """The examples' digits, turned and stretched: digit-7_3.png and so on."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        example = EXAMPLES[number % len(EXAMPLES)]
        with Image.open(example) as picture:
            size = tuple(int(side) for side in random.integers(40, 80, 2))
            turned = picture.convert("RGB").rotate(float(random.uniform(-12, 12)), fillcolor="white")
            turned.resize((size[0], size[1])).save(folder / f"{example.stem}_{number}.png")


def quantize(*arguments: str, data: Path, images: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, so that it is known what it imports and prints."""
    command = [sys.executable, "-c", RUN, "quantize", "--model", "demo", "--images", str(images), *arguments]
    return subprocess.run(
        [*command, "--data-dir", str(data)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "digits"
    draw(folder, 120)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def published(data: Path, images: Path) -> dict[str, Any]:
    """What --json printed when demo-int8 was published."""
    pytest.importorskip("nncf")
    ran = quantize("--labels", "names", "--json", data=data, images=images)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "imported: []", "NNCF, OpenVINO and TensorFlow are quiet, or not there"
    document: dict[str, Any] = orjson.loads(ran.stdout)
    return document


@pytest.mark.slow
def test_the_document_and_the_manifest_say_the_same(published: dict[str, Any], data: Path) -> None:
    """Agreement, accuracy and counts, measured on other pictures than those that calibrated."""
    version = Registry(data).read("demo-int8")
    assert published["published"] == {
        "name": "demo-int8",
        "version": version.version,
        "folder": str(data / "models" / "demo-int8" / version.version),
    }
    assert version.precision == "int8"
    assert version.metrics == published["metrics"]
    assert version.metrics["agreement"] >= 0.97
    assert version.metrics["calibration_pictures"] == version.metrics["checked_pictures"] == 60
    assert version.metrics["int8_top1"] > 0.9


@pytest.mark.slow
@pytest.mark.usefixtures("published")
async def test_the_published_version_is_served(data: Path) -> None:
    """By its name, by OpenVINO, without preparing anything; and it knows its digits."""
    settings = Settings(model="demo-int8", data_dir=data, max_batch=4, max_wait_ms=1)
    served = choose(settings)
    app = create_app(settings, served, make_engine(served, settings))
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await app.house.worker.loaded()
        answers = [(await client.post("/predict", content=path.read_bytes())).json() for path in EXAMPLES]
    assert [answer["prediction"] for answer in answers] == [path.stem.replace("-", "_") for path in EXAMPLES]
    assert {answer["model"]["engine"] for answer in answers} == {"openvino"}
    assert {(answer["model"]["name"], answer["model"]["weights"]) for answer in answers} == {("demo-int8", "int8")}


def test_how_to_serve_it(tmp_path: Path) -> None:
    """Where a service runs, another could not start: that one is told."""
    version, settings = put(Registry(tmp_path)), Settings(data_dir=tmp_path)
    assert to_serve(version, settings) == "To serve it: glimt serve --model pets"
    with claimed(tmp_path) as claim:
        claim.announce("http://127.0.0.1:1")
        assert to_serve(version, settings) == f"To serve it: glimt models activate {version.ref}"


@pytest.mark.slow
@pytest.mark.usefixtures("published")
def test_a_second_one_stands_beside_the_first(data: Path, images: Path) -> None:
    """Other pictures to calibrate with make another version; the name alone means the newer one."""
    before = Registry(data).read("demo-int8")
    done = quantize("--seed", "1", data=data, images=images)
    assert done.returncode == 0, done.stderr
    assert "glimt serve --model demo-int8" in done.stdout
    assert {one.ref for one in Registry(data).list()} >= {before.ref, Registry(data).read("demo-int8").ref}
    assert len(Registry(data).list()) == 2


@pytest.mark.slow
def test_not_good_enough_is_not_published(
    images: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Attempts with layers in float are made and told, what to try is said, and nothing is left in the registry."""
    pytest.importorskip("nncf")
    monkeypatch.setattr("service.quantization.run.Quality.agreement", property(lambda quality: 0.9))
    order = Order(images, name="poor")
    assert not run(order, Settings(model="demo", data_dir=data))
    printed = capsys.readouterr().out
    for part in ("Not good enough", "(0: 0.900, 1: 0.900, 2: 0.900)", "stay with float32", "Nothing was published."):
        assert part in printed
    assert not (data / "models" / "poor").exists()


@pytest.mark.slow
def test_a_dry_run_publishes_nothing(
    published: dict[str, Any], images: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It passes, it says so, and another name stays free. The name of one that exists is no hindrance."""
    assert run(Order(images, dry_run=True), Settings(model="demo", data_dir=data))
    assert "Nothing was published." in capsys.readouterr().out
    assert published["published"]["name"] == "demo-int8"
    assert {path.name for path in (data / "models").iterdir()} == {"demo-int8"}


@pytest.mark.slow
@pytest.mark.usefixtures("published")
def test_an_int8_model_is_not_quantized_again(images: Path, data: Path) -> None:
    """The words say what to name instead."""
    with pytest.raises(BadRequest, match="demo-int8 is int8 already"):
        run(Order(images), Settings(model="demo-int8", data_dir=data))


def test_without_nncf_the_command_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read or downloaded."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"pip install 'glimt\[quantize\]'"):
        run(Order(tmp_path), Settings(model="demo", data_dir=tmp_path))


def test_weights_that_cannot_be_had_are_never_replaced_by_the_demo(tmp_path: Path) -> None:
    """Nobody wants an int8 model of digits who asked for ResNet50 without naming it."""
    pytest.importorskip("nncf")
    settings = Settings(data_dir=tmp_path, weights_site="http://127.0.0.1:1")
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        run(Order(tmp_path), settings)


@pytest.mark.parametrize(("weights", "name"), [("random", "demo-random-int8"), ("imagenet", "demo-int8")])
def test_random_weights_are_told_by_the_name(
    weights: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else would tell whoever is served the version later."""
    pytest.importorskip("nncf")
    looked_at: list[str] = []
    monkeypatch.setattr("service.quantization.run.check_name", looked_at.append)
    with pytest.raises(BadRequest, match="There are 0 different pictures"):
        run(Order(tmp_path), Settings(model="demo", weights=weights, data_dir=tmp_path))
    assert looked_at == [name]
