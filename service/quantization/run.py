"""`glimt quantize`: gather, quantize, compare, and publish what is good enough."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.construction import INT8_TOLERANCE
from service.data_folder import is_served
from service.errors import BadRequest, StoreFull
from service.inference.engines.converting import MODEL
from service.inference.engines.engine import TOLERANCE, Engine, Pixels, Scores
from service.inference.engines.openvino import OpenVINOEngine
from service.inference.engines.prepared import PROBE, prepare_once
from service.inference.engines.quantizing import WEIGHTS, layers, quantize, require_nncf, worst_layers
from service.inference.images import Limits
from service.inference.predictions import InputSpec
from service.models.choice import choose
from service.models.registry import Registry, check_name
from service.models.served import ServedModel
from service.models.versions import ModelVersion
from service.quantization.pictures import Labels, PictureSets, gather
from service.quantization.quality import Quality, commonest_share
from service.quantization.report import Attempt, Candidate, Report, document, metrics, sentences, table
from service.quantization.speed import pictures_per_s
from service.settings import Settings

IN_FLOAT = (1, 2, 4, 8, 16)
"""Layers left in float when plain int8 is not good enough, one attempt each, as long as half stay in int8."""
RANKING_PICTURES = 16
BATCH = 8

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What was asked for. `name` None: the model's with -int8."""

    images: Path
    labels: Labels = "none"
    name: str | None = None
    calibrate: int = 300
    least_agreement: float = 0.97
    seed: int = 0
    dry_run: bool = False
    as_json: bool = False


@dataclass(frozen=True)
class Trial:
    """An int8 model in `folder`, with `in_float` layers in float."""

    in_float: int
    folder: Path
    quality: Quality


def run(order: Order, settings: Settings) -> bool:
    """Measure, print, and publish if it may be; whether int8 was good enough.

    Raises GlimtError: BadRequest (too few pictures, an int8 model), Conflict (the name is an architecture's, or this
    very version is there already), StartError (NNCF or the model cannot be had), StoreFull.
    """
    require_nncf()
    source = choose(settings.model_copy(update={"engine": "openvino", "fallback": False}))
    if source.prepared is not None:
        raise BadRequest(f"{source.info.name} is int8 already. Way out: --model with what it was made from.")
    name = order.name or f"{source.info.name}{_hint(source)}-int8"
    check_name(name)
    with _progress() as say, TemporaryDirectory(prefix="glimt-quantize-") as work:
        say("reading pictures")
        sets = _gather(order, source, settings)
        say("preparing float32")
        prepared = prepare_once(
            "openvino", source.architecture.build, source.weights_file, source.input, settings.data_path / "cache"
        )
        report, folder = _measure(order, source, prepared, sets, Path(work), say)
        version = None
        if report.passed and not order.dry_run:
            say("publishing")
            version = publish(name, folder, source, report, settings)
    _print(report, version, settings, as_json=order.as_json)
    return report.passed


def _hint(source: ServedModel) -> str:
    """Random weights shall be known by the name: the published version has no other notice."""
    return "-random" if source.info.weights == "random" else ""


def _gather(order: Order, source: ServedModel, settings: Settings) -> PictureSets:
    return gather(
        order.images, source.input, Limits(settings.max_image_bytes, settings.max_image_pixels), source.classes,
        labels=order.labels, calibrate=order.calibrate, seed=order.seed, threads=settings.decode_workers,
    )  # fmt: skip


def _measure(
    order: Order, source: ServedModel, prepared: Path, sets: PictureSets, work: Path, say: Say
) -> tuple[Report, Path]:
    """The report, and the folder of the model to publish if it says so."""
    with ExitStack() as stack:
        float32 = stack.enter_context(_loaded(prepared, source.input, TOLERANCE))
        say("float32 on the checked pictures")
        reference = _scores(float32, sets.check)
        trials: list[Trial] = []
        for in_float, folder in _int8_models(prepared, sets, source.input, work, say):
            with _loaded(folder, source.input) as engine:
                quality = Quality.of(_scores(engine, sets.check), reference, sets.truth)
            trials.append(Trial(in_float, folder, quality))
            if quality.agreement >= order.least_agreement:
                break
        best = max(trials, key=lambda trial: trial.quality.agreement)
        shown = [trials[0]] if best is trials[0] else [trials[0], best]
        say("measuring speed")
        int8 = [stack.enter_context(_loaded(trial.folder, source.input)) for trial in shown]
        speeds = pictures_per_s([float32, *int8], sets.check)
    count = len(layers(shown[0].folder))
    first = Candidate(
        "float32", count, Quality.of(reference, reference, sets.truth), speeds[0], (prepared / WEIGHTS).stat().st_size
    )
    report = Report(
        model=source.info.name,
        calibrated=len(sets.calibration),
        asked=order.calibrate,
        unreadable=sets.unreadable,
        duplicates=sets.duplicates,
        layers=count,
        least_agreement=order.least_agreement,
        commonest_share=commonest_share(reference),
        attempts=tuple(Attempt(trial.in_float, trial.quality.agreement) for trial in trials),
        float32=first,
        int8=tuple(_candidate(trial, per_s) for trial, per_s in zip(shown, speeds[1:], strict=True)),
    )
    return report, best.folder


def _int8_models(
    prepared: Path, sets: PictureSets, spec: InputSpec, work: Path, say: Say
) -> Iterator[tuple[int, Path]]:
    """Plain int8, then with more and more of the worst layers in float: how many, and the model's folder."""
    say(f"quantizing with {len(sets.calibration)} pictures")
    plain = work / "0"
    quantize(prepared, sets.calibration, spec, plain)
    yield 0, plain
    say("not good enough: looking for the worst layers")
    worst = worst_layers(prepared, plain, sets.calibration[:RANKING_PICTURES])
    for count in (count for count in IN_FLOAT if count <= len(worst) // 2):
        say(f"quantizing with {count} of {len(worst)} layers in float")
        quantize(prepared, sets.calibration, spec, work / str(count), worst[:count])
        yield count, work / str(count)


def _candidate(trial: Trial, per_s: tuple[float, ...]) -> Candidate:
    name = f"int8, {trial.in_float} in float" if trial.in_float else "int8"
    return Candidate(name, trial.in_float, trial.quality, per_s, (trial.folder / WEIGHTS).stat().st_size)


@contextmanager
def _loaded(folder: Path, spec: InputSpec, tolerance: float = INT8_TOLERANCE) -> Iterator[Engine]:
    engine = OpenVINOEngine(lambda: folder, spec, tolerance=tolerance)
    engine.load()
    try:
        yield engine
    finally:
        engine.close()


def _scores(engine: Engine, pictures: Pixels) -> Scores:
    return np.concatenate([engine.predict(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)])


def publish(name: str, folder: Path, source: ServedModel, report: Report, settings: Settings) -> ModelVersion:
    """Make the int8 model in `folder`, which was loaded and checked, a version of that name.

    Raises Conflict when it is there already, StoreFull when it cannot be written.
    """
    registry = Registry(settings.data_path)
    try:
        return registry.publish(
            name,
            architecture=source.architecture.name,
            input_spec=source.input,
            metrics=metrics(report),
            weights=folder / WEIGHTS,
            classes=source.classes,
            precision="int8",
            recipe=source.architecture.recipe,
            run=source.run,
            others=[folder / MODEL, folder / PROBE],
        )
    except OSError as error:
        raise StoreFull(f"The version cannot be written to {registry.folder}: {error.strerror or error}.") from error


@contextmanager
def _progress() -> Iterator[Say]:
    """What is being done now, and since when, on a terminal."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("")
        yield lambda words: progress.reset(task, description=words)


def _print(report: Report, version: ModelVersion | None, settings: Settings, *, as_json: bool) -> None:
    published = (
        {"name": version.name, "version": version.version, "folder": str(version.weights.parent)} if version else None
    )
    if as_json:
        sys.stdout.write(orjson.dumps(document(report) | {"published": published}).decode() + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(table(report))
    outcome = f"Published {version.ref} in {version.weights.parent}." if version else "Nothing was published."
    for line in [*sentences(report), outcome, *([to_serve(version, settings)] if version else [])]:
        console.print(line, markup=False)


def to_serve(version: ModelVersion, settings: Settings) -> str:
    """A service at work there is told; another could not start."""
    if is_served(settings.data_path):
        return f"To serve it: glimt models activate {version.ref}"
    return f"To serve it: glimt serve --model {version.name}"
