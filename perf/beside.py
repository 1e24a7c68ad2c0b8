"""What interactive callers notice of other work on the machine: their latencies without and with a command beside them.

    .venv/bin/python -m perf.beside [--clients 1] [--seconds 15] [--rounds 3] [--settle 10] [--images DIR]
        [--model NAME --data-dir DIR] --command "COMMAND" [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random weights) or a model of the registry, cache off. Rounds without and with the
command take turns; it is started anew for each of its rounds, has `--settle` seconds to get going, and is ended with
SIGTERM. Printed: pictures/s, p50 and p95 of each round, and the median ratio of with to without. Made for training:
--command "glimt train pets/ --epochs 1000 --patience 1000 --data-dir OTHER". Linux only.
"""

import argparse
import shlex
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

from perf.clients import Latencies, answered, latencies, per_second
from perf.closed_loop import closed_loop
from perf.serving import command_line, served
from service.tuning.pictures import Distinct

END_S = 60.0


@contextmanager
def running(command: str, settle_s: float) -> Iterator[None]:
    """The command, from when it has had its time to get going. Ends the program when it has ended before."""
    with TemporaryFile() as words:
        process = subprocess.Popen(shlex.split(command), stdout=subprocess.DEVNULL, stderr=words)
        try:
            time.sleep(settle_s)
            yield
            if process.poll() is not None:
                words.seek(0)
                said = words.read().decode(errors="replace").strip()[-500:]
                raise SystemExit(f"The command ended too early ({process.returncode}): {said}")
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def look(port: int, options: argparse.Namespace, pictures: Distinct, name: str) -> tuple[float, Latencies]:
    """One round: pictures/s and latencies. Ends the program when any request failed."""
    asked = closed_loop(port, options.clients, pictures, options.seconds)
    if len(answered(asked)) != len(asked):
        raise SystemExit(f"Not all was answered: {sorted({one.outcome for one in asked})}")
    spread = latencies([one.took for one in asked])
    if spread is None:
        raise SystemExit("Nothing was answered in time: give it more --seconds.")
    found = per_second(asked, options.clients), spread
    print(f"{name:<8} {found[0]:6.2f} pictures/s, p50 {found[1].p50:.1f} ms, p95 {found[1].p95:.1f} ms", flush=True)
    return found


def measure(options: argparse.Namespace, pictures: Distinct, port: int) -> None:
    """All rounds, and the median ratios; each round with the command is compared with those right before and after."""
    ratios: list[Iterator[float]] = []
    before = look(port, options, pictures, "without")
    for _ in range(options.rounds):
        with running(options.command, options.settle):
            beside = look(port, options, pictures, "with")
        after = look(port, options, pictures, "without")
        ratios.append(beside_over(beside, before, after))
        before = after
    rate, p50, p95 = (statistics.median(values) for values in zip(*ratios, strict=True))
    print(f"with / without, median of {options.rounds}: pictures/s {rate:.2f}, p50 {p50:.2f}, p95 {p95:.2f}")


def beside_over(
    beside: tuple[float, Latencies], before: tuple[float, Latencies], after: tuple[float, Latencies]
) -> Iterator[float]:
    """Ratios of rate, p50 and p95 to the mean of both neighbours."""
    yield beside[0] / statistics.mean((before[0], after[0]))
    yield beside[1].p50 / statistics.mean((before[1].p50, after[1].p50))
    yield beside[1].p95 / statistics.mean((before[1].p95, after[1].p95))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--command", required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settle", type=float, default=10)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = parse()
    with served(options) as (pictures, port):
        measure(options, pictures, port)


if __name__ == "__main__":
    main()
