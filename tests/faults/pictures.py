"""python -m tests.faults.pictures [FOLDER or COUNT]: send every file of a folder, or so many damaged ones and all
bombs, to the whole service; print statuses, times and memory. Exit code 1 when an answer is none a picture may get.
"""

import asyncio
import logging
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from tests.faults.damage import damaged, pixel_bombs, work_bombs
from tests.world import in_process, make_app

ALLOWED = {200, 413, 415, 422}
SLOWEST = 5

File = tuple[str, bytes]


@dataclass
class Report:
    """What became of the files. Seconds are of the processor, decoding and all; bytes are the growth of the peak."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[tuple[float, str]] = field(default_factory=list)
    grown_bytes: int = 0

    def __str__(self) -> str:
        slowest = "\n".join(
            f"  {seconds:6.3f} s  {name}" for seconds, name in sorted(self.seconds)[: -SLOWEST - 1 : -1]
        )
        return (
            f"{self.statuses.total():,} files: {dict(sorted(self.statuses.items()))}, wrong: {self.wrong}\n"
            f"processor {sum(seconds for seconds, _ in self.seconds):.1f} s, slowest:\n{slowest}\n"
            f"memory's peak grew by {self.grown_bytes / 2**20:.0f} MiB"
        )


async def ask_about(files: Iterable[File]) -> Report:
    """Send them one after another to an app of its own."""
    report = Report()
    before = peak_bytes()
    with TemporaryDirectory() as folder:
        async with in_process(make_app(Path(folder), cache_entries=0)) as client:
            for name, data in files:
                began = time.process_time()
                answer = await client.post("/predict", content=data, headers={"Content-Type": "image/png"})
                report.seconds.append((time.process_time() - began, name))
                report.statuses[answer.status_code] += 1
                if answer.status_code not in (ALLOWED if data else {400}):
                    report.wrong.append(f"{name}: {answer.status_code} {answer.text}")
    report.grown_bytes = peak_bytes() - before
    return report


def made(count: int) -> Iterator[File]:
    """So many damaged files, and the bombs."""
    yield from damaged(100, count)
    yield from (pixel_bombs() | work_bombs()).items()


def found(folder: Path) -> Iterator[File]:
    """Every file below."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def peak_bytes() -> int:
    """The most memory this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    source = sys.argv[1] if len(sys.argv) > 1 else "5000"
    report = asyncio.run(ask_about(made(int(source)) if source.isdecimal() else found(Path(source))))
    print(report)
    sys.exit(bool(report.wrong))


if __name__ == "__main__":
    main()
