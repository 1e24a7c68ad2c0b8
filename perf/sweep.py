"""Which batch size and window are best, per engine and load: the whole grid, with the reference between its cells.

    .venv/bin/python -m perf.sweep --out DIR [--engine openvino tensorflow] [--model resnet50] [--weights random]
        [--batches 1 2 4 8 16 32] [--waits 0 2 5 20] [--clients 1 8 32] [--rates 10 20] [--seconds 5] [--rounds 2]
        [--p95-ms 250] [--images DIR] [-- further options of glimt serve]

Starts `glimt serve` once per engine, cache off, and changes the setting through PATCH /api/batching while the load goes
on. The reference is the setting that the service begins with. Without --rates the open loops get 50 % and 80 % of what
the heaviest closed loop got. DIR gets report.md with its charts, cells.csv, and visits.csv with every visit as it was.
"""

import argparse
import asyncio
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from perf.report import Result, cells_csv, charts, markdown, visits_csv
from perf.serving import PHOTOS, ROOT, named, service
from service.credentials import bearer
from service.errors import GlimtError
from service.tuning.grid import walk
from service.tuning.load import Arrival, Closed, Open
from service.tuning.pictures import Distinct, photos
from service.tuning.search import SEED, Bench
from service.tuning.setting import Setting
from service.tuning.target import Target
from service.tuning.verdict import Verdict

SHARES = (0.5, 0.8)  # of the capacity: a queue that hardly forms, and one that does


def grid(reference: Setting, batches: Sequence[int], waits_ms: Sequence[float]) -> list[Setting]:
    """Every batch size with every window but the reference, whose own values are added. A batch of one is full at
    once, whatever the window: it has one cell, at the reference's window."""
    sizes, waits = {*batches, reference.max_batch}, {*waits_ms, reference.max_wait_ms}
    several = {Setting(size, wait_ms) for size in sizes if size > 1 for wait_ms in waits}
    single = {Setting(1, reference.max_wait_ms)} if 1 in sizes else set()
    return sorted((several | single) - {reference})


async def sweep(options: argparse.Namespace, engine: str, target: Target, results: list[Result]) -> None:
    """All loads on a running service; appends as they come. The setting it began with is in force again afterwards."""
    pictures, before = Distinct(photos(options.images)), len(results)
    reference = await target.setting()
    for clients in sorted(options.clients):
        results.append(await one_load(options, engine, target, pictures, reference, Closed(clients)))
    for rate in options.rates if options.rates is not None else rates_for(results[before:]):
        results.append(await one_load(options, engine, target, pictures, reference, Open(rate)))
    await target.configure(reference)


def rates_for(results: Sequence[Result]) -> list[float]:
    """Rates in proportion to what the heaviest closed loop got, to three digits."""
    return [float(f"{share * results[-1].verdict.fastest.per_s:.3g}") for share in SHARES] if results else []


async def one_load(
    options: argparse.Namespace,
    engine: str,
    target: Target,
    pictures: Distinct,
    reference: Setting,
    arrival: Arrival,
) -> Result:
    """The grid under one load."""
    settings = grid(reference, options.batches, options.waits)
    order, begun = walk(settings, reference, options.rounds, random.Random(SEED)), time.monotonic()
    async with arrival.on(target, pictures) as loop:
        bench = Bench(target, loop, reference, options.seconds)
        for number, setting in enumerate(order, 1):
            load = await bench.visit(setting)
            left_s = (time.monotonic() - begun) / number * (len(order) - number)
            print(
                f"{engine}, {arrival}: {number}/{len(order)}  {setting}: {load.per_s:.1f}/s, p95 {load.p95_ms:.0f} ms; "
                f"{left_s / 60:.0f} min left of this load",
                flush=True,
            )
    return Result(engine, tuple(bench.visits), Verdict.of(bench.visits, reference, options.p95_ms, arrival))


def facts(options: argparse.Namespace) -> dict[str, str]:
    """What a figure must stand with: machine, command, commit."""
    processor = next(
        (line.partition(": ")[2] for line in cpu_lines() if line.startswith("model name")), platform.machine()
    )
    return {
        "machine": f"{os.cpu_count()} cores, {processor}, {platform.platform(terse=True)}, Python "
        f"{platform.python_version()}; the clients run on the same cores",
        "command": f"`python -m perf.sweep {' '.join(sys.argv[1:])}`",
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "model": f"{options.model}, weights {options.weights}, cache off",
        "pictures": named(options.images) + ("" if options.images else ": JPEGs, 500x375, about 96 kB; no two alike"),
        "visits": f"{options.rounds} of {options.seconds:g} s to each setting, in random order",
    }


def cpu_lines() -> list[str]:
    """What Linux tells of the processor; elsewhere nothing."""
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def commit() -> str:
    """The checkout's commit, with a mark when it has changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write(folder: Path, options: argparse.Namespace, results: Sequence[Result]) -> None:
    """All files of the report. Written after each engine, however it ended: what was measured is not lost."""
    folder.mkdir(parents=True, exist_ok=True)
    heading = f"Sweep of {options.model}: batch size and window"
    files = {
        "cells.csv": cells_csv(results),
        "visits.csv": visits_csv(results),
        "report.md": markdown(heading, facts(options), results),
    }
    for name, text in (files | charts(results)).items():
        (folder / name).write_text(text)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--engine", nargs="+", default=["openvino"])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--waits", type=float, nargs="+", default=[0, 2, 5, 20])
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--rates", type=float, nargs="*")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--p95-ms", type=float, default=250)
    parser.add_argument("--images", type=Path, default=PHOTOS, help="a folder; else made pictures")
    parser.add_argument("serve", nargs="*", help="further options for glimt serve, after --")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> list[Result]:
    """Measure and write, engine by engine, also what there is when it raises or is interrupted."""
    results: list[Result] = []
    common = ["--model", options.model, "--weights", options.weights, "--cache-entries", "0", "--log-level", "warning"]
    with tempfile.TemporaryDirectory() as data:
        for engine in options.engine:
            arguments = [*common, "--engine", engine, *options.serve]
            try:
                with service(arguments, Path(data)) as (_, port):
                    url = f"http://127.0.0.1:{port}"
                    asyncio.run(sweep(options, engine, Target(url, bearer(url, Path(data), None)), results))
            finally:
                if results:
                    write(options.out, options, results)
                    print(f"Written: {options.out / 'report.md'}", flush=True)
    return results


def main() -> None:
    """Run, and name the best."""
    options = parse()
    try:
        results = run(options)
    except GlimtError as error:
        raise SystemExit(f"{error.title}. {error.detail}") from error
    except KeyboardInterrupt:
        sys.exit(130)
    for result in results:
        chosen = result.verdict.chosen
        print(f"{result.engine}, {result.load}: {chosen.setting}, {chosen.per_s:.1f}/s, p95 {chosen.p95_ms:.0f} ms")


if __name__ == "__main__":
    main()
