"""How much of the engine's own speed the service keeps: closed-loop clients against the engine alone.

    .venv/bin/python -m perf.closed_loop [--clients 1 32 100] [--seconds 30] [--rounds 3] [--images DIR]
        [--engine openvino] [--model NAME --data-dir DIR] [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random, seeded weights; a matrix product costs the same) or a model of the
registry, cache off, and sends distinct pictures. Right before and after each run the reference is measured in this
same session: the same engine class alone, batch 8 (for a lone client batch 1), in a process of its own, while the
service is stopped (SIGSTOP), because a machine's speed drifts. Printed per number of clients: pictures/s, the ratio to
the mean of the two references, for a lone client also of its p50 to the engine's time, latencies, batch sizes and why
the batches left, event-loop lag; at the end resident memory and idle CPU.
"""

import argparse
import asyncio
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service.tuning import pictures
from service.tuning.pictures import Distinct as Distinct

ROOT = Path(__file__).parents[1]
SHARED_PHOTOS = ROOT.parent / "shared/data/images"
REFERENCE_SECONDS = 6.0
WARM_SECONDS = 4.0
IDLE_SECONDS = 10.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

REFERENCE = """
import sys, time
import numpy as np
from pathlib import Path
from service.app import make_engine
from service.models.served import choose
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


@dataclass
class Run:
    """One closed-loop run. Latencies in seconds."""

    clients: int
    seconds: float
    latencies: list[float] = field(default_factory=list)
    failures: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def photos(folder: Path | None) -> list[bytes]:
    """The folder's pictures, or made ones where it is not."""
    return pictures.photos(folder if folder and folder.exists() else None)


async def client(port: int, pictures: Distinct, run: Run, begin: float, end: float) -> None:
    """One keep-alive connection, one picture at a time. Only what completes in [begin, end] counts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        body = next(pictures)
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        started = time.perf_counter()
        writer.write(head.encode() + body)
        headers = await reader.readuntil(b"\r\n\r\n")
        match = re.search(rb"content-length: (\d+)", headers, re.IGNORECASE)
        assert match, headers
        await reader.readexactly(int(match[1]))
        now = time.perf_counter()
        if begin <= now <= end:
            if headers.startswith(b"HTTP/1.1 200"):
                run.latencies.append(now - started)
            else:
                run.failures[int(headers.split()[1])] += 1
    writer.close()


async def closed_loop(port: int, clients: int, pictures: Distinct, seconds: float) -> Run:
    """All clients at once for WARM_SECONDS + `seconds`."""
    run = Run(clients, seconds)
    begin = time.perf_counter() + WARM_SECONDS
    await asyncio.gather(*(client(port, pictures, run, begin, begin + seconds) for _ in range(clients)))
    return run


async def get(port: int, path: str) -> tuple[int, str]:
    """A GET without any library: status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


def metrics(port: int) -> dict[str, float]:
    """The service's /metrics, name with labels -> value."""
    _, text = asyncio.run(get(port, "/metrics"))
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
        return asyncio.run(get(port, "/readyz"))[0] == 200
    except OSError:
        return False


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


def report(run: Run, references: tuple[float, float], before: dict[str, float], after: dict[str, float]) -> float:
    """Print one run; its ratio."""
    ratio = run.per_second / statistics.mean(references)
    batches = sum(grown(before, after, "glimt_batches_released_total").values())
    reasons = {reason: round(count) for reason, count in grown(before, after, "glimt_batches_released_total").items()}
    items = after["glimt_batch_size_sum"] - before["glimt_batch_size_sum"]
    lag_ms = quantile(grown(before, after, "glimt_event_loop_lag_seconds_bucket"), 0.99) * 1000
    if len(run.latencies) < 2:
        raise SystemExit(f"{run.clients} clients got no answers; statuses: {dict(run.failures)}")
    cuts = statistics.quantiles(run.latencies, n=100)
    if run.clients == 1:
        print(f"   1 client   p50 / engine alone at batch 1: {cuts[49] * statistics.mean(references):.2f}")
    print(
        f"{run.clients:>4} clients  {run.per_second:6.2f} pictures/s  ratio {ratio:.3f} "
        f"to the reference {references[0]:.2f} / {references[1]:.2f}\n"
        f"              p50 {cuts[49] * 1000:.0f} ms  p95 {cuts[94] * 1000:.0f} ms  failed {dict(run.failures) or 0}  "
        f"mean batch {items / max(1, batches):.1f}  released {reasons}  loop lag p99 <= {lag_ms:.0f} ms",
        flush=True,
    )
    return ratio


def measure(
    options: argparse.Namespace, port: int, pid: int, reference: Reference, ratios: dict[int, list[float]]
) -> None:
    """All the runs, printed one by one; fills `ratios`."""
    supply = Distinct(photos(options.images))
    started = cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    idle = (cpu_seconds(pid) - started) / IDLE_SECONDS
    print(f"idle: {idle:.2%} of a core; memory when ready {resident_mb(pid)} MB", flush=True)
    for _ in range(options.rounds):
        for clients in options.clients:
            batch = min(clients, 8)
            first, before = reference.measure(batch), metrics(port)
            run = asyncio.run(closed_loop(port, clients, supply, options.seconds))
            after, second = metrics(port), reference.measure(batch)
            ratios[clients].append(report(run, (first, second), before, after))
    print(f"memory after the load {resident_mb(pid)} MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32, 100])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=Path, default=SHARED_PHOTOS)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--data-dir", type=Path, help="where a model of the registry is")
    parser.add_argument("serve", nargs="*", help="further options for glimt serve, after --")
    options = parser.parse_args()
    ratios: dict[int, list[float]] = {clients: [] for clients in options.clients}
    with tempfile.TemporaryDirectory() as folder:
        compare(options, options.data_dir or Path(folder), ratios)
    for clients, values in ratios.items():
        shown = [round(value, 3) for value in sorted(values)]
        print(f"{clients:>4} clients  median ratio {statistics.median(values):.3f}  of {shown}")


def compare(options: argparse.Namespace, data: Path, ratios: dict[int, list[float]]) -> None:
    """The service and the reference, both up; fills `ratios`."""
    chosen = {"engine": options.engine, "model": options.model}
    if options.model == "resnet50":
        chosen["weights"] = "random"
    arguments = [part for name, value in chosen.items() for part in (f"--{name}", value)]
    arguments += ["--cache-entries", "0", "--log-level", "warning", *options.serve]
    with service(arguments, data) as (pid, port):
        reference = Reference(chosen | {"data_dir": str(data)}, pid)
        try:
            measure(options, port, pid, reference, ratios)
        finally:
            reference.close()


if __name__ == "__main__":
    main()
