import hashlib
import shutil
from pathlib import Path

import pytest

from service.errors import FileDamaged, ModelUnavailable
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec
from service.models.architectures import ARCHITECTURES, Recipe, input_of
from service.models.choice import choose, explain
from service.models.registry import Registry
from service.models.served import DEMO
from service.models.versions import ModelVersion, read_version
from service.settings import Settings
from tests.models.site import Site, running

NOWHERE = "http://127.0.0.1:1"
"""A site that cannot be reached."""


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Never the real ~/.keras, nor the settings of this machine."""
    for name in ("GLIMT_MODEL", "GLIMT_WEIGHTS", "GLIMT_FALLBACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_named_nothing_and_no_network_serves_the_demo_and_says_why(data: Path) -> None:
    """The notice has the reason, the place for the file, and the exact commands."""
    served = choose(Settings(data_dir=data, weights_site=NOWHERE))
    assert served.is_demo
    assert (served.info.name, served.info.weights) == ("demo", "demo")
    assert served.notice is not None
    file = data / "weights" / "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
    for part in (
        "demo",
        "handwritten digits",
        "resnet50",
        NOWHERE,
        str(file),
        "scripts/serve --model resnet50 --weights",
    ):
        assert part in served.notice
    assert "\n" not in served.notice
    assert served.public is not None
    assert str(data) not in served.public, "everybody may read that one"
    for part in ("could not be had", "could not be downloaded", "scripts/serve --model resnet50 --weights FILE"):
        assert part in served.public


@pytest.mark.parametrize("named", [{"model": "resnet50"}, {"weights": "imagenet"}, {"fallback": False}])
def test_a_named_model_is_never_replaced(data: Path, named: dict[str, str]) -> None:
    """Who named the model or the weights, or forbade the fallback, gets a start failure with the ways out."""
    settings = Settings.model_validate({"data_dir": data, "weights_site": NOWHERE, **named})
    with pytest.raises(ModelUnavailable, match=r"cannot be reached.*--weights FILE.*--model demo"):
        choose(settings)


def test_the_environment_names_a_model_too(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GLIMT_MODEL counts as naming."""
    monkeypatch.setenv("GLIMT_MODEL", "resnet50")
    with pytest.raises(ModelUnavailable):
        choose(Settings(data_dir=data, weights_site=NOWHERE))


def test_a_damaged_cached_file_is_replaced_by_the_demo_only_when_nothing_was_named(data: Path) -> None:
    """Named: FileDamaged with the file's name. Not named: the demo, and the notice names the file."""
    file = data / "weights" / "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"damaged")
    with pytest.raises(FileDamaged, match=str(file)):
        choose(Settings(data_dir=data, weights_site=NOWHERE, model="resnet50"))
    served = choose(Settings(data_dir=data, weights_site=NOWHERE))
    assert served.is_demo
    assert str(file) in (served.notice or "")
    assert "is damaged" in (served.public or "")
    assert str(data) not in (served.public or "")


def test_the_official_file_is_fetched_and_served(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the site to a ServedModel, for the one architecture whose file has no published hash to fake."""
    content = b"\x89HDF\r\n\x1a\n" + b"weights"
    with running(Site(content)) as site:
        served = choose(Settings(data_dir=data, weights_site=site.url, model="mobilenet_v2"))
    assert (served.info.name, served.info.weights) == ("mobilenet_v2", "imagenet")
    assert served.info.version == hashlib.sha256(content).hexdigest()[:12]
    assert served.weights_file == data / "weights" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    assert not served.is_demo
    assert served.notice is None
    assert len(served.classes) == 1000


def test_random_weights_say_so(data: Path) -> None:
    """No file, version seed-0, and a notice."""
    served = choose(Settings(data_dir=data, weights="random"))
    assert (served.info.name, served.info.version, served.info.weights) == ("resnet50", "seed-0", "random")
    assert served.weights_file is None
    assert "random weights" in (served.notice or "")


def test_a_file_is_served_under_its_name(data: Path, tmp_path: Path) -> None:
    """--weights FILE for an architecture: version from the content, the ImageNet classes, no notice."""
    file = tmp_path / "mine.weights.h5"
    file.write_bytes(b"anything; the engine judges it")
    served = choose(Settings(data_dir=data, model="mobilenet_v2", weights=str(file)))
    assert served.info.weights == "mine.weights.h5"
    assert served.info.version == hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    assert served.architecture is ARCHITECTURES["mobilenet_v2"]
    assert served.weights_file == file
    assert served.notice is None


def test_a_file_that_is_not_there_is_named(data: Path, tmp_path: Path) -> None:
    """A mistyped path ends the start."""
    with pytest.raises(ModelUnavailable, match=r"gone\.h5 does not exist"):
        choose(Settings(data_dir=data, weights=str(tmp_path / "gone.h5")))


def test_the_demo_can_be_asked_for(data: Path) -> None:
    """--model demo serves the shipped version, whole and of at most 1 MB, and says what it is."""
    served = choose(Settings(data_dir=data, model="demo"))
    assert served.is_demo
    assert served.classes.labels[7] == "digit_7"
    assert served.info.version == read_version(DEMO).version
    assert "--model resnet50" in (served.notice or "")
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 1_000_000


@pytest.mark.parametrize("path", ["", "demo.weights.h5"])
def test_a_version_folder_or_its_file_is_verified_and_served(data: Path, tmp_path: Path, path: str) -> None:
    """--weights DIR, or a file in it, takes architecture and classes from the manifest."""
    shutil.copytree(DEMO, tmp_path / "copy")
    served = choose(Settings(data_dir=data, weights=str(tmp_path / "copy" / path)))
    assert served.architecture is ARCHITECTURES["demo"]
    assert len(served.classes) == 10
    assert not served.is_demo


@pytest.mark.parametrize("path", ["", "demo.weights.h5"])
@pytest.mark.parametrize("damaged", ["demo.weights.h5", "classes.tsv"])
def test_a_flipped_byte_in_a_listed_file_is_named(data: Path, tmp_path: Path, path: str, damaged: str) -> None:
    """Whichever file of the version is damaged, and whether the folder or the file was named."""
    shutil.copytree(DEMO, tmp_path / "copy")
    flip_last_byte(tmp_path / "copy" / damaged)
    with pytest.raises(FileDamaged, match=damaged):
        choose(Settings(data_dir=data, weights=str(tmp_path / "copy" / path)))


def test_weights_of_another_architecture_than_named(data: Path) -> None:
    """A manifest that contradicts --model is an error with the way out."""
    with pytest.raises(ModelUnavailable, match="--model demo"):
        choose(Settings(data_dir=data, model="resnet50", weights=str(DEMO)))


def test_a_registered_model_is_found_by_name(data: Path) -> None:
    """By --model NAME the newest of the name, by NAME:VERSION that one."""
    version = register(data)
    for asked in ("mine", version.ref):
        assert choose(Settings(data_dir=data, model=asked)).weights_file == version.weights


def register(data: Path, name: str = "mine") -> ModelVersion:
    """The demo's weights under a name of our own."""
    demo = read_version(DEMO)
    return Registry(data).publish(
        name, architecture="demo", input_spec=demo.input, metrics={}, weights=demo.weights, classes=demo.classes
    )


def write_int8(data: Path) -> Path:
    """A version of the demo as `glimt quantize` leaves it; its content is the engine's to judge."""
    folder = data / "source"
    folder.mkdir(parents=True)
    for name in ("model.bin", "model.xml", "probe.npy"):
        (folder / name).write_bytes(name.encode())
    demo = read_version(DEMO)
    version = Registry(data).publish(
        "demo-int8", architecture="demo", input_spec=demo.input, metrics={}, weights=folder / "model.bin",
        classes=demo.classes, precision="int8", others=[folder / "model.xml", folder / "probe.npy"],
    )  # fmt: skip
    return version.weights.parent


@pytest.mark.parametrize("engine", ["auto", "openvino"])
@pytest.mark.parametrize("by", ["name", "folder"])
def test_an_int8_version_is_served_as_it_is(data: Path, engine: str, by: str) -> None:
    """By OpenVINO, from its own folder, with nothing to prepare; the answers call its weights int8."""
    folder = write_int8(data)
    named = {"model": "demo-int8"} if by == "name" else {"weights": str(folder)}
    served = choose(Settings.model_validate({"data_dir": data, "engine": engine, **named}))
    assert served.prepared == folder
    assert served.weights_file is None
    assert (served.info.name, served.info.engine, served.info.weights) == ("demo-int8", "openvino", "int8")
    assert not served.is_demo
    assert len(served.classes) == 10


def test_an_int8_version_is_nothing_for_tensorflow(data: Path) -> None:
    """Who asks for both is told which engine it needs."""
    write_int8(data)
    with pytest.raises(ModelUnavailable, match=r"int8, which only OpenVINO runs\. Way out: --engine openvino"):
        choose(Settings(data_dir=data, model="demo-int8", engine="tensorflow"))


@pytest.mark.parametrize("damaged", ["model.bin", "model.xml", "probe.npy"])
def test_a_damaged_int8_version_is_named(data: Path, damaged: str) -> None:
    """Each of its files is checked before the start."""
    flip_last_byte(write_int8(data) / damaged)
    with pytest.raises(FileDamaged, match=damaged):
        choose(Settings(data_dir=data, model="demo-int8"))


def test_a_damaged_registered_model_is_never_replaced(data: Path) -> None:
    """A flipped byte in the registry ends the start, naming the file."""
    flip_last_byte(register(data).weights.parent / "classes.tsv")
    with pytest.raises(FileDamaged, match=r"classes\.tsv"):
        choose(Settings(data_dir=data, model="mine"))


@pytest.mark.parametrize("name", ["resnet51", "../../etc"])
def test_an_unknown_model_lists_the_known(data: Path, name: str) -> None:
    """A mistyped or hostile name is refused in words."""
    with pytest.raises(ModelUnavailable, match=r"resnet50, mobilenet_v2|cannot be a model's name"):
        choose(Settings(data_dir=data, model=name))


def test_doctor_explains_without_downloading(data: Path) -> None:
    """The sentence says what a start would do; nobody is asked."""
    with running(Site(b"")) as site:
        assert "serves the demo model if it cannot" in explain(Settings(data_dir=data, weights_site=site.url))
        assert "fails if it cannot" in explain(Settings(data_dir=data, weights_site=site.url, model="resnet50"))
        assert site.requests == []
    assert "random weights" in explain(Settings(data_dir=data, weights="random"))
    assert not data.exists()


def test_what_was_activated_is_served_at_the_next_start(data: Path) -> None:
    """When the operator named nothing; and the reason says so."""
    version = register(data)
    Registry(data).point(version.ref, None)
    served = choose(Settings(data_dir=data, weights_site=NOWHERE))
    assert (served.info.name, served.info.version) == ("mine", version.version)
    assert served.notice is None
    assert "was activated" in explain(Settings(data_dir=data))


def test_what_the_operator_names_comes_before_what_was_activated(data: Path) -> None:
    """--model is the last word of who starts it."""
    Registry(data).point(register(data).ref, None)
    assert choose(Settings(data_dir=data, model="demo")).info.name == "demo"


def test_an_activated_version_that_is_damaged_ends_the_start(data: Path) -> None:
    """Another model in its place would be a surprise; the words name the file and the ways out."""
    version = register(data)
    Registry(data).point(version.ref, None)
    flip_last_byte(version.weights)
    with pytest.raises(ModelUnavailable, match=r"demo\.weights\.h5 is damaged.*glimt models roll-back"):
        choose(Settings(data_dir=data, weights_site=NOWHERE))


def test_a_trained_version_is_served_by_its_recipe(data: Path) -> None:
    """Its architecture is built for its own classes and size."""
    weights = data / "w.weights.h5"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    recipe = Recipe("cnn", 2, 32, 0)
    Registry(data).publish(
        "pets", architecture="cnn", input_spec=input_of(recipe), metrics={}, weights=weights, recipe=recipe,
        classes=ClassTable(("cat", "dog"), (None, None), ("", "")),
    )  # fmt: skip
    served = choose(Settings(data_dir=data, model="pets"))
    assert served.architecture.recipe == recipe
    assert (served.architecture.classes, served.input.size, served.input.normalisation) == (2, 32, "unit")


def test_a_version_that_wants_other_pictures_than_its_network_is_refused(data: Path) -> None:
    """A foreign manifest may ask for pictures of 20,000 pixels a side: one of them would fill the memory."""
    weights = data / "w.weights.h5"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    Registry(data).publish(
        "pets", architecture="cnn", input_spec=InputSpec(20_000, "unit"), metrics={}, weights=weights,
        recipe=Recipe("cnn", 2, 32, 0), classes=ClassTable(("cat", "dog"), (None, None), ("", "")),
    )  # fmt: skip
    with pytest.raises(FileDamaged, match="20000 pixels a side, unit, but cnn takes 32"):
        choose(Settings(data_dir=data, model="pets"))
