"""A folder on the service's disk: which one may be read, what is in it, and the reading, which never leaves it.

Blocking. What is in it is listed once and the list kept, so that a job finds each file at its place after a restart,
whatever has come or gone since. No symbolic link is followed, neither then nor when a file is read, be it put there in
between: each part of a path is opened from the one above it.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from service.bulk.directory import ArchiveLimits
from service.bulk.names import UTF8_FLAG, Skip, read_name, skip_by_name
from service.bulk.source import Entry, Found, make_entries
from service.errors import (
    ArchiveInvalid,
    ArchiveTooLarge,
    ArchiveUnreadable,
    Forbidden,
    ImageError,
    InvalidField,
    StoreFull,
)
from service.files import NO_ROOM, replace_file, sync
from service.store.feedback import UNSTORABLE

MAX_DEPTH = 32
"""Folders within folders. Photos lie three or four deep."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Not blocking: a pipe that took the file's place would be waited for."""


class Listed(NamedTuple):
    """A file as it was when the folder was listed, by its path within the folder."""

    path: str
    size: int
    skip: Skip | None


def allowed_folder(asked: str, allowed: Sequence[Path]) -> Path:
    """The folder's real path. Raises Forbidden when it does not lie in an allowed one, InvalidField when it is none.

    Both are looked at through symbolic links: what they lead to counts.
    """
    if not allowed:
        raise Forbidden(
            "This service reads no folders of its disk. The operator can allow some: GLIMT_JOB_FOLDERS. Or send a zip."
        )
    if not os.path.isabs(asked) or UNSTORABLE.search(asked):
        raise InvalidField("folder: name it by its whole path, beginning with /, as it is on the service's machine.")
    folder = Path(os.path.realpath(asked))
    if _root_of(folder, allowed) is None:
        raise Forbidden(
            f"Folders are read only below {', '.join(map(str, allowed))}. The operator can name more in "
            "GLIMT_JOB_FOLDERS; else send a zip."
        )
    if not os.path.isdir(folder) or UNSTORABLE.search(str(folder)):
        raise InvalidField(f"folder: there is no folder {folder} on the service's machine.")
    return folder


class Folder:
    """An open folder. Any number of threads may read from it at once."""

    def __init__(self, descriptor: int, listed: Sequence[Listed]) -> None:
        self.entries = make_entries(
            [Found(read_name(os.fsencode(it.path), UTF8_FLAG, b""), it.size, it.skip) for it in listed]
        )
        self._descriptor = descriptor
        self._listed = listed

    def read(self, entry: Entry) -> bytes:
        """The bytes of one entry, or ImageError when it has gone, has changed its size, or may not be read.

        Raises ValueError for an entry that is to be skipped.
        """
        if entry.skip:
            raise ValueError(f"entry {entry.index} is to be skipped: {entry.skip}")
        *folders, name = self._listed[entry.index].path.split("/")
        try:
            with _descended(os.dup(self._descriptor), folders) as parent:
                file = os.open(name, _FILE, dir_fd=parent)
            with os.fdopen(file, "rb") as opened:
                about = os.fstat(file)
                data = opened.read(entry.size + 1) if stat.S_ISREG(about.st_mode) else b""
        except OSError as error:
            raise ImageError(f"The file cannot be read from the service's disk: {error.strerror}.") from error
        if len(data) != entry.size:
            raise ImageError("The file is another than when the job began. Start a new job.")
        return data


@contextmanager
def open_folder(folder: Path, listing: Path, limits: ArchiveLimits, allowed: Sequence[Path]) -> Iterator[Folder]:
    """The folder, a real path, with what the file `listing` says is in it; made now if it is not there. Closed at the
    end.

    Raises ArchiveInvalid when it holds nothing to read, ArchiveTooLarge, ArchiveUnreadable when it has gone or is no
    longer allowed, StoreFull when the listing cannot be written.
    """
    root = _root_of(folder, allowed)
    if root is None:
        raise ArchiveUnreadable(f"The folder {folder} lies no longer in one that GLIMT_JOB_FOLDERS allows.")
    try:
        with _descended(os.open(root, _FOLDER), folder.relative_to(root).parts) as descriptor:
            if not listing.exists():
                _keep(listing, _list(descriptor, limits))
            yield Folder(descriptor, [Listed(*it) for it in json.loads(listing.read_bytes())])
    except OSError as error:
        raise ArchiveUnreadable(
            f"The folder {folder} cannot be read on the service's disk ({error.strerror}). Start a new job once it can."
        ) from error


def _root_of(folder: Path, allowed: Sequence[Path]) -> Path | None:
    """The allowed folder's real path that this real path lies in."""
    roots = (Path(os.path.realpath(root)) for root in allowed)
    return next((root for root in roots if folder.is_relative_to(root)), None)


@contextmanager
def _descended(top: int, folders: Sequence[str]) -> Iterator[int]:
    """The folder below `top` that these names lead to, opened. `top` is closed."""
    here = top
    try:
        for name in folders:
            below = os.open(name, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _list(top: int, limits: ArchiveLimits) -> list[Listed]:
    """Every file, folder by folder, by name."""
    listed: list[Listed] = []
    room = limits.max_directory_bytes
    left: list[tuple[str, ...]] = [()]
    while left:
        folders = left.pop()
        below: list[tuple[str, ...]] = []
        for found in _in_folder(top, folders, limits):
            room -= len(found.path)
            if len(listed) + len(left) + len(below) >= limits.max_entries or room < 0:
                raise ArchiveTooLarge(
                    f"The folder holds more than {limits.max_entries:,} files, or names that are too long for so many. "
                    "Make a job of each of its folders."
                )
            if found.skip == "directory" and len(folders) < MAX_DEPTH:
                below.append((*folders, found.path.rpartition("/")[2]))
            else:
                listed.append(found._replace(skip="unreadable") if found.skip == "directory" else found)
        left += reversed(below)
    if all(it.skip for it in listed):
        raise ArchiveInvalid("The folder holds no picture that can be read. Name the one with the pictures in it.")
    return listed


def _in_folder(top: int, folders: tuple[str, ...], limits: ArchiveLimits) -> list[Listed]:
    """What lies in one folder, by name; the folder itself when it may not be looked into."""
    try:
        with _descended(os.dup(top), folders) as here, os.scandir(here) as files:
            found = []
            for file in files:
                found.append(_listed("/".join((*folders, file.name)), file, limits))
                if len(found) > limits.max_entries:
                    break
            return sorted(found)
    except OSError:
        if not folders:
            raise
        return [Listed("/".join(folders), 0, "unreadable")]


def _listed(path: str, file: os.DirEntry[str], limits: ArchiveLimits) -> Listed:
    about = file.stat(follow_symlinks=False)
    kind = stat.S_IFMT(about.st_mode)
    if kind == stat.S_IFDIR:
        return Listed(path, 0, "directory")
    if kind != stat.S_IFREG:
        return Listed(path, 0, "symlink" if kind == stat.S_IFLNK else "device")
    shown = read_name(os.fsencode(path), UTF8_FLAG, b"").shown
    too_large: Skip | None = "too_large" if about.st_size > limits.max_member_bytes else None
    return Listed(path, about.st_size, skip_by_name(shown) or too_large)


def _keep(listing: Path, listed: Sequence[Listed]) -> None:
    try:
        listing.parent.mkdir(mode=0o700, exist_ok=True)
        sync(listing.parent.parent)
        replace_file(listing, json.dumps(listed).encode())
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StoreFull("The service's disk is full: it cannot be noted what is in the folder.") from error
