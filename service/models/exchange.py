"""A model version as one file, to be carried to another machine: a tar of its folder's files. Blocking.

What comes in is believed nothing: plain files with plain names and a bounded size are taken, and only when the manifest
among them lists each with its SHA-256.
"""

import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO

from service.errors import ArchiveInvalid, ArchiveTooLarge, FileDamaged, ModelUnavailable, StoreFull
from service.models.registry import Registry
from service.models.versions import MANIFEST, NAME_PATTERN, ModelVersion, read_manifest
from service.settings import MIB

MAX_BYTES = 2048 * MIB
"""Of all files: more than any version here (ResNet50: 100 MiB), as for downloads."""
MAX_FILES = 256


def export_version(registry: Registry, ref: str, target: BinaryIO) -> ModelVersion:
    """Write the version's manifest, then what that lists. Raises as `Registry.read`, OSError."""
    version = registry.read(ref)
    folder = version.weights.parent
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name in (MANIFEST, *sorted(read_manifest(folder).files)):
            tar.add(folder / name, arcname=name, recursive=False, filter=_anonymous)
    return version


def import_version(registry: Registry, source: BinaryIO) -> ModelVersion:
    """Take in what `export_version` wrote. Raises ArchiveInvalid, ArchiveTooLarge, StoreFull; Conflict when the version
    is here already; then nothing is left of it."""
    made: Path | None = None
    try:
        made = registry.scratch()
        _unpack(source, made)
        _drop_unlisted(made)
        return registry.adopt(made)
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveInvalid(f"This is not a model version: {error}. Make one with glimt models export.") from error
    except (FileDamaged, ModelUnavailable) as error:
        raise ArchiveInvalid(f"The model version in this file cannot be used: {_plain(error.detail, made)}") from error
    except OSError as error:
        raise StoreFull(f"The version cannot be written to {registry.folder}: {error.strerror or error}.") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _unpack(source: BinaryIO, folder: Path) -> None:
    size = 0
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for count, member in enumerate(tar):
            size += member.size
            if size > MAX_BYTES or count >= MAX_FILES:
                raise ArchiveTooLarge(
                    f"The file holds more than {MAX_BYTES // MIB:,} MiB or {MAX_FILES} files, too much for one version."
                )
            if not member.isreg() or not NAME_PATTERN.fullmatch(member.name):
                raise ArchiveInvalid(
                    f"The file holds {member.name[:100]!r}, which is not a plain file of a version. Make one with "
                    "glimt models export."
                )
            content = tar.extractfile(member)
            assert content is not None  # of a plain file
            with (folder / member.name).open("xb") as file:
                shutil.copyfileobj(content, file, MIB)


def _drop_unlisted(folder: Path) -> None:
    listed = {MANIFEST, *read_manifest(folder).files}
    for path in folder.iterdir():
        if path.name not in listed:
            path.unlink()


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Nobody needs to know who exported it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _plain(detail: str, folder: Path | None) -> str:
    return detail.replace(f"{folder}/", "").replace(str(folder), "it")
