"""What compare.py measured, and the table made of it. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from perf.clients import Asked, Latencies, answered, failures

CLOSE = 1e-3
"""Probabilities that differ by no more are the same answer: one decoder, two runtimes' rounding."""


class Loop(NamedTuple):
    """One closed loop: answers per second, and what else could have come back."""

    clients: int
    per_s: float
    latencies: Latencies | None
    failures: dict[str, int]


class Storm(NamedTuple):
    """Answers in time per second; their share of all pictures computed; seconds until a fresh request is answered.

    None: nothing was computed, or no answer came.
    """

    per_s: float
    useful: float | None
    fresh_s: float | None
    ends: dict[str, int]


@dataclass
class Measured:
    """One server in one round. `reference` is pictures/s of the graph alone, measured right before and after."""

    server: str
    round: int
    peer: bool
    reference: float = 0.0
    loops: dict[int, Loop] = field(default_factory=dict)
    storm: Storm | None = None
    peak_mb: float = 0.0
    note: str = ""

    def line(self) -> str:
        """For him who waits."""
        rates = ", ".join(f"{loop.per_s:.1f}/s with {clients}" for clients, loop in self.loops.items())
        return f"round {self.round} {self.server}: {rates or 'nothing'} (alone {self.reference:.1f}/s) {self.note}"


def judge(asked: Sequence[Asked], began: float, seconds: float, computed: float, fresh_s: float | None) -> Storm:
    """A storm of so many seconds. `computed` counts every picture until the fresh request was answered, it included."""
    spent = computed - (fresh_s is not None)
    in_time = len(answered(asked, began, began + seconds))
    useful = len(answered(asked, began, math.inf)) / spent if spent > 0 else None
    return Storm(in_time / seconds, useful, fresh_s, dict(failures(asked)))


def agree(one: dict[int, float], other: dict[int, float]) -> bool:
    """Whether two answers (class -> probability, best first) have the same best class and the same probabilities."""
    if not one or not other or next(iter(one)) != next(iter(other)):
        return False
    return all(abs(one[label] - other[label]) <= CLOSE for label in one.keys() & other.keys())


def best_peer(done: Sequence[Measured], clients: int) -> str | None:
    """The peer with the highest median rate."""
    rates = {one.server: rate(of(done, one.server), clients) or 0.0 for one in done if one.peer}
    return max(rates, key=lambda server: rates[server]) if any(rates.values()) else None


def of(done: Iterable[Measured], server: str) -> list[Measured]:
    """One server's rounds."""
    return [one for one in done if one.server == server]


def rate(rounds: Iterable[Measured], clients: int) -> float | None:
    """Median answers per second."""
    return middle(one.loops[clients].per_s for one in rounds if clients in one.loops)


def to_reference(rounds: Iterable[Measured], clients: int) -> float | None:
    """Median of the ratios to the reference measured beside each run."""
    return middle(one.loops[clients].per_s / one.reference for one in rounds if clients in one.loops and one.reference)


def to_server(done: Sequence[Measured], server: str, other: str | None, clients: int) -> float | None:
    """Median over the rounds of the ratio to another server in the same round."""
    theirs = {one.round: one.loops[clients].per_s for one in of(done, other or "") if clients in one.loops}
    pairs = ((one.loops[clients].per_s, theirs.get(one.round)) for one in of(done, server) if clients in one.loops)
    return middle(mine / their for mine, their in pairs if their)


def middle(values: Iterable[float | None]) -> float | None:
    """The median of what there is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def table(done: Sequence[Measured]) -> str:
    """Markdown, the fastest first. Rates, latencies and storms are medians over the rounds; memory is the highest."""
    counts = sorted({clients for one in done for clients in one.loops})
    busiest = counts[-1] if counts else 0
    best = best_peer(done, busiest)
    servers = sorted({one.server for one in done}, key=lambda server: -(rate(of(done, server), busiest) or 0))
    heads = ["server"]
    for clients in counts:
        heads += [f"{clients} client{'s' * (clients > 1)}: pictures/s", f"x {best or 'peer'}", "x graph alone"]
        heads += ["p50 / p95 / p99 ms"]
    heads += ["failures", "peak MB", "storm: in time/s", "useful", "fresh answer s", "note"]
    rows = [heads, ["---"] * len(heads)]
    for server in servers:
        rounds = of(done, server)
        cells = [server]
        for clients in counts:
            cells += [_shown(rate(rounds, clients), "{:.1f}"), _shown(to_server(done, server, best, clients), "{:.2f}")]
            cells += [_shown(to_reference(rounds, clients), "{:.2f}"), _latencies(rounds, clients)]
        rows.append([*cells, _failures(rounds), _peak(rounds), *_storms(rounds), _notes(rounds)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _latencies(rounds: Sequence[Measured], clients: int) -> str:
    known = [found for one in rounds if clients in one.loops and (found := one.loops[clients].latencies)]
    return " / ".join(f"{median(column):.0f}" for column in zip(*known, strict=True)) or "-"


def _failures(rounds: Sequence[Measured]) -> str:
    """Of the closed loops; in the storm giving up is the game."""
    ends: Counter[str] = Counter()
    for one in rounds:
        for loop in one.loops.values():
            ends.update(loop.failures)
    return ", ".join(f"{many} x {how}" for how, many in sorted(ends.items())) or "0"


def _peak(rounds: Sequence[Measured]) -> str:
    return _shown(max(one.peak_mb for one in rounds) or None, "{:.0f}")


def _storms(rounds: Sequence[Measured]) -> list[str]:
    storms = [one.storm for one in rounds if one.storm]
    per_s, useful = middle(storm.per_s for storm in storms), middle(storm.useful for storm in storms)
    fresh_s = middle(storm.fresh_s for storm in storms)
    return [_shown(per_s, "{:.1f}"), _shown(useful, "{:.1%}"), _shown(fresh_s, "{:.1f}")]


def _notes(rounds: Sequence[Measured]) -> str:
    return "; ".join(sorted({one.note.replace("|", "/") for one in rounds if one.note}))


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
