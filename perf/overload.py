"""Ten times what the service can do, for a minute: what becomes of every single request.

    .venv/bin/python -m perf.overload [--seconds 60] [--times 10] [--calm 15] [--engine openvino] [--images DIR]
        [--model NAME --data-dir DIR] [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random, seeded weights) or a model of the registry, cache off. First the calm rate:
16 clients in a closed loop. Then so many times that rate as an open loop (Poisson arrivals, no two pictures alike, one
in a hundred padded to 1 MiB, one in four hundred to 4 MiB) by perf/storm.py in a process of its own, then quiet.

Printed: the ledger (offered = answered + refused, by the clients' count and by the service's own), how long a refusal
takes by the size of the picture, the answered ones against the bound that the queue gives (all that may wait / the calm
rate), answers in time against the calm rate, resident memory, the time until a fresh request is answered, and whether
the generator kept up: its own processor time, and how late it sent. Exit code 1 when a claim does not hold. Ten times
what the tiny demo model can do is thousands of pictures a second, more than one event loop can read and refuse: for
that model take --times 2. Linux only.
"""

import argparse
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import orjson

from perf.clients import ANSWERED, REFUSED, Latencies, latencies, per_second
from perf.closed_loop import closed_loop, grown, metrics, quantile
from perf.process import forget_peak, held
from perf.serving import command_line, get, model_settings, named, serving
from perf.storm import Offer, Storm, unleash
from service.errors import GlimtError
from service.tuning.pictures import Distinct, photos

CLIENTS = 16
EXPIRED = "504"
REFUSED_MS = 50.0
"""What a refusal may take, p99 (FAULTS, T6)."""
GOODPUT = 0.9
"""Of the calm rate, at least. The refusals, and the generator, cost processor time on the same cores."""
FLAT_MIB = 16.0
"""Resident memory may grow by so much from the second quarter of the storm, when the queue is full, to its last: the
allocator's noise. A full queue itself holds its pictures, and the allocator keeps the room for the next one."""
LATE_S = 0.02
QUIET_S = 5.0
LOOK_S = 0.25
SIZES = ((0, "as it is"), (1024 * 1024, "1 MiB"), (4 * 1024 * 1024, "4 MiB"))


class Memory(NamedTuple):
    """Resident, in MiB: before the storm, all along it, at its peak, and `quiet` seconds after its last answer."""

    before: float
    along: list[float]
    peak: float
    after: float

    @property
    def grown(self) -> float:
        """From the second quarter of the storm to its last."""
        quarter = len(self.along) // 4 or 1
        return statistics.median(self.along[-quarter:]) - statistics.median(self.along[quarter : 2 * quarter] or [0.0])


class Queue(NamedTuple):
    """What may wait, and be computed at once; the longest that the service lets anybody wait for an answer."""

    max_pending: int
    max_batch: int


class Run(NamedTuple):
    """What was seen. `counted`: answers of POST /predict by status, as the service counted them meanwhile.
    `lag_ms`: p99 of the event loop's, the bound of a histogram's bucket."""

    calm_per_s: float
    rate: float
    storm: Storm
    memory: Memory
    queue: Queue
    counted: Counter[str]
    lag_ms: float


class Claim(NamedTuple):
    """What should be, and whether it is."""

    words: str
    holds: bool


def outcomes(offers: Sequence[Offer]) -> Counter[str]:
    """How they ended: answered, refused, sent away (refused after having been let in), expired (told so at the
    deadline), or as the outcome says."""
    return Counter(_kind(offer) for offer in offers)


def _kind(offer: Offer) -> str:
    if offer.outcome == ANSWERED:
        return "answered"
    if offer.outcome == EXPIRED:
        return "expired"
    if offer.outcome in REFUSED:
        return "sent away" if offer.waited else "refused"
    return offer.outcome


def goodput(storm: Storm) -> float:
    """Answers per second while pictures arrived."""
    answered = (offer for offer in storm.offers if offer.outcome == ANSWERED)
    in_time = sum(offer.due_s + offer.late_s + offer.took_s <= storm.seconds for offer in answered)
    return in_time / storm.seconds


def bound_s(run: Run) -> float:
    """The longest that an admitted picture can wait in arrival order: a full queue, behind a batch that has begun."""
    return (run.queue.max_pending + run.queue.max_batch) / run.calm_per_s


def claims(run: Run) -> Iterator[Claim]:
    """All that is promised."""
    offers, ends = run.storm.offers, outcomes(run.storm.offers)
    told = ends["refused"] + ends["sent away"] + ends["expired"]
    lost = run.storm.offered - ends["answered"] - told
    yield Claim(f"offered {run.storm.offered} = answered {ends['answered']} + refused {told}, lost {lost}", not lost)
    ours = Counter(offer.outcome for offer in offers)
    same = all(run.counted[status] == ours[status] for status in (ANSWERED, EXPIRED, *REFUSED))
    yield Claim(f"the service counted the same: {dict(run.counted)}", same)
    refused = latencies(times(offers, "refused"))
    yield Claim(f"refusals within {REFUSED_MS:g} ms, p99", refused is None or refused.p99 < REFUSED_MS)
    answered = latencies(times(offers, "answered"))
    yield Claim(
        f"answers within the queue's {bound_s(run):.1f} s, p99", not answered or answered.p99 < bound_s(run) * 1e3
    )
    share = goodput(run.storm) / run.calm_per_s
    yield Claim(f"answers in the storm / calm rate {share:.2f}, at least {GOODPUT:g}", share >= GOODPUT)
    grown = run.memory.grown
    yield Claim(f"memory grew by {grown:.1f} MiB while the storm lasted, at most {FLAT_MIB:g}", grown <= FLAT_MIB)
    yield Claim("a fresh request is answered afterwards", run.storm.fresh_s is not None)


def times(offers: Sequence[Offer], kind: str, least: int = 0, below: float = float("inf")) -> list[float]:
    """Seconds that those took which ended so, of sizes in [least, below)."""
    return [offer.took_s for offer in offers if _kind(offer) == kind and least <= offer.size < below]


def report(run: Run) -> Iterator[str]:
    """The lines to print."""
    storm, offers = run.storm, run.storm.offers
    yield f"calm: {run.calm_per_s:.1f} pictures/s with {CLIENTS} clients"
    yield (
        f"storm: {storm.seconds:g} s, meant {run.rate:.0f}/s, offered {storm.offered / storm.seconds:.0f}/s "
        f"({storm.offered / storm.seconds / run.calm_per_s:.1f} x calm)"
    )
    yield "ledger: " + ", ".join(f"{kind} {many}" for kind, many in outcomes(offers).most_common())
    answered = f"answered: {_shown(latencies(times(offers, 'answered')))}"
    yield f"{answered}; {goodput(storm):.1f}/s; the queue's bound {bound_s(run):.1f} s"
    yield f"sent away after a wait: {_shown(latencies(times(offers, 'sent away')))}"
    for (least, words), (below, _) in zip(SIZES, (*SIZES[1:], (sys.maxsize, "")), strict=True):
        found = times(offers, "refused", least, below)
        yield f"refused, picture {words}: {_shown(latencies(found))} of {len(found)}"
    told = [offer.retry_after_s for offer in offers if _kind(offer) == "refused"]
    if told:
        yield f"told to come again after {min(told)} to {max(told)} s"
    memory = run.memory
    yield f"memory: {memory.before:.0f} MiB before, {memory.peak:.0f} at the peak, {memory.after:.0f} after"
    fresh = f"{storm.fresh_s:.2f} s" if storm.fresh_s is not None else "never"
    yield f"a fresh request right after the last arrival: answered after {fresh}"
    late = latencies([offer.late_s for offer in offers])
    behind = "" if late is None or late.p99 < LATE_S * 1e3 else "; IT DID NOT KEEP UP, times are its own as well"
    yield f"event-loop lag, p99: at most {run.lag_ms:g} ms"
    yield f"generator: {storm.cpu:.0%} of a core, {storm.connections} connections, late by {_shown(late)}{behind}"


def _shown(found: Latencies | None) -> str:
    return f"p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms" if found else "too few for percentiles"


def measure(options: argparse.Namespace, pictures: Sequence[bytes], port: int, pid: int) -> Run:
    """Calm, storm, quiet."""
    asked = closed_loop(port, CLIENTS, Distinct([*pictures]), options.calm)
    calm = per_second(asked, CLIENTS)
    if not calm:
        raise SystemExit(f"Nothing was answered before the storm: {Counter(one.outcome for one in asked)}")
    queue, before, resident = orjson.loads(get(port, "/health").body)["queue"], metrics(port), held(pid).resident_mib
    forget_peak(pid)
    storm, along = apart(port, pictures, calm * options.times, options.seconds, lambda: held(pid).resident_mib)
    time.sleep(options.quiet)
    after = held(pid)
    figures = metrics(port)
    counted = statuses(figures) - statuses(before) - storm.fresh
    lag_ms = quantile(grown(before, figures, "glimt_event_loop_lag_seconds_bucket"), 0.99) * 1e3
    memory = Memory(resident, along, after.peak_mib, after.resident_mib)
    limits = Queue(queue["max_pending"], queue["max_batch"])
    return Run(calm, calm * options.times, storm, memory, limits, counted, lag_ms)


def statuses(figures: dict[str, float]) -> Counter[str]:
    """Answers of POST /predict so far, by status."""
    found: Counter[str] = Counter()
    for name, value in figures.items():
        if name.startswith("glimt_requests_total{") and 'route="/predict"' in name:
            found["".join(re.findall(r'status="(\d+)"', name))] += int(value)
    return found


def apart(
    port: int, pictures: Sequence[bytes], rate: float, seconds: float, look: Callable[[], float]
) -> tuple[Storm, list[float]]:
    """The storm from a process of its own, and what `look` saw while pictures arrived."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(int).result()  # it is there now
        coming, until, seen = process.submit(unleash, port, pictures, rate, seconds), time.monotonic() + seconds, []
        while not coming.done() and time.monotonic() < until:
            seen.append(look())
            time.sleep(LOOK_S)
        return coming.result(), seen


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--calm", type=float, default=15, help="seconds of the closed loop before")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=10, help="the storm / the calm rate")
    parser.add_argument("--quiet", type=float, default=QUIET_S, help="seconds after the last answer")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = parse()
    try:
        pictures = photos(options.images)
    except GlimtError as error:
        raise SystemExit(f"{error.title}. {error.detail}") from error
    print(f"pictures: {named(options.images)}", flush=True)
    chosen = {"engine": options.engine} | model_settings(options.model)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data_dir or Path(folder)
        with serving(chosen, data, options.serve) as (pid, port):
            run = measure(options, pictures, port, pid)
    print("\n".join(report(run)))
    judged = [*claims(run)]
    for claim in judged:
        print(f"{'holds ' if claim.holds else 'BROKEN'}  {claim.words}")
    sys.exit(not all(claim.holds for claim in judged))


if __name__ == "__main__":
    main()
