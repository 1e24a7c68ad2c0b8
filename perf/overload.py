"""Ten times what the service can do, for a minute: what becomes of every single request.

    .venv/bin/python -m perf.overload [--seconds 60] [--times 10] [--calm 15] [--engine openvino] [--images DIR]
        [--model NAME --data-dir DIR] [-- further options for glimt serve]

Starts `glimt serve` with ResNet50 (random, seeded weights) or a model of the registry, cache off. First the calm rate:
16 clients in a closed loop. Then so many times that rate as an open loop (Poisson arrivals, no two pictures alike, one
in a hundred padded to 1 MiB, one in four hundred to 4 MiB) by perf/storm.py in a process of its own, then quiet.

Printed: the ledger (offered = answered + refused, by the clients' count and by the service's own), how long a refusal
takes by the size of the picture, the answered ones against the bound that the queue gives (all that may wait / the calm
rate), answers in time against the calm rate, resident memory, the time until a fresh request is answered, and whether
the generator kept up: its own processor time, and how late it sent. Exit code 1 when a claim does not hold. A storm of
demo models is more than a generator on the same cores can send: then the printed "offered" is below what was meant.
Linux only.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from perf.clients import ANSWERED, REFUSED, Latencies, latencies, per_second
from perf.closed_loop import closed_loop, metrics
from perf.process import forget_peak, held
from perf.serving import command_line, get, model_settings, named, serving
from perf.storm import Offer, Storm, unleash
from service.errors import GlimtError
from service.tuning.pictures import Distinct, photos

CLIENTS = 16
REFUSED_MS = 50.0
"""What a refusal may take, p99 (FAULTS, T6)."""
GOODPUT = 0.9
"""Of the calm rate, at least. The refusals, and the generator, cost processor time on the same cores."""
GROWTH_MIB = 32.0
"""Resident memory may be larger afterwards by so much: what the allocator keeps of a full queue's pictures."""
LATE_S = 0.02
QUIET_S = 5.0
SIZES = ((0, "as it is"), (1024 * 1024, "1 MiB"), (4 * 1024 * 1024, "4 MiB"))

Unleash = Callable[[int, Sequence[bytes], float, float], Storm]


class Memory(NamedTuple):
    """Resident, in MiB: before the storm, at its peak, and QUIET_S after its last answer."""

    before: float
    peak: float
    after: float


class Queue(NamedTuple):
    """What may wait, and be computed at once; the longest that the service lets anybody wait for an answer."""

    max_pending: int
    max_batch: int


class Run(NamedTuple):
    """What was seen. `counted`: answers of POST /predict by status, as the service counted them meanwhile."""

    calm_per_s: float
    rate: float
    storm: Storm
    memory: Memory
    queue: Queue
    counted: dict[str, int]


class Claim(NamedTuple):
    """What should be, and whether it is."""

    words: str
    holds: bool


def outcomes(offers: Sequence[Offer]) -> Counter[str]:
    """How they ended: answered, refused, sent away (refused after having been let in), or as the outcome says."""
    return Counter(_kind(offer) for offer in offers)


def _kind(offer: Offer) -> str:
    if offer.outcome == ANSWERED:
        return "answered"
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
    met = ends["answered"] + ends["refused"] + ends["sent away"]
    lost = run.storm.offered - met
    yield Claim(f"offered {run.storm.offered} = answered or refused {met}, lost {lost}", not lost)
    ours = Counter(offer.outcome for offer in offers)
    same = all(run.counted.get(status, 0) == ours[status] for status in (ANSWERED, *REFUSED))
    yield Claim(f"the service counted the same: {run.counted}", same)
    refused = latencies(times(offers, "refused"))
    yield Claim(f"refusals within {REFUSED_MS:g} ms, p99", refused is None or refused.p99 < REFUSED_MS)
    answered = latencies(times(offers, "answered"))
    yield Claim(f"answers within the queue's {bound_s(run):.1f} s, p99", not answered or answered.p99 < bound_s(run) * 1e3)
    share = goodput(run.storm) / run.calm_per_s
    yield Claim(f"answers in the storm / calm rate {share:.2f}, at least {GOODPUT:g}", share >= GOODPUT)
    grown = run.memory.after - run.memory.before
    yield Claim(f"memory grew by {grown:.0f} MiB, at most {GROWTH_MIB:g}", grown <= GROWTH_MIB)
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
    yield f"generator: {storm.cpu:.0%} of a core, {storm.connections} connections, late by {_shown(late)}{behind}"


def _shown(found: Latencies | None) -> str:
    return f"p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms" if found else "too few for percentiles"


def measure(options: argparse.Namespace, pictures: Sequence[bytes], port: int, pid: int, unleash: Unleash) -> Run:
    """Calm, storm, quiet."""
    asked = closed_loop(port, CLIENTS, Distinct([*pictures]), options.calm)
    calm = per_second(asked, CLIENTS)
    if not calm:
        raise SystemExit(f"Nothing was answered before the storm: {Counter(one.outcome for one in asked)}")
    queue, before, resident = orjson.loads(get(port, "/health").body)["queue"], metrics(port), held(pid).resident_mib
    forget_peak(pid)
    storm = unleash(port, pictures, calm * options.times, options.seconds)
    time.sleep(options.quiet)
    after = held(pid)
    counted = _answers(metrics(port), before)
    if storm.fresh_s is not None:
        counted[ANSWERED] -= 1
    memory = Memory(resident, after.peak_mib, after.resident_mib)
    limits = Queue(queue["max_pending"], queue["max_batch"])
    return Run(calm, calm * options.times, storm, memory, limits, counted)
