"""One model version on disk: a folder with manifest.json, the weights, classes.tsv. registry.py says where it is."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from service.errors import Conflict, FileDamaged, ModelUnavailable
from service.files import sha256, sync
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec
from service.models.architectures import Recipe
from service.models.names import NAME, NAME_PATTERN
from service.models.scratch import scratch

MANIFEST = "manifest.json"
CLASSES = "classes.tsv"
UNPUBLISHED = "." + "[0-9a-f]" * 12 + "-*"
"""What the folder of a version is called until it is whole."""


Precision = Literal["float32", "int8"]
"""float32: Keras weights, to be prepared for an engine. int8: a model already prepared for OpenVINO by `quantize`."""


class Manifest(BaseModel):
    """manifest.json. `files`: every other file of the folder that matters, with its SHA-256 in hex.

    `recipe`: the network, where it was trained for classes of its own; `run` the training run that made it, and
    `beats_served` whether it was better than what was served then, None where nobody compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str = Field(pattern=f"^{NAME}$")
    version: str = Field(pattern=f"^{NAME}$")
    architecture: str
    input: InputSpec
    created: AwareDatetime
    metrics: dict[str, float]
    weights: str = Field(pattern=f"^{NAME}$")
    precision: Precision = "float32"
    recipe: Recipe | None = None
    run: str | None = Field(None, max_length=64)
    beats_served: bool | None = None
    files: dict[str, str]


@dataclass(frozen=True)
class ModelVersion:
    """A version whose files are what its manifest says. `metrics` as measured when it was made."""

    name: str
    version: str
    architecture: str
    input: InputSpec
    created: datetime
    metrics: dict[str, float]
    weights: Path
    classes: ClassTable
    precision: Precision = "float32"
    recipe: Recipe | None = None
    run: str | None = None
    beats_served: bool | None = None

    @property
    def ref(self) -> str:
        """What it is asked for by."""
        return f"{self.name}:{self.version}"


def read_version(directory: Path) -> ModelVersion:
    """Read a version and check every listed file.

    Raises ModelUnavailable when there is no manifest, FileDamaged naming the file that is not what it should be.
    """
    manifest = read_manifest(directory)
    for file_name in {CLASSES, manifest.weights} - manifest.files.keys():
        raise FileDamaged(f"{directory / MANIFEST} does not list {file_name}.")
    for file_name, expected in manifest.files.items():
        _check(directory / file_name, expected)
    try:
        classes = ClassTable.read(directory / CLASSES)
    except (ValueError, IndexError) as error:
        raise FileDamaged(f"{directory / CLASSES} is not a class table: {error}") from error
    return ModelVersion(
        name=manifest.name,
        version=manifest.version,
        architecture=manifest.architecture,
        input=manifest.input,
        created=manifest.created,
        metrics=manifest.metrics,
        weights=directory / manifest.weights,
        classes=classes,
        precision=manifest.precision,
        recipe=manifest.recipe,
        run=manifest.run,
        beats_served=manifest.beats_served,
    )


def read_manifest(directory: Path) -> Manifest:
    """The manifest alone, no file checked. Raises as `read_version`."""
    path = directory / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelUnavailable(f"{directory} is not a model version: it has no {MANIFEST}.") from None
    except OSError as error:
        raise FileDamaged(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileDamaged(f"{path} is damaged: {where} {first['msg']}".replace("  ", " ")) from error
    for file_name in manifest.files:
        if not NAME_PATTERN.fullmatch(file_name):
            raise FileDamaged(f"{path} lists {file_name!r}, which is not a plain file name.")
    return manifest


def write_version(
    directory: Path,
    *,
    name: str,
    architecture: str,
    input_spec: InputSpec,
    metrics: dict[str, float],
    weights: Path,
    classes: ClassTable,
    precision: Precision = "float32",
    others: Sequence[Path] = (),
    recipe: Recipe | None = None,
    run: str | None = None,
    beats_served: bool | None = None,
) -> ModelVersion:
    """Make `directory` a version with a copy of `weights` and of the `others`; it appears whole or not at all.

    The version's name is the beginning of the weights' SHA-256. Raises Conflict when `directory` exists already,
    OSError when it cannot be written.
    """
    if directory.exists():
        raise Conflict(f"{directory} exists already.")
    with scratch(directory.parent, f".{directory.name}-") as temporary:
        for path in (weights, *others):
            shutil.copyfile(path, temporary / path.name)
        classes_text = "".join(f"{line}\n" for line in _table(classes))
        (temporary / CLASSES).write_text(classes_text, encoding="utf-8")
        files = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        manifest = Manifest(
            name=name,
            version=short_version(files[weights.name]),
            architecture=architecture,
            input=input_spec,
            created=datetime.now(UTC).replace(microsecond=0),
            metrics=metrics,
            weights=weights.name,
            precision=precision,
            recipe=recipe,
            run=run,
            beats_served=beats_served,
            files=files,
        )
        text = json.dumps(manifest.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
        put(temporary, directory)
    return read_version(directory)


def put(made: Path, directory: Path) -> None:
    """Rename a folder of files, once all of them are on disk. Raises OSError."""
    for path in made.iterdir():
        sync(path)
    made.chmod(0o755)  # mkdtemp lets only the owner in
    made.rename(directory)
    sync(directory.parent)


def short_version(digest: str) -> str:
    """What a version is called: 48 bits of its weights' SHA-256 tell any two apart and fit in a line."""
    return digest[:12]


def _table(classes: ClassTable) -> list[str]:
    rows: list[tuple[Any, ...]] = [("index", "wnid", "label", "synonyms")]
    rows += zip(range(len(classes)), classes.wnids, classes.labels, classes.synonyms, strict=True)
    return ["\t".join("" if cell is None else str(cell) for cell in row) for row in rows]


def _check(path: Path, expected: str) -> None:
    try:
        actual = sha256(path)
    except OSError as error:
        raise FileDamaged(f"{path} is listed in {MANIFEST} but cannot be read: {error.strerror}.") from error
    if actual != expected:
        raise FileDamaged(
            f"{path} is damaged: its SHA-256 is {short_version(actual)}…, "
            f"{MANIFEST} says {short_version(expected)}…. Way out: copy the version's folder again from its source."
        )
