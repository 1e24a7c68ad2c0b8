"""Does anything grow? Everybody at once for half an hour, and the slope of all that must not have one.

    .venv/bin/python -m perf.soak [--seconds 1800] [--warm 450] [--every 5] [--out DIR] [--engine openvino]
        [--images DIR] [--model NAME --data-dir DIR] [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random, seeded weights) or a model of the registry; its cache holds few answers, so
that it is full when it counts. perf/visitors.py has who comes: single pictures, new and known ones, streams, pages,
feedback, zips, people who hang up, damaged and oversized pictures. Every `--every` seconds: what the process holds by
/proc, and its tasks, event-loop lag, cache and queue by /metrics.

The first quarter warms up, unless `--warm` says otherwise. It begins with a rush, three times as many for a third of
it: an allocator keeps the room for the most that was ever needed at once, and under an even load that most still rises
by chance, ever more rarely, for an hour and longer. After a rush what still rises is rather a leak. Through the rest of
each measure goes a line (perf/slope.py) with an interval that holds the true slope with 95 % certainty. Exit code 1
when a slope is distinguishable from zero and above its tolerance, or when any visit ended as it should not. DIR gets
soak.csv, with every sample, and soak.svg. Linux only.
"""

import argparse
import asyncio
import csv
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import httpx2
import numpy as np

from perf.charts import Point, panels
from perf.closed_loop import metrics
from perf.process import held
from perf.serving import command_line, model_settings, named, service
from perf.slope import LEAST, Slope, slope
from perf.visitors import FINE, Visitors
from service.errors import GlimtError
from service.tuning.pictures import photos

WARM_SHARE = 0.25
RUSH_SHARE = 1 / 3  # of the warm-up
CACHE_ENTRIES = 256
PATIENCE_S = 60.0  # of a visitor, for anything to happen
HOUR_S = 3600
LAG = "glimt_event_loop_lag_seconds"


class Sample(NamedTuple):
    """What there was `at_s` seconds after the beginning. `lag_ms`: the mean since the sample before."""

    at_s: float
    resident_mib: float
    own_mib: float
    files: float
    threads: float
    tasks: float
    lag_ms: float
    cache: float
    queue: float
    visits: float


class Measure(NamedTuple):
    """One column of the samples. Growth is none up to `tolerance` per hour, nor up to `noise` in all: in a few minutes
    an allocator that still settles looks like a leak. No tolerance: a setting bounds it, and it is only shown."""

    words: str
    read: Callable[[Sample], float]
    tolerance: float = math.inf
    noise: float = 0.0


MEASURES = (
    Measure("resident, MiB", lambda sample: sample.resident_mib, 16.0, 4.0),  # a kilobyte a visit at 10/s would be 35
    Measure("of it our own, MiB", lambda sample: sample.own_mib),  # the rest are pages of files
    Measure("open files", lambda sample: sample.files, 12.0, 3.0),
    Measure("threads", lambda sample: sample.threads, 4.0, 1.0),
    Measure("tasks", lambda sample: sample.tasks, 12.0, 3.0),
    Measure("loop lag, ms", lambda sample: sample.lag_ms, 2.0, 1.0),
    Measure("cache entries", lambda sample: sample.cache),
    Measure("queue", lambda sample: sample.queue),
)


class Finding(NamedTuple):
    """A measure over the `hours` that count. `slope` per hour."""

    measure: Measure
    hours: float
    first: float
    last: float
    slope: Slope

    @property
    def grows(self) -> bool:
        """It is no accident, and it is too much."""
        return self.slope.is_known and self.slope.value > self.limit

    @property
    def limit(self) -> float:
        """Per hour, in this time."""
        return max(self.measure.tolerance, self.measure.noise / self.hours)


async def soak(options: argparse.Namespace, port: int, pid: int, samples: list[Sample]) -> Visitors:
    """The crowd and the one who watches it, who appends to `samples`. Raises OSError and Unavailable when the service
    is gone."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
        visitors = Visitors(port, photos(options.images), client)
        watching = asyncio.create_task(watch(options.every, port, pid, visitors, samples))
        crowd = asyncio.create_task(visitors.crowd(options.seconds, options.warm * RUSH_SHARE))
        try:
            await asyncio.wait((watching, crowd), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching
            await crowd
        finally:
            for task in (watching, crowd):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
    return visitors


async def watch(every_s: float, port: int, pid: int, visitors: Visitors, samples: list[Sample]) -> None:
    """Look for ever. Raises OSError and Unavailable when there is nothing to look at."""
    clock = asyncio.get_running_loop().time
    began, before = clock(), await asyncio.to_thread(metrics, port)
    while True:
        await asyncio.sleep(every_s)  # a look that was held up is not made up for: two at once have no slope
        seen, process = await asyncio.to_thread(metrics, port), held(pid)
        looks = seen[f"{LAG}_count"] - before[f"{LAG}_count"]
        lag_ms = (seen[f"{LAG}_sum"] - before[f"{LAG}_sum"]) / looks * 1000 if looks else 0.0
        samples.append(
            Sample(
                round(clock() - began, 2), round(process.resident_mib, 2), round(process.own_mib, 2), process.files,
                process.threads, seen["glimt_tasks"], round(lag_ms, 3), seen["glimt_cache_entries"],
                seen["glimt_queue_depth"], visitors.ledger.total(),
            )
        )  # fmt: skip
        before = seen


def find(samples: Sequence[Sample], warm_s: float) -> list[Finding]:
    """All measures over what was seen after the warm-up. Raises ValueError when that is too little."""
    counted = [sample for sample in samples if sample.at_s >= warm_s]
    x = np.array([sample.at_s for sample in counted])
    found = []
    for measure in MEASURES:
        y = np.array([measure.read(sample) for sample in counted], dtype=float)
        line = slope(x, y).times(HOUR_S)
        found.append(Finding(measure, (x[-1] - x[0]) / HOUR_S, *_ends(y), line))
    return found


def _ends(y: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, float]:
    """Medians of the first and last tenth."""
    tenth = max(1, len(y) // 10)
    return float(np.median(y[:tenth])), float(np.median(y[-tenth:]))


def table(findings: Sequence[Finding]) -> Iterator[str]:
    """Markdown."""
    yield "| measure | first tenth | last tenth | slope per hour | 95 % sure | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for finding in findings:
        measure, value = finding.measure, finding.slope
        verdict = "GROWS" if finding.grows else "" if value.is_known else "none"
        allowed = f" (tolerance {finding.limit:.3g})" if math.isfinite(finding.limit) else ""
        yield (
            f"| {measure.words} | {finding.first:.1f} | {finding.last:.1f} | {value.value:+.2f}{allowed} | "
            f"{value.low:+.2f} to {value.high:+.2f} | {verdict} |"
        )


def ledger(visitors: Visitors, seconds: float) -> Iterator[str]:
    """The visits by kind and how they ended, what should not have been last."""
    for kind in visitors.guests:
        ends = {end: many for (of, end), many in sorted(visitors.ledger.items()) if of == kind}
        yield f"{kind}: " + (", ".join(f"{many} {end}" for end, many in ends.items()) or "none")
    yield f"{visitors.ledger.total() / seconds:.1f} visits/s, {failed(visitors)} of them not as they should be"


def failed(visitors: Visitors) -> int:
    """Visits that ended as none should."""
    return sum(many for (_, end), many in visitors.ledger.items() if end not in FINE)


def write(folder: Path, samples: Sequence[Sample], warm_s: float) -> None:
    """The samples as they are, and drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = csv.writer(text := StringIO(), lineterminator="\n")
    writer.writerow(Sample._fields)
    writer.writerows(samples)
    (folder / "soak.csv").write_text(text.getvalue())
    rows = {
        measure.words: [Point(sample.at_s / 60, measure.read(sample), "") for sample in samples] for measure in MEASURES
    }
    (folder / "soak.svg").write_text(panels("Soak", "shaded: the warm-up", "minutes", rows, warm_s / 60))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--warm", type=float, help="seconds of it for the warm-up; a quarter if not given")
    parser.add_argument("--every", type=float, default=5, help="seconds between two samples")
    parser.add_argument("--out", type=Path, help="folder for soak.csv and soak.svg")
    options = parser.parse_args(arguments)
    if options.warm is None:
        options.warm = options.seconds * WARM_SHARE
    if options.seconds - options.warm < (LEAST + 1) * options.every:
        parser.error(f"--seconds: at least {LEAST + 1} samples must follow the warm-up (--warm, or a quarter of it)")
    return options


def judge(options: argparse.Namespace, visitors: Visitors, samples: Sequence[Sample]) -> bool:
    """Print it; whether it is as it should be."""
    print("\n".join(ledger(visitors, options.seconds)))
    findings = find(samples, options.warm)
    print("\n".join(table(findings)))
    return not failed(visitors) and not any(finding.grows for finding in findings)


def main() -> None:
    """Measure, print, write."""
    options = parse()
    chosen = {"engine": options.engine} | model_settings(options.model) | {"cache-entries": str(CACHE_ENTRIES)}
    arguments = [part for name, value in chosen.items() for part in (f"--{name}", value)]
    print(f"pictures: {named(options.images)}; {options.seconds:g} s", flush=True)
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            with service([*arguments, *options.serve], options.data_dir or Path(folder)) as (pid, port):
                visitors = asyncio.run(soak(options, port, pid, samples))
        except GlimtError as error:
            raise SystemExit(f"{error.title}. {error.detail}") from error
        except OSError as error:
            raise SystemExit(f"The service is gone: {error}") from error
        finally:  # also what was seen of a service that went
            if options.out and samples:
                write(options.out, samples, options.warm)
    sys.exit(not judge(options, visitors, samples))


if __name__ == "__main__":
    main()
