"""`glimt doctor`: what this machine has, what would be served, and why."""

import os
import platform
import shutil
import sqlite3
from importlib.metadata import version
from pathlib import Path

from service import __version__
from service.errors import StartError
from service.models.served import explain
from service.settings import Settings


def examine(settings: Settings) -> list[tuple[str, str]]:
    """Findings by name, in the order to print them. Downloads nothing and loads no model."""
    return [
        ("glimt", __version__),
        ("Python", f"{platform.python_version()} on {platform.platform(terse=True)}"),
        ("cores", f"{os.cpu_count()}{vector_extensions()}"),
        ("engine", f"tensorflow {version('tensorflow')}, keras {version('keras')}"),
        ("SQLite", sqlite3.sqlite_version),
        ("data folder", folder(settings.data_path)),
        ("model", settings.model),
        ("weights", settings.weights),
        ("would serve", would_serve(settings)),
    ]


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
