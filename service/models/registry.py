"""The versions that this data folder holds, and which of them is served.

    <data>/models/<name>/<version>/     one version (versions.py)
    <data>/models/served.json           the pointer: what was activated, and what was served before

A version is asked for as NAME:VERSION; NAME alone is the one of them that is activated, else the newest. Blocking.
"""

import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import Conflict, FileDamaged, ModelUnavailable, NotFound
from service.files import replace_file, sha256
from service.inference.labels import ClassTable
from service.models.architectures import ARCHITECTURES
from service.models.names import NAME_PATTERN, REF_PATTERN
from service.models.scratch import scratch, sweep
from service.models.versions import (
    CLASSES,
    MANIFEST,
    UNPUBLISHED,
    Manifest,
    ModelVersion,
    put,
    read_manifest,
    read_version,
    short_version,
    write_version,
)

POINTER = "served.json"
INCOMING, GONE = ".incoming-", ".gone-"
"""Begin the names of hidden folders: what is being imported, what is being deleted."""


class Pointer(BaseModel):
    """served.json. None is the model that the settings name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    served: str | None = None
    previous: str | None = None
    changed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A version as the list shows it: its manifest, or what is wrong with that. Its files were not checked."""

    ref: str
    folder: Path
    bytes: int
    manifest: Manifest | None = None
    damage: str | None = None
    labels: tuple[str, ...] = ()


class Registry:
    """The folder `<data>/models`. Any number of processes may read; one at a time should change it."""

    def __init__(self, data_path: Path) -> None:
        self.folder = data_path / "models"

    def folder_of(self, ref: str) -> Path:
        """Where the version is. Raises NotFound when there is none, ModelUnavailable for what cannot be a name."""
        if not REF_PATTERN.fullmatch(ref):
            raise ModelUnavailable(
                f"{ref!r} cannot be a model's name: NAME or NAME:VERSION, letters, digits, . _ - and at most 64 each."
            )
        name, _, version = ref.partition(":")
        version = version or self._chosen(name)
        folder = self.folder / name / version
        if not version or not (folder / MANIFEST).is_file():
            raise NotFound(
                f"There is no model {ref!r} here. GET /api/models and glimt models list the versions there are."
            )
        return folder

    def read(self, ref: str) -> ModelVersion:
        """The version, each of its files checked. Raises NotFound, ModelUnavailable, FileDamaged."""
        folder = self.folder_of(ref)
        version = read_version(folder)
        if version.ref != _ref(folder):
            raise FileDamaged(f"{folder} holds {version.ref}. Way out: call its folder that.")
        return version

    def list(self) -> list[Listed]:
        """All versions, the newest first; those with a damaged manifest last."""
        found = []
        for path in self.folder.glob(f"*/*/{MANIFEST}"):
            with suppress(FileNotFoundError):  # deleted just now
                found += [self._listed(path.parent)] if _is_version(path.parent) else []
        return sorted(found, key=lambda one: one.manifest.created.timestamp() if one.manifest else 0.0, reverse=True)

    def look(self, ref: str) -> Listed:
        """One of the list. Raises NotFound, ModelUnavailable."""
        try:
            return self._listed(self.folder_of(ref))
        except FileNotFoundError:
            raise NotFound(f"{ref!r} has just been deleted.") from None

    def publish(self, name: str, *, weights: Path, **what: Any) -> ModelVersion:
        """Add a version of the name, see `write_version`. Raises Conflict when just these weights are there already,
        or the name is taken by an architecture; OSError."""
        check_name(name)
        return write_version(self.folder / name / short_version(sha256(weights)), name=name, weights=weights, **what)

    def adopt(self, made: Path) -> ModelVersion:
        """Take in a folder that is a version of another registry; it must lie in `scratch()`. Raises as `read_version`,
        Conflict when it is there already."""
        version = read_version(made)
        check_name(version.name)
        if version.version != short_version(read_manifest(made).files[version.weights.name]):
            raise FileDamaged(f"{made / MANIFEST} calls it {version.version}, which is not the beginning of its hash.")
        directory = self.folder / version.name / version.version
        if directory.exists():
            raise Conflict(f"{version.ref} is here already.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        put(made, directory)
        return read_version(directory)

    def scratch(self) -> AbstractContextManager[Path]:
        """A new folder on the same disk, for what is to be adopted; it is removed at the end if it was not."""
        return scratch(self.folder, INCOMING)

    def sweep(self) -> None:
        """Remove what processes that were killed left of imports, publications and deletions. For who holds the data
        folder's lock: nobody else may be deleting."""
        left = (self.folder.glob(name) for name in (f"{INCOMING}*", f"*/{GONE}*", f"*/{UNPUBLISHED}"))
        sweep(path for paths in left for path in paths)

    def delete(self, ref: str) -> None:
        """Raises NotFound; Conflict for the served one, and for the one that a roll-back would bring back."""
        folder = self.folder_of(ref)
        found, pointer = _ref(folder), self.pointer()
        if found == pointer.served:
            raise Conflict(f"{found} is served. Activate another one first.")
        if found == pointer.previous:
            raise Conflict(f"{found} is what a roll-back brings back. Activate another one first.")
        gone = folder.with_name(f"{GONE}{folder.name}")
        folder.rename(gone)  # whole or not at all: it may be large
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()

    def pointer(self) -> Pointer:
        """Which is served. Raises FileDamaged."""
        path = self.folder / POINTER
        try:
            return Pointer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Pointer()
        except (OSError, ValidationError) as error:
            raise FileDamaged(
                f"{path} cannot be read. Way out: delete it, and activate the model that shall be served."
            ) from error

    def point(self, served: str | None, previous: str | None) -> Pointer:
        """Say what is served from now on. Raises OSError."""
        pointer = Pointer(served=served, previous=previous, changed=datetime.now(UTC).replace(microsecond=0))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.folder / POINTER, pointer.model_dump_json(indent=2).encode())
        return pointer

    def _chosen(self, name: str) -> str:
        """The version that a name alone means; "" when it has none."""
        served, _, version = (self.pointer().served or "").partition(":")
        if served == name:
            return version
        newest = max((one for one in self.list() if one.ref.startswith(f"{name}:")), key=_age, default=None)
        return newest.ref.partition(":")[2] if newest else ""

    def _listed(self, folder: Path) -> Listed:
        found = Listed(_ref(folder), folder, sum(path.stat().st_size for path in folder.iterdir()))
        try:
            manifest = read_manifest(folder)
            labels = ClassTable.read(folder / CLASSES).labels
        except (ModelUnavailable, FileDamaged) as error:
            return replace(found, damage=error.detail.replace(f"{self.folder}/", ""))  # guests read it too
        except (OSError, ValueError, IndexError) as error:
            return replace(found, damage=f"Its {CLASSES} cannot be read: {error}.")
        if f"{manifest.name}:{manifest.version}" != found.ref:
            return replace(found, damage=f"{found.ref} holds {manifest.name}:{manifest.version}.")
        return replace(found, manifest=manifest, labels=labels)


def check_name(name: str) -> None:
    """Raises ModelUnavailable for what cannot be a name, Conflict for an architecture's and for the pointer's."""
    if not NAME_PATTERN.fullmatch(name):
        raise ModelUnavailable(f"{name!r} cannot be a model's name: letters, digits, . _ - and at most 64 of them.")
    if name in ARCHITECTURES:
        raise Conflict(f"{name} is an architecture: --model would never find the version. Choose another name.")
    if name.casefold() == POINTER:  # some disks know no case
        raise Conflict(f"{name} is a file of the registry's own. Choose another name.")


def _ref(folder: Path) -> str:
    return f"{folder.parent.name}:{folder.name}"


def _is_version(folder: Path) -> bool:
    return bool(NAME_PATTERN.fullmatch(folder.name) and NAME_PATTERN.fullmatch(folder.parent.name))


def _age(listed: Listed) -> float:
    return listed.manifest.created.timestamp() if listed.manifest else 0.0
