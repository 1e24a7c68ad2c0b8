"""`glimt doctor`: what this machine has, what would be served, and why."""

import os
import platform
import shutil
import sqlite3
from pathlib import Path

from service import __version__
from service.cores import usable_cores
from service.counting import counted
from service.errors import StartError
from service.inference.calibration import best, curve_file, read_curve
from service.inference.engines.choice import runtime
from service.inference.engines.prepared import version_of
from service.models.choice import choose, explain, to_download
from service.settings import Settings


def examine(settings: Settings) -> list[tuple[str, str]]:
    """Findings by name, in the order to print them. Downloads nothing and loads no model."""
    return [
        ("glimt", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform(terse=True)}"),
        ("cores", f"{usable_cores()}{vector_extensions()}"),
        ("engine", engine(settings)),
        ("SQLite", sqlite3.sqlite_version),
        ("data folder", folder(settings.data_path)),
        ("model", settings.model),
        ("weights", settings.weights),
        ("would serve", would_serve(settings)),
        *batching(settings),
    ]


def engine(settings: Settings) -> str:
    """What computes, and the versions of all that could."""
    versions = ", ".join(f"{package} {version_of(package)}" for package in ("openvino", "tensorflow", "keras"))
    return f"{runtime(settings.engine)}, because --engine is {settings.engine} ({versions})"


def batching(settings: Settings) -> list[tuple[str, str]]:
    """How long a batch takes here, as kept by the last start that measured it, and what follows."""
    if to_download(settings):
        return []
    try:
        curve = read_curve(curve_file(settings.data_path, choose(settings).info))
    except StartError:
        return []
    if not curve:
        return [("batching", "not measured yet: the first start with --max-batch auto does it")]
    chosen = best(curve)
    rows = [
        f"{counted(point.batch, 'picture'):<13} {point.ms:7.1f} ms  {point.per_s:6.1f} pictures/s" for point in curve
    ]
    verdict = f"auto would use max_batch {chosen.max_batch}, max_wait_ms {chosen.max_wait_ms:g}"
    return [("batching", verdict), *(("", row) for row in rows)]


def vector_extensions() -> str:
    """The processor's extensions that matter for speed, where Linux tells them."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return ""
    found = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_tile") if name in flags]
    return f" ({', '.join(found)})" if found else ""


def folder(path: Path) -> str:
    """The path, whether it can be written, and the room on its disk."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    state = "exists" if existing == path else "will be made"
    writable = "" if os.access(existing, os.W_OK) else ", NOT WRITABLE"
    return f"{path} ({state}{writable}, {shutil.disk_usage(existing).free // 10**9} GB free)"


def would_serve(settings: Settings) -> str:
    """What `glimt serve` would do with these settings, and why."""
    try:
        return explain(settings)
    except StartError as error:
        return f"nothing, exit code 3: {error.detail}"
