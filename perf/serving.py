"""What the tools that start `glimt serve` themselves have in common: their options, and the service these mean."""

import argparse
import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from service.errors import Unavailable
from service.tuning.connection import Address, Answer, Connection
from service.tuning.pictures import Distinct, photos

ROOT = Path(__file__).parents[1]
SHARED_PHOTOS = ROOT.parent / "shared/data/images"
PHOTOS = SHARED_PHOTOS if SHARED_PHOTOS.exists() else None
"""What --images is without being given; None is made pictures."""


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """Which pictures, which model, and what else `glimt serve` is told. `doc`: of the tool."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument("--images", type=Path, default=PHOTOS, help="a folder; else made pictures")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--data-dir", type=Path, help="where a model of the registry is")
    parser.add_argument("serve", nargs="*", help="further options for glimt serve, after --")
    return parser


def model_settings(model: str) -> dict[str, str]:
    """ResNet50 has random, seeded weights: a matrix product costs the same."""
    return {"model": model} | ({"weights": "random"} if model == "resnet50" else {})


def serving(settings: dict[str, str], data: Path, further: list[str]) -> AbstractContextManager[tuple[int, int]]:
    """As `service`: with these settings and `further` options, cache off."""
    chosen = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return service([*chosen, "--cache-entries", "0", "--log-level", "warning", *further], data)


@contextmanager
def served(options: argparse.Namespace) -> Iterator[tuple[Distinct, int]]:
    """The pictures and the port of the service that a `command_line` means. It says which pictures."""
    pictures = Distinct(photos(options.images))
    print(f"pictures: {named(options.images)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data_dir or Path(folder)
        with serving(model_settings(options.model), data, options.serve) as (_, port):
            yield pictures, port


def named(images: Path | None) -> str:
    """What the pictures were, in words that name no path."""
    return f"of {images.resolve().name}" if images else "made"


@contextmanager
def service(arguments: list[str], data: Path) -> Iterator[tuple[int, int]]:
    """`glimt serve` on a free port: (process id, port), once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), "--data-dir", str(data), *arguments]
    with (
        (data / "service.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT) as process,
    ):
        try:
            until = time.monotonic() + 180
            while not ready(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit((data / "service.log").read_text())
                time.sleep(0.2)
            yield process.pid, port
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()


def ready(port: int) -> bool:
    """Whether /readyz says 200."""
    try:
        return get(port, "/readyz").status == 200
    except (OSError, Unavailable):
        return False


def get(port: int, path: str) -> Answer:
    """Raises Unavailable and OSError."""

    async def ask() -> Answer:
        with closing(Connection(Address.of(f"http://127.0.0.1:{port}"))) as connection:
            return await connection.ask("GET", path)

    return asyncio.run(ask())
