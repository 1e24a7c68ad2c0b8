"""Glimt beside LitServe, BentoML, Ray Serve, mosec and the naive FastAPI server: same model, same pictures, one table.

    .venv/bin/python -m perf.compare [--only glimt-openvino,litserve:2x1] [--clients 1 32] [--seconds 20] [--rounds 3]
        [--no-storm] [--int8 NAME --data-dir DIR] [--environments .peers] [--images DIR] [--json FILE] [--seed 0]

Before the first round each peer gets a virtual environment below --environments, once, from a package index: several
GB in all, and many minutes. They stay there; deleting the folder is safe. What else is written goes to a temporary
folder. It takes the whole machine for about two minutes a server and round, and some servers several GB of memory;
every process that they started is killed at the end of their turn. Linux only.

In each round every server is started, asked for the same answers, warmed, measured with each number of clients,
caught in a storm, and stopped; the order is shuffled in each round. Before and after each server the reference is
measured: the frozen graph that the peers serve, alone (perf/peers/alone.py). The storm: 100 clients that hang up
after 2 s and ask again, for 12 s; a picture is useful when its answer came within its client's 2 s. A server that
cannot be installed or started is a row that says so.
"""

import argparse
import asyncio
import json
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean

from perf.clients import IMPATIENT, answered, ask_once, crowd, failures, latencies, per_second
from perf.closed_loop import closed_loop, metrics
from perf.comparison import Loop, Measured, Storm, agree, judge, table
from perf.contenders import ROOT, Contender, NotRunning, chosen, contenders, install, peer_environment, running
from perf.serving import PHOTOS, named
from service.errors import GlimtError
from service.tuning.pictures import Distinct, photos

REFERENCE_S = 5
STORM_CLIENTS = 100
STORM_S = 12
FRESH_S = 120
PROBES = 5
"""Pictures to which every server must give the same answer."""


@dataclass
class Bench:
    """What stays the same in all rounds. `missing`: peers that could not be installed, and why."""

    options: argparse.Namespace
    work: Path
    chance: random.Random
    pictures: Distinct
    probes: list[bytes]
    expected: list[dict[int, float]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def answers(port: int, picture: bytes) -> bool:
    """Whether it is answered."""
    try:
        return asyncio.run(ask_once(port, picture, patience_s=10)).status == 200
    except (OSError, EOFError, ValueError, TimeoutError):
        return False


def scores(port: int, picture: bytes) -> dict[int, float]:
    """Class index -> probability of the five best, best first; empty when refused."""
    answer = asyncio.run(ask_once(port, picture, FRESH_S))
    if answer.status != 200:
        return {}
    return {one["index"]: one["score"] for one in json.loads(answer.body)["predictions"]}


def loop(bench: Bench, port: int, clients: int) -> Loop:
    """All clients at once; what ends after the warm-up counts."""
    asked = closed_loop(port, clients, bench.pictures, bench.options.seconds)
    return Loop(clients, per_second(asked, clients), latencies(answered(asked)), dict(failures(asked)))


def storm(bench: Bench, port: int, computed: Callable[[], float]) -> Storm:
    """Clients that hang up; then one that waits. What was computed until that one is answered was for the storm."""
    before, began = computed(), time.perf_counter()
    asked = asyncio.run(crowd(port, STORM_CLIENTS, bench.pictures, STORM_S, IMPATIENT))
    over = time.perf_counter()
    fresh_s = None
    while fresh_s is None and time.perf_counter() - over < FRESH_S:
        try:
            if asyncio.run(ask_once(port, next(bench.pictures), FRESH_S)).status == 200:
                fresh_s = time.perf_counter() - over
        except (OSError, EOFError, ValueError, TimeoutError):
            time.sleep(0.1)
    return judge(asked, began, STORM_S, computed() - before, fresh_s)


def computed_by(contender: Contender, port: int, work: Path) -> Callable[[], float]:
    """Reads how many pictures the server has computed so far."""
    if not contender.peer:
        return lambda: metrics(port)["glimt_batch_size_sum"]
    counts = work / "computed"
    return lambda: float(sum(map(int, counts.read_text().split()))) if counts.exists() else 0.0


def measure(bench: Bench, contender: Contender, round_number: int) -> Measured:
    """One server in one round, from its start to its end. Never raises what a server can cause."""
    measured = Measured(contender.name, round_number, contender.peer)
    try:
        if why := bench.missing.get(contender.environment_name):
            raise NotRunning(why)
        log = bench.work / f"{contender.name}.log"
        with running(contender, log, lambda port: answers(port, bench.probes[0])) as server:
            try:
                fill(bench, contender, server.port, measured)
            finally:
                measured.peak_mb = server.peak_mb
    except NotRunning as error:
        measured.note = f"not running: {error}"
    except (OSError, EOFError, ValueError, KeyError, TimeoutError, GlimtError) as error:
        measured.note = f"failed: {type(error).__name__} {error}"
    return measured


def missing(servers: list[Contender], environments: Path) -> dict[str, str]:
    """Install the peers' environments; those that cannot be installed, and why."""
    found = {}
    for name in sorted({server.environment_name for server in servers if server.peer}):
        print(f"environment of {name}: {environments / name}", file=sys.stderr, flush=True)
        try:
            install(name, environments)
        except NotRunning as error:
            found[name] = str(error)
    return found


def fill(bench: Bench, contender: Contender, port: int, measured: Measured) -> None:
    """Everything that is measured of a running server."""
    found = [scores(port, picture) for picture in bench.probes]
    if contender.float32:
        bench.expected = bench.expected or found
        if not all(map(agree, found, bench.expected)):
            measured.note = "answers differ"
    for clients in bench.options.clients:
        measured.loops[clients] = loop(bench, port, clients)
    if bench.options.storm:
        measured.storm = storm(bench, port, computed_by(contender, port, bench.work))


def reference(work: Path) -> float:
    """Pictures per second of the frozen graph alone."""
    graph, environment = work / "resnet50.pb", peer_environment(work)
    if not graph.exists():
        _python(["perf.peers.resnet", str(graph)], environment)
    return float(_python(["perf.peers.alone", str(REFERENCE_S)], environment))


def _python(module: list[str], environment: dict[str, str]) -> str:
    """What a module of ours says."""
    command = [sys.executable, "-m", *module]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{module[0]} failed:\n{finished.stderr}")
    return finished.stdout


def rounds(bench: Bench, servers: list[Contender]) -> Iterator[Measured]:
    """All rounds, one server after the other."""
    before = reference(bench.work)
    for number in range(1, bench.options.rounds + 1):
        for contender in bench.chance.sample(servers, len(servers)):
            measured = measure(bench, contender, number)
            after = reference(bench.work)
            measured.reference, before = mean((before, after)), after
            yield measured


def heading(images: Path | None) -> str:
    """Where, with what and of what the figures are."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    machine = f"{len(models)} x {models[0].partition(': ')[2]}" if models else platform.machine()
    return (
        f"`{' '.join(sys.argv[1:])}` at {commit.stdout.strip()} on {machine}, Python {platform.python_version()}; "
        f"pictures: {named(images)}"
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        help="names of servers, with commas between; a peer also as NAME:2x1 (processes x threads)",
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=20, help="of each closed loop, after its warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--storm", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--int8", metavar="NAME", help="a registered int8 version in --data-dir")
    parser.add_argument("--data-dir", type=Path, help="Glimt's data folder; else a new one")
    parser.add_argument("--environments", type=Path, default=ROOT / ".peers", help="where the peers are installed")
    parser.add_argument("--images", type=Path, default=PHOTOS, help="a folder; else made pictures")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Measure, print the table; whatever was measured when interrupted is printed too."""
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        pictures = photos(options.images)
    except GlimtError as error:
        raise SystemExit(f"{error.title}. {error.detail}") from error
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = Path(folder)
        known = contenders(options.environments, options.data_dir or work / "data", work, options.int8)
        try:
            servers = chosen(known, options.only or [contender.name for contender in known])
        except NotRunning as error:
            raise SystemExit(str(error)) from error
        bench = Bench(options, work, random.Random(options.seed), Distinct(pictures), pictures[:PROBES])
        bench.missing = missing(servers, options.environments)
        done: list[Measured] = []
        try:
            for measured in rounds(bench, servers):
                done.append(measured)
                print(measured.line(), file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            sys.exit(130)
        finally:
            if done:
                print(f"{heading(options.images)}\n\n{table(done)}")
            if options.json:
                options.json.write_text(json.dumps([asdict(one) for one in done], indent=1))


if __name__ == "__main__":
    main()
