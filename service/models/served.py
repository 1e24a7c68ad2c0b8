"""A model that can be served: what its files are, and that they belong together. Loads nothing."""

from dataclasses import dataclass
from pathlib import Path

from service.errors import FileDamaged, ModelUnavailable
from service.files import sha256
from service.inference.engines.choice import runtime
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec, ModelInfo
from service.models.architectures import ARCHITECTURES, Architecture, trained
from service.models.versions import ModelVersion, short_version
from service.settings import Settings

_HERE = Path(__file__).parent
DEMO = _HERE / "demo"
IMAGENET_CLASSES = _HERE / "imagenet_classes.tsv"


@dataclass(frozen=True)
class ServedModel:
    """All the app needs to know. `weights_file` None: random. `why`: one sentence for `glimt doctor`.

    `prepared`: the folder of a model that is ready for its engine as it is; None when it is made from the weights.

    `notice` is a paragraph for the console and for admins when the answers are not what one would expect (demo model,
    random weights); None otherwise. `plain` is the same for everybody, where the notice names paths of this machine.

    `run`: the training run that made it, if one did.
    """

    info: ModelInfo
    architecture: Architecture
    input: InputSpec
    classes: ClassTable
    weights_file: Path | None
    is_demo: bool
    notice: str | None
    why: str
    prepared: Path | None = None
    plain: str | None = None
    run: str | None = None

    @property
    def public(self) -> str | None:
        """The notice for /health and the page, without this machine's paths."""
        return self.plain or self.notice

    @property
    def brief(self) -> str | None:
        """The notice as one line for every answer, without this machine's paths."""
        if self.is_demo:
            return (
                "The demo model answers: it knows only handwritten digits. For real answers: "
                "scripts/serve --model resnet50 --weights FILE. GET /health says why."
            )
        return self.notice


def serve_weights(
    architecture: Architecture, settings: Settings, weights_file: Path, weights: str, why: str
) -> ServedModel:
    """A lone file of weights. Raises ModelUnavailable."""
    try:
        version = short_version(sha256(weights_file))
    except OSError as error:
        raise ModelUnavailable(f"The weights file {weights_file} cannot be read: {error.strerror}.") from error
    info = ModelInfo(architecture.name, version, runtime(settings.engine), weights)
    return serve_architecture(architecture, info, weights_file, why=why)


def serve_architecture(
    architecture: Architecture, info: ModelInfo, weights_file: Path | None, *, why: str, notice: str | None = None
) -> ServedModel:
    """What no version describes: the architecture as it is, with its usual classes."""
    return ServedModel(
        info=info,
        architecture=architecture,
        input=architecture.input,
        classes=_usual_classes(architecture),
        weights_file=weights_file,
        is_demo=False,
        notice=notice,
        why=why,
    )


def called(version: ModelVersion) -> str:
    """What its weights are called in answers."""
    return version.weights.name if version.precision == "float32" else version.precision


def serve_version(
    version: ModelVersion,
    settings: Settings,
    *,
    weights: str,
    why: str,
    is_demo: bool = False,
    notice: str | None = None,
) -> ServedModel:
    """A version, whose files were checked. Raises ModelUnavailable and FileDamaged."""
    architecture = trained(version.recipe) if version.recipe else ARCHITECTURES.get(version.architecture)
    if architecture is None:
        raise ModelUnavailable(
            f"{version.name} needs the architecture {version.architecture!r}, unknown to this Glimt."
        )
    if len(version.classes) != architecture.classes:
        raise FileDamaged(
            f"{version.weights.parent} lists {len(version.classes)} classes, "
            f"but {architecture.name} has {architecture.classes}."
        )
    if version.input != architecture.input:
        raise FileDamaged(
            f"{version.weights.parent} wants pictures of {_words(version.input)}, but {architecture.name} takes "
            f"{_words(architecture.input)}."
        )
    ready = version.precision == "int8"
    if ready and settings.engine == "tensorflow":
        raise ModelUnavailable(f"{version.name} is int8, which only OpenVINO runs. Way out: --engine openvino")
    return ServedModel(
        info=ModelInfo(version.name, version.version, "openvino" if ready else runtime(settings.engine), weights),
        architecture=architecture,
        input=version.input,
        classes=version.classes,
        weights_file=None if ready else version.weights,
        is_demo=is_demo,
        notice=notice,
        why=why,
        prepared=version.weights.parent if ready else None,
        run=version.run,
    )


def _words(wanted: InputSpec) -> str:
    return f"{wanted.size} pixels a side, {wanted.normalisation}"


def _usual_classes(architecture: Architecture) -> ClassTable:
    """The classes an architecture answers when no version says otherwise."""
    return ClassTable.read(IMAGENET_CLASSES if architecture.official else DEMO / "classes.tsv")
