"""How much of the engine's own speed the service keeps: closed-loop clients against the engine alone.

    .venv/bin/python -m perf.closed_loop [--clients 1 32 100] [--seconds 30] [--rounds 3] [--images DIR]
        [--engine openvino] [--model NAME --data-dir DIR] [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random, seeded weights; a matrix product costs the same) or a model of the
registry, cache off, and sends distinct pictures. Right before and after each run the reference is measured in this
same session: the same engine class alone, batch 8 (for a lone client batch 1), in a process of its own, while the
service is stopped (SIGSTOP), because a machine's speed drifts. Printed per number of clients: pictures/s, the ratio to
the mean of the two references, for a lone client also of its p50 to the engine's time, latencies, refusals, failures,
batch sizes and why the batches left, event-loop lag; besides resident memory and idle CPU. What counts is what ends
after the warm-up; a refused client asks again when Retry-After says, but after a second at most. Linux only.
"""

import argparse
import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from perf.clients import PATIENT, REFUSED, Asked, Manner, answered, crowd, failures, latencies, per_second, steady
from perf.serving import ROOT, command_line, get, model_settings, named, serving
from service.errors import GlimtError
from service.tuning.pictures import Distinct, photos

REFERENCE_SECONDS = 6.0
WARM_SECONDS = 4.0
IDLE_SECONDS = 10.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

REFERENCE = """
import sys, time
import numpy as np
from pathlib import Path
from service.construction import make_engine
from service.models.choice import choose
from service.settings import Settings
settings = Settings(**dict(pair.split("=", 1) for pair in sys.argv[1:]))
served = choose(settings)
engine = make_engine(served, settings)
engine.load()
engine.warm_up([1, 8])
pixels = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
print("ready", flush=True)
for line in sys.stdin:
    batch, seconds = line.split()
    started, runs = time.perf_counter(), 0
    while time.perf_counter() - started < float(seconds):
        engine.predict(pixels[: int(batch)])
        runs += 1
    print(int(batch) * runs / (time.perf_counter() - started), flush=True)
"""


def closed_loop(port: int, clients: int, pictures: Distinct, seconds: float, manner: Manner = PATIENT) -> list[Asked]:
    """All clients at once for WARM_SECONDS + `seconds`; what ended after the warm-up."""
    begin = time.perf_counter() + WARM_SECONDS
    asked = asyncio.run(crowd(port, clients, pictures, WARM_SECONDS + seconds, manner))
    return steady(asked, begin, begin + seconds)


def metrics(port: int) -> dict[str, float]:
    """The service's /metrics, name with labels -> value."""
    text = get(port, "/metrics").body.decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def grown(before: dict[str, float], after: dict[str, float], prefix: str) -> dict[str, float]:
    """What was added to the counters that begin with `prefix` and an opening brace, by label value."""
    found = {}
    for name, value in after.items():
        if name.startswith(prefix + "{") and (added := value - before.get(name, 0)):
            found[name.split('"')[1]] = added
    return found


def quantile(cumulative: dict[str, float], share: float) -> float:
    """The upper bucket bound under which `share` of a histogram's observations lie."""
    total = max(cumulative.values(), default=0)
    return next((float(bound) for bound, count in cumulative.items() if count >= share * total), float("inf"))


class Reference:
    """The engine alone, with the service stopped meanwhile. `settings`: of the engine and model."""

    def __init__(self, settings: dict[str, str], service_pid: int) -> None:
        self._pid = service_pid
        self._process = subprocess.Popen(
            [sys.executable, "-c", REFERENCE, *(f"{name}={value}" for name, value in settings.items())],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._line()

    def measure(self, batch: int) -> float:
        """Pictures per second."""
        os.kill(self._pid, signal.SIGSTOP)
        try:
            assert self._process.stdin
            self._process.stdin.write(f"{batch} {REFERENCE_SECONDS}\n")
            self._process.stdin.flush()
            return float(self._line())
        finally:
            os.kill(self._pid, signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


def cpu_seconds(pid: int) -> float:
    """User and system time of the process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_mb(pid: int) -> dict[str, int]:
    """Resident memory now and at its peak, in MB (10^6 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = dict(re.findall(r"(VmRSS|VmHWM|RssAnon):\s+(\d+)", status))
    return {name: int(value) * 1024 // 10**6 for name, value in kilobytes.items()}


def report(
    clients: int,
    asked: Sequence[Asked],
    references: tuple[float, float],
    before: dict[str, float],
    after: dict[str, float],
) -> float:
    """Print one run; its ratio."""
    rate, alone = per_second(asked, clients), statistics.mean(references)
    batches = sum(grown(before, after, "glimt_batches_released_total").values())
    reasons = {reason: round(count) for reason, count in grown(before, after, "glimt_batches_released_total").items()}
    items = after["glimt_batch_size_sum"] - before["glimt_batch_size_sum"]
    lag_ms = quantile(grown(before, after, "glimt_event_loop_lag_seconds_bucket"), 0.99) * 1000
    failed, found = failures(asked), latencies(answered(asked))
    refused = sum(failed.pop(status, 0) for status in REFUSED)
    shown = "  ".join(f"{name} {value:.0f} ms" for name, value in found._asdict().items()) if found else "no latencies"
    if clients == 1 and found:
        print(f"   1 client   p50 / engine alone at batch 1: {found.p50 / 1000 * alone:.2f}")
    print(
        f"{clients:>4} clients  {rate:6.2f} pictures/s  ratio {rate / alone:.3f} "
        f"to the reference {references[0]:.2f} / {references[1]:.2f}\n"
        f"              {shown}  refused {refused}  failed {dict(failed) or 0}  "
        f"mean batch {items / max(1, batches):.1f}  released {reasons}  loop lag p99 <= {lag_ms:.0f} ms",
        flush=True,
    )
    return rate / alone


def measure(
    options: argparse.Namespace,
    supply: Distinct,
    port: int,
    pid: int,
    reference: Reference,
    ratios: dict[int, list[float]],
) -> None:
    """All the runs, printed one by one; fills `ratios`."""
    started = cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    idle = (cpu_seconds(pid) - started) / IDLE_SECONDS
    print(f"idle: {idle:.2%} of a core; memory when ready {resident_mb(pid)} MB", flush=True)
    for _ in range(options.rounds):
        for clients in options.clients:
            batch = min(clients, 8)
            first, before = reference.measure(batch), metrics(port)
            asked = closed_loop(port, clients, supply, options.seconds)
            after, second = metrics(port), reference.measure(batch)
            ratios[clients].append(report(clients, asked, (first, second), before, after))
    print(f"memory after the load {resident_mb(pid)} MB")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32, 100])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="openvino")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    ratios: dict[int, list[float]] = {clients: [] for clients in options.clients}
    try:
        supply = Distinct(photos(options.images))
        print(f"pictures: {named(options.images)}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            compare(options, supply, options.data_dir or Path(folder), ratios)
    except GlimtError as error:
        raise SystemExit(f"{error.title}. {error.detail}") from error
    for clients, values in ratios.items():
        shown = [round(value, 3) for value in sorted(values)]
        print(f"{clients:>4} clients  median ratio {statistics.median(values):.3f}  of {shown}")


def compare(options: argparse.Namespace, supply: Distinct, data: Path, ratios: dict[int, list[float]]) -> None:
    """The service and the reference, both up; fills `ratios`."""
    chosen = {"engine": options.engine} | model_settings(options.model)
    with serving(chosen, data, options.serve) as (pid, port):
        reference = Reference(chosen | {"data_dir": str(data)}, pid)
        try:
            measure(options, supply, port, pid, reference, ratios)
        finally:
            reference.close()


if __name__ == "__main__":
    main()
