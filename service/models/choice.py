"""Which model is served, and why: CONTRACTS §2. Decides and finds files; loads nothing."""

from dataclasses import replace
from pathlib import Path

from service.errors import FileDamaged, ModelUnavailable, NotFound
from service.inference.engines.choice import runtime
from service.inference.predictions import ModelInfo
from service.models.architectures import ARCHITECTURES, Architecture, OfficialWeights
from service.models.registry import Registry
from service.models.served import DEMO, ServedModel, called, serve_architecture, serve_version, serve_weights
from service.models.versions import MANIFEST, ModelVersion, read_manifest, read_version
from service.models.weights import cached, obtain, places
from service.settings import Settings

RANDOM_VERSION = "seed-0"
"""Random weights are drawn from seed 0, so their scores are the same everywhere."""


def choose(settings: Settings) -> ServedModel:
    """The model these settings ask for; downloads its weights if need be.

    When the user named neither model nor weights it is the one that was activated, if any; and only then, and with
    `settings.fallback`, the demo model takes the place of one that cannot be had. Raises ModelUnavailable or
    FileDamaged, whose detail names the way out.
    """
    if activated := _activated(settings):
        return activated
    return configured(settings)


def configured(settings: Settings) -> ServedModel:
    """As `choose`, whatever was activated."""
    try:
        return _named(settings)
    except (ModelUnavailable, FileDamaged) as error:
        if settings.named_a_model or not settings.fallback:
            raise
        notice = (
            f"The demo model answers, and it knows only handwritten digits, because the ImageNet weights of "
            f"{settings.model} could not be had."
        )
        found = "What is on its machine is damaged" if isinstance(error, FileDamaged) else "They are not on its machine"
        return _demo(
            settings,
            f"{notice} {error.detail}",
            plain=f"{notice} {found}, and could not be downloaded. Ways out for whoever runs it: connect it to the "
            f"network and start it again; or scripts/serve --model {settings.model} --weights FILE. Its first words on "
            "the console say more.",
            why=f"The demo model, because the weights of {settings.model} cannot be had: {error.detail}",
        )


def registered(ref: str, settings: Settings) -> ServedModel:
    """A version of the registry, every file checked. Raises NotFound, ModelUnavailable, FileDamaged."""
    registry = Registry(settings.data_path)
    version = registry.read(ref)
    why = f"{version.ref} from {registry.folder}."
    return serve_version(version, settings, weights=called(version), why=why)


def _activated(settings: Settings) -> ServedModel | None:
    ref = None if settings.named_a_model else Registry(settings.data_path).pointer().served
    if ref is None:
        return None
    try:
        found = registered(ref, settings)
    except (NotFound, ModelUnavailable, FileDamaged) as error:
        raise ModelUnavailable(
            f"{ref}, which was activated, cannot be served: {error.detail} Ways out: glimt models roll-back; glimt "
            "models activate another one; or name one with --model."
        ) from error
    return replace(found, why=f"{found.why} It was activated.")


def explain(settings: Settings) -> str:
    """What `choose` would serve and why, in a sentence or two, without downloading anything."""
    if activated := _activated(settings):
        return activated.why
    official = to_download(settings)
    if official:
        otherwise = "fails" if settings.named_a_model or not settings.fallback else "serves the demo model"
        return (
            f"{settings.model}: its ImageNet weights are not on this machine. The start downloads "
            f"{official.file_name} from {settings.weights_site}, and {otherwise} if it cannot."
        )
    return choose(settings).why


def to_download(settings: Settings) -> OfficialWeights | None:
    """The official weights that `choose` would have to fetch first."""
    architecture = ARCHITECTURES.get(settings.model)
    official = architecture.official if architecture and settings.weights == "imagenet" else None
    return official if official and cached(official, settings) is None else None


def _named(settings: Settings) -> ServedModel:
    """What was asked for, or the reason why not."""
    if settings.weights not in ("imagenet", "random"):
        return _from_path(Path(settings.weights).expanduser().absolute(), settings)
    if settings.model not in ARCHITECTURES:
        return _from_registry(settings)
    architecture = ARCHITECTURES[settings.model]
    if settings.weights == "random":
        return _random(architecture, settings)
    if architecture.official is None:
        return _demo(
            settings,
            "The demo model answers, as asked for with --model demo. It knows only handwritten digits. "
            "For a thousand kinds of things: scripts/serve --model resnet50",
            why="The demo model, because --model demo asks for it.",
        )
    return _official(architecture, settings)


def _official(architecture: Architecture, settings: Settings) -> ServedModel:
    official = architecture.official
    assert official is not None
    own, _ = places(official, settings)
    try:
        path = obtain(official, settings)
    except (ModelUnavailable, FileDamaged) as error:
        raise type(error)(
            f"{error.detail} Ways out: connect to the network and start again; or put {official.file_name} at {own}; "
            f"or scripts/serve --model {architecture.name} --weights FILE; or --model demo for a toy."
        ) from error
    checked = "hash checked" if official.md5 else "Keras publishes no hash for it"
    return serve_weights(
        architecture,
        settings,
        path,
        "imagenet",
        f"{architecture.name} with the ImageNet weights in {path} ({checked}).",
    )


def _random(architecture: Architecture, settings: Settings) -> ServedModel:
    notice = (
        f"{architecture.name} answers with random weights, as asked for with --weights random: good for load tests, "
        f"but the labels mean nothing. For real answers: scripts/serve --model {architecture.name}"
    )
    info = ModelInfo(architecture.name, RANDOM_VERSION, runtime(settings.engine), "random")
    why = f"{architecture.name} with random weights, because --weights random asks for them."
    return serve_architecture(architecture, info, None, why=why, notice=notice)


def _demo(settings: Settings, notice: str, why: str, plain: str | None = None) -> ServedModel:
    found = serve_version(read_version(DEMO), settings, weights="demo", is_demo=True, notice=notice, why=why)
    return replace(found, plain=plain)


def _from_registry(settings: Settings) -> ServedModel:
    if "weights" in settings.model_fields_set:
        raise ModelUnavailable(f"--weights cannot be combined with {settings.model!r}, which has its own weights.")
    try:
        return registered(settings.model, settings)
    except NotFound as error:
        known = ", ".join(ARCHITECTURES)
        raise ModelUnavailable(f"{error.detail} Nor is it one of {known}. `glimt models` lists all.") from error


def _from_path(path: Path, settings: Settings) -> ServedModel:
    """--weights PATH: a version's folder, a file of one (then all its files are checked), or a lone weights file."""
    if not path.exists():
        raise ModelUnavailable(f"The weights file {path} does not exist. Way out: name one that does with --weights.")
    directory = path if path.is_dir() else path.parent
    if path.is_dir() or _is_listed(path):
        return _from_version(read_version(directory), directory, settings)
    if settings.model not in ARCHITECTURES:
        raise ModelUnavailable(
            f"--weights {path} needs the architecture it was made for: --model {', '.join(ARCHITECTURES)}."
        )
    architecture = ARCHITECTURES[settings.model]
    why = f"{architecture.name} with the weights in {path}, because --weights names it."
    return serve_weights(architecture, settings, path, path.name, why)


def _is_listed(path: Path) -> bool:
    return (path.parent / MANIFEST).is_file() and path.name in read_manifest(path.parent).files


def _from_version(version: ModelVersion, directory: Path, settings: Settings) -> ServedModel:
    if "model" in settings.model_fields_set and settings.model not in (version.architecture, version.name):
        raise ModelUnavailable(
            f"{directory} holds weights of {version.architecture}, not of {settings.model}. "
            f"Way out: --model {version.architecture}"
        )
    return serve_version(
        version,
        settings,
        weights=called(version),
        why=f"{version.name} {version.version} in {directory}, because --weights names it.",
    )
