"""A big zip as a job: its rate beside engine and decoder alone, its memory, and what interactive callers feel of it.

    .venv/bin/python -m perf.bulk [--pictures 4300] [--interactive 1 8] [--seconds 20] [--images DIR]
        [--model NAME --data-dir DIR] [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random weights) or a model of the registry, cache off. Per number of interactive
clients in a closed loop: their latencies without a job, with one, without again. Then one archive of distinct pictures
alone: from 202 to the end, resident memory every half second, and right before and after it the reference: the same
engine and the same decoder, two threads reading ahead, in a process of its own with the service stopped. Linux only.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx2

from perf.clients import answered, latencies
from perf.closed_loop import Reference, closed_loop, resident_mb
from perf.serving import ROOT, command_line, model_settings, named, serving
from service.tuning.pictures import Distinct, photos

PIPELINE = """
import sys, time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from service.construction import make_engine
from service.inference import images
from service.models.choice import choose
from service.settings import Settings
from service.tuning.pictures import Distinct, photos
settings = Settings(**dict(pair.split("=", 1) for pair in sys.argv[2:]))
served = choose(settings)
engine = make_engine(served, settings)
engine.load()
engine.warm_up([8])
supply = Distinct(photos(Path(sys.argv[1]) if sys.argv[1] else None))
limits = images.Limits(settings.max_image_bytes, settings.max_image_pixels)
pool = ThreadPoolExecutor(2)
decode = lambda data: images.read(data, limits, "imagenet", served.input)[0]
print("ready", flush=True)
for line in sys.stdin:
    _, seconds = line.split()
    ahead = deque(pool.submit(decode, next(supply)) for _ in range(24))
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < float(seconds):
        batch = np.stack([ahead.popleft().result() for _ in range(8)])
        ahead.extend(pool.submit(decode, next(supply)) for _ in range(8))
        engine.predict(batch)
        count += 8
    print(count / (time.perf_counter() - started), flush=True)
    for future in ahead:
        future.result()
"""


class Pipeline(Reference):
    """The engine with its decoder, with the service stopped meanwhile."""

    def __init__(self, settings: dict[str, str], service_pid: int, images: Path | None) -> None:
        self._pid = service_pid
        self._process = subprocess.Popen(
            [sys.executable, "-c", PIPELINE, str(images or ""), *(f"{k}={v}" for k, v in settings.items())],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._line()


def make_archive(path: Path, supply: Distinct, count: int) -> int:
    """A zip of so many distinct pictures, stored; its bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:06d}.jpg", next(supply))
    return path.stat().st_size


class Jobs:
    """`with Jobs(port) as jobs`: the service's bulk jobs."""

    def __init__(self, port: int) -> None:
        self._client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=300)

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def create(self, archive: Path) -> int:
        """Send the archive; the job's number."""
        with archive.open("rb") as file:
            made = self._client.post("/api/jobs", content=file, headers={"content-type": "application/zip"})
        number: int = made.raise_for_status().json()["id"]
        return number

    def read(self, number: int) -> dict[str, Any]:
        """How it stands."""
        found: dict[str, Any] = self._client.get(f"/api/jobs/{number}").raise_for_status().json()
        return found

    def end(self, number: int) -> None:
        """Remove it, be it over or not."""
        self._client.delete(f"/api/jobs/{number}?remove=true").raise_for_status()


def alone(jobs: Jobs, archive: Path, pid: int) -> tuple[float, int]:
    """Pictures/s of one job from 202 to the end, and the MB by which resident memory grew at most."""
    before = resident_mb(pid)["VmRSS"]
    peak, number, started = before, jobs.create(archive), time.perf_counter()
    while (job := jobs.read(number))["status"] not in ("done", "failed", "cancelled"):
        peak = max(peak, resident_mb(pid)["VmRSS"])
        time.sleep(0.5)
    took = time.perf_counter() - started
    if job["status"] != "done" or job["failed"]:
        raise SystemExit(f"The job ended as {job}")
    jobs.end(number)
    return job["done"] / took, peak - before


def felt(port: int, clients: int, supply: Distinct, seconds: float) -> tuple[float, float]:
    """p50 and p95 of so many interactive clients, milliseconds."""
    found = latencies(answered(closed_loop(port, clients, supply, seconds)))
    if found is None:
        raise SystemExit("The interactive clients were not answered.")
    return found.p50, found.p95


def measure(options: argparse.Namespace, supply: Distinct, archive: Path, jobs: Jobs, port: int, pid: int) -> None:
    """All of it, printed."""
    felt(port, 8, supply, 2.0)  # everything has been used once before memory counts
    for clients in options.interactive:
        before = felt(port, clients, supply, options.seconds)
        number = jobs.create(archive)
        with_job = felt(port, clients, supply, options.seconds)
        job = jobs.read(number)
        jobs.end(number)
        after = felt(port, clients, supply, options.seconds)
        p95 = statistics.mean((before[1], after[1]))
        print(
            f"{clients} interactive: p50 / p95 {before[0]:.0f} / {before[1]:.0f} ms, with a job {with_job[0]:.0f} / "
            f"{with_job[1]:.0f} ms ({with_job[1] / p95:.2f} x), after it {after[0]:.0f} / {after[1]:.0f} ms; "
            f"the job did {job['rate_per_s'] or 0:.1f} pictures/s meanwhile",
            flush=True,
        )
    chosen = model_settings(options.model) | {"data_dir": str(options.data_dir)}
    reference = Pipeline(chosen, pid, options.images)
    try:
        first = reference.measure(8)
        rate, grown = alone(jobs, archive, pid)
        second = reference.measure(8)
    finally:
        reference.close()
    ratio = rate / statistics.mean((first, second))
    print(
        f"one job of {options.pictures} pictures, {archive.stat().st_size / 1e6:.0f} MB: {rate:.1f} pictures/s, "
        f"{ratio:.3f} of engine and decoder alone ({first:.1f} / {second:.1f}); "
        f"resident memory grew by {grown} MB at most"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--pictures", type=int, default=4300)
    parser.add_argument("--interactive", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=20)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = parse()
    supply = Distinct(photos(options.images))
    with tempfile.TemporaryDirectory() as folder:
        archive, options.data_dir = Path(folder) / "big.zip", options.data_dir or Path(folder)
        print(f"pictures: {named(options.images)}; {make_archive(archive, supply, options.pictures)} bytes", flush=True)
        chosen = model_settings(options.model)
        with serving(chosen, options.data_dir, options.serve) as (pid, port), Jobs(port) as jobs:
            measure(options, supply, archive, jobs, port, pid)


if __name__ == "__main__":
    main()
