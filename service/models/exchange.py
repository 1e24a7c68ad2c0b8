"""A model version as one file, to be carried to another machine: a tar of its folder's files. Blocking.

What comes in is believed nothing: plain files with plain names and a bounded size are taken, and only when the manifest
among them lists each with its SHA-256.
"""

import shutil
import tarfile
from pathlib import Path
from typing import BinaryIO, Self

from service.errors import ArchiveInvalid, ArchiveTooLarge, FileDamaged, ModelUnavailable, StoreFull
from service.models.names import NAME_PATTERN
from service.models.registry import Registry
from service.models.versions import CLASSES, MANIFEST, ModelVersion, read_manifest
from service.settings import MIB

MAX_BYTES = 2048 * MIB
"""Of all files: more than any version here (ResNet50: 100 MiB), as for downloads."""
MAX_FILES = 256
SMALL = {MANIFEST: MIB, CLASSES: 16 * MIB}
"""What is read as a whole, each time the versions are listed."""
MAX_HEADER_BYTES = 64 * 1024
"""Of the fields that the PAX format puts before a file."""


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
    try:
        with registry.scratch() as made:
            return _adopted(registry, source, made)
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:  # the last two: fields that make no sense
        raise ArchiveInvalid(f"This is not a model version: {error}. Make one with glimt models export.") from error
    except OSError as error:
        raise StoreFull(f"The version cannot be written to {registry.folder}: {error.strerror or error}.") from error


def _adopted(registry: Registry, source: BinaryIO, made: Path) -> ModelVersion:
    try:
        _unpack(source, made)
        _drop_unlisted(made)
        return registry.adopt(made)
    except (FileDamaged, ModelUnavailable) as error:
        raise ArchiveInvalid(f"The model version in this file cannot be used: {_plain(error.detail, made)}") from error


def _unpack(source: BinaryIO, folder: Path) -> None:
    size = 0
    with tarfile.open(fileobj=source, mode="r|", tarinfo=_Member) as tar:
        for count, member in enumerate(tar):
            size += member.size
            if size > MAX_BYTES or count >= MAX_FILES or member.size > SMALL.get(member.name, MAX_BYTES):
                raise ArchiveTooLarge(
                    f"The file holds more than {MAX_BYTES // MIB:,} MiB or {MAX_FILES} files, or its {MANIFEST} or "
                    f"{CLASSES} is huge: too much for one version."
                )
            if member.issparse() or not NAME_PATTERN.fullmatch(member.name) or (folder / member.name).exists():
                raise _strange(member)
            content = tar.extractfile(member)
            assert content is not None  # of a plain file
            with (folder / member.name).open("xb") as file:
                shutil.copyfileobj(content, file, MIB)


class _Member(tarfile.TarInfo):
    """Looked at before tarfile acts upon it: it would read a header of gigabytes into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        small = member.type == tarfile.XHDTYPE and 0 <= member.size <= MAX_HEADER_BYTES
        if not small and member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise _strange(member)
        return member


def _strange(member: tarfile.TarInfo) -> ArchiveInvalid:
    return ArchiveInvalid(
        f"The file holds {member.name[:100]!r}, which is not a plain file of a version, or is there twice. Make one "
        "with glimt models export."
    )


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


def _plain(detail: str, folder: Path) -> str:
    return detail.replace(f"{folder}/", "").replace(str(folder), "it")
