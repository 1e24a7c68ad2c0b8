"""Small labelled pictures on disk, and runs that gather them."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from service.inference.images import Limits
from service.training.dataset import Dataset, gather
from service.training.orders import Order
from service.training.runs import Run, Runs

LIMITS = Limits(max_bytes=1024 * 1024, max_pixels=1_000_000)


def png(number: int) -> bytes:
    """One colour; the same number is the same picture."""
    file = BytesIO()
    Image.new("RGB", (40, 40), (number % 256, number // 256, 90)).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, numbers: Iterable[int], prefix: str = "p") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{prefix}{number:03}.png").write_bytes(png(number))


def two_classes(folder: Path, each: int = 20) -> Path:
    write(folder / "cat", range(each))
    write(folder / "dog", range(1000, 1000 + each))
    return folder


def a_run(data: Path, source: Path | str, **changes: Any) -> Run:
    options: dict[str, Any] = {"name": "pets", "source": str(source), "size": 32} | changes
    return Runs(data).create(Order(**options))


def gathered(data: Path, source: Path | str, **changes: Any) -> Dataset:
    run = a_run(data, source, **changes)
    return gather(run.order, run, LIMITS, say=lambda done, total: None)
