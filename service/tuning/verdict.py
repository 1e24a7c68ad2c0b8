"""The rule that `glimt tune` and the sweep share: which setting is best for a goal, and what to say about it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from service.tuning.grid import Cell, Noise, Visit, cells, noise, pick
from service.tuning.load import Arrival, Closed, Open
from service.tuning.setting import Setting

LATE_SHARE = 0.05  # of an open loop's requests: more, and the load was not the one that was asked for


@dataclass(frozen=True, slots=True)
class Verdict:
    """`best` is the setting to choose when it meets the goal, else None; `fastest` is the one without the goal."""

    goal_ms: float
    arrival: Arrival
    reference: Setting
    cells: tuple[Cell, ...]
    noise: Noise
    best: Cell | None
    fastest: Cell

    @classmethod
    def of(cls, visits: Sequence[Visit], reference: Setting, goal_ms: float, arrival: Arrival) -> Self:
        """Judge. The reference must be among the visits and have answered something at each."""
        found = cells(visits, reference)
        floor = noise(found, reference)
        good = [cell for cell in found if cell.meets(goal_ms)]
        return cls(
            goal_ms, arrival, reference, tuple(found), floor, pick(good, floor) if good else None, pick(found, floor)
        )

    @property
    def chosen(self) -> Cell:
        """The best one, or without any the fastest."""
        return self.best or self.fastest

    @property
    def gain(self) -> float | None:
        """How much more the fastest batch gives than one by one, as a share; None when either was not measured."""
        single = [cell.per_s for cell in self.cells if cell.setting.max_batch == 1]
        several = [cell.per_s for cell in self.cells if cell.setting.max_batch > 1]
        if not several or not any(single):
            return None
        return max(several) / max(single) - 1

    @property
    def late_share(self) -> float:
        """Of an open loop's requests those that were sent late."""
        loads = [load for cell in self.cells for load in cell.loads]
        return sum(load.late for load in loads) / max(1, sum(load.answered + load.refused for load in loads))


def ms(value: float) -> str:
    """Milliseconds with as many digits as mean something."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def sentences(verdict: Verdict) -> list[str]:
    """What to tell, one thought each, the answer first."""
    return [text for text in (_answer(verdict), _batching(verdict), _doubt(verdict)) if text]


def _answer(verdict: Verdict) -> str:
    chosen, goal = verdict.chosen, f"p95 within {verdict.goal_ms:g} ms"
    figures = f"{chosen.per_s:.1f} pictures/s, p95 {ms(chosen.p95_ms)} ms"
    if verdict.best is None:
        lost = f", {chosen.lost_share:.0%} refused or failed" if chosen.lost_share else ""
        return f"No setting keeps {goal} under {verdict.arrival}. The fastest: {chosen.setting} ({figures}{lost})."
    if chosen.setting == verdict.reference:
        return f"Best for {goal} under {verdict.arrival}: {chosen.setting}, as it was ({figures})."
    same = abs(chosen.ratio - 1) <= verdict.noise.per_s
    change = "as fast as" if same else f"{chosen.ratio - 1:+.0%} pictures/s against"
    return f"Best for {goal} under {verdict.arrival}: {chosen.setting} ({figures}; {change} {verdict.reference})."


def _batching(verdict: Verdict) -> str:
    if verdict.gain is None:
        return ""
    noise = f"differences up to {verdict.noise.per_s:.0%} may be chance"
    if verdict.chosen.setting.max_batch > 1:
        if verdict.gain <= verdict.noise.per_s:
            return f"Batching gives no more pictures/s here ({verdict.gain:+.0%}; {noise}), but shorter waits."
        return f"Batching helps: up to {verdict.gain:+.0%} pictures/s over max_batch 1 ({noise})."
    if verdict.gain > verdict.noise.per_s:
        return f"Batching gives up to {verdict.gain:+.0%} pictures/s, but not within the goal."
    return f"Batching does not help here: max_batch 1 is as good; the best batch gives {verdict.gain:+.0%} ({noise})."


def _doubt(verdict: Verdict) -> str:
    if verdict.late_share <= LATE_SHARE:
        return ""
    return (
        f"{verdict.late_share:.0%} of the pictures were sent late: too many were outstanding, or this machine had no "
        "time for the clients. Their latencies count from the instant they were due."
    )


def lighter(arrival: Arrival, ratio: float) -> list[Arrival]:
    """Loads to try when none holds the goal, heaviest first. `ratio`: the goal by the p95 that was met, below 1.

    The latency of a full closed loop grows with its clients, so the first guess is in proportion; an open loop's
    does not, so it is halved.
    """
    if isinstance(arrival, Open):
        return [Open(arrival.per_s / 2**n) for n in range(1, 5)]
    clients = max(1, min(arrival.clients - 1, int(arrival.clients * ratio)))
    return [Closed(clients // 2**n) for n in range(clients.bit_length())] if arrival.clients > 1 else []
