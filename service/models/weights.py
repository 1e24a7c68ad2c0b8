"""Official weight files: found on this machine, else downloaded. Never used before their hash is right.

A download grows in `<name>.part` and can be resumed, by a later start too: what the server said identifies the file
(its ETag) is kept beside it, and a server with another file, or without ranges, sends it from the beginning.
"""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

import httpx2
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from service.errors import FileDamaged, ModelUnavailable
from service.models.architectures import OfficialWeights
from service.settings import MIB, Settings

TIMEOUT = httpx2.Timeout(30, connect=10)
"""Seconds without a byte, and to connect: a start without network must not hang."""
TRIES = 4
"""Times a broken download is continued before giving up."""
MAX_BYTES = 2048 * MIB
"""More than any weight file here (ResNet50: 98 MiB): a server that sends for ever is cut off."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first bytes of a weights file, all there is to check where Keras publishes no hash."""


class Broken(Exception):
    """This try failed in a way that another may not."""


def places(official: OfficialWeights, settings: Settings) -> tuple[Path, Path]:
    """Where the file may be: our own folder (where downloads go), then Keras's, which we only read."""
    keras_home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    return (settings.data_path / "weights" / official.file_name, keras_home / "models" / official.file_name)


def cached(official: OfficialWeights, settings: Settings) -> Path | None:
    """The first of the places that holds the right file. One with a wrong hash is passed over."""
    return next((path for path in places(official, settings) if is_right(path, official)), None)


def is_right(path: Path, official: OfficialWeights) -> bool:
    """Whether the file is there and is the official one."""
    try:
        with path.open("rb") as file:
            if official.md5 is None:
                return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
            return hashlib.file_digest(file, _md5).hexdigest() == official.md5
    except OSError:
        return False


def obtain(official: OfficialWeights, settings: Settings, *, pause_s: float = 1.0) -> Path:
    """The official file, cached or downloaded now. `pause_s` is waited before the second try, twice that before
    the third.

    Raises ModelUnavailable (what failed, where it looked, the ways out), or FileDamaged naming the file when all
    there is has a wrong hash.
    """
    if found := cached(official, settings):
        return found
    own, kerass = places(official, settings)
    url = _address(settings.weights_site, official)
    damaged = [path for path in (own, kerass) if path.exists()]
    try:
        download(url, own, official, pause_s=pause_s)
    except ModelUnavailable as error:
        if damaged:
            raise FileDamaged(
                f"{damaged[0]} has a wrong hash, and could not be fetched again: {error.detail}"
            ) from error
        raise ModelUnavailable(f"{error.detail} Not found in {own.parent} or {kerass.parent} either.") from error
    return own


def _address(site: str, official: OfficialWeights) -> str:
    try:
        return urljoin(site.rstrip("/") + "/", official.path)
    except ValueError as error:
        raise ModelUnavailable(f"--weights-site {site} is not an address: {error}.") from error


def download(url: str, target: Path, official: OfficialWeights, *, pause_s: float = 1.0) -> None:
    """Fetch `url` to `target`, which appears whole and right or not at all. Raises ModelUnavailable."""
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            _alone(file, part)
            _fetch_with_retries(url, file, pause_s)
            if not is_right(part, official):
                part.unlink()
                _tag_file(file).unlink(missing_ok=True)
                raise ModelUnavailable(f"{url} is not the official file: its hash is wrong. It was deleted.")
            os.fsync(file.fileno())
            part.replace(target)
            _tag_file(file).unlink(missing_ok=True)
    except OSError as error:
        raise ModelUnavailable(f"{url} cannot be kept in {target.parent}: {error.strerror or error}.") from error


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)  # what Keras publishes; the site is reached over TLS


def _alone(file: BinaryIO, part: Path) -> None:
    """Two processes must not write one file; the lock goes with the process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ModelUnavailable(
            f"Another process is downloading {part} just now. Start again when it is done."
        ) from None


def _tag_file(file: BinaryIO) -> Path:
    return Path(f"{file.name}.etag")


def _fetch_with_retries(url: str, file: BinaryIO, pause_s: float) -> None:
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            return _fetch(url, file)
        except Broken as error:
            reason = str(error)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:  # offline: trying again only makes the start slow
            raise ModelUnavailable(f"{url} cannot be reached: {error or 'no answer'}.") from error
        except (httpx2.TransportError, httpx2.TooManyRedirects) as error:
            reason = str(error) or type(error).__name__
        except httpx2.InvalidURL as error:
            raise ModelUnavailable(f"{url} is not an address: {error}. See --weights-site.") from error
    raise ModelUnavailable(f"{url} broke off {TRIES} times ({reason}). The next start continues the download.")


def _fetch(url: str, file: BinaryIO) -> None:
    """Append what is missing, or start over when the server does not continue the same file."""
    have = file.seek(0, os.SEEK_END)
    tag_file = _tag_file(file)
    tag = tag_file.read_text() if have and tag_file.exists() else ""
    headers = {"Accept-Encoding": "identity"}
    if have and tag:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with httpx2.stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as answer:
        if answer.status_code == 416:  # what we have is not the beginning of what is there
            file.truncate(0)
            raise Broken("the server has no such range")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Broken(f"the server answered {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise ModelUnavailable(f"{url} cannot be had: the server answered {answer.status_code}.")
        if answer.status_code == 200:
            file.truncate(0)
            have = 0
            tag = answer.headers.get("etag", "")
            tag_file.write_text("" if tag.startswith("W/") else tag)  # a weak one may not be used for ranges
        size = have + int(answer.headers.get("content-length", "0"))
        _append(answer, file, have, size)


def _append(answer: httpx2.Response, file: BinaryIO, have: int, size: int) -> None:
    with _progress(str(answer.url), have, size) as bar:
        for chunk in answer.iter_bytes():
            have += len(chunk)
            if have > MAX_BYTES:
                file.truncate(0)
                raise ModelUnavailable(f"{answer.url} is larger than {MAX_BYTES // MIB} MiB, too much for weights.")
            file.write(chunk)
            bar.update(bar.task_ids[0], completed=have)
        file.flush()
    if have < size:
        raise Broken(f"{have} of {size} bytes came")


@contextmanager
def _progress(url: str, have: int, size: int) -> Iterator[Progress]:
    """A bar on a terminal, else one line."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        if not console.is_terminal:
            sys.stderr.write(f"Downloading {url} ({size / MIB:.0f} MiB, {have / MIB:.0f} there already)\n")
        bar.add_task("Downloading " + url.rsplit("/", 1)[-1], total=size or None, completed=have)
        yield bar
