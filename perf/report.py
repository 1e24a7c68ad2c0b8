"""The sweep's report: Markdown, CSV and charts out of what was met. Pure."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import groupby

from perf.charts import BLUES, ORANGES, Point, Tile, bars, heat_map, lines
from service.tuning.grid import Cell, Visit
from service.tuning.setting import Setting
from service.tuning.verdict import Verdict, ms, sentences

CELLS = (
    "engine", "load", "max_batch", "max_wait_ms", "per_s", "ratio", "spread", "p50_ms", "p95_ms", "p99_ms",
    "mean_batch", "lost_share", "meets", "best",
)  # fmt: skip
VISITS = (
    "engine", "load", "visit", "max_batch", "max_wait_ms", "answered", "per_s", "p50_ms", "p95_ms", "p99_ms", "refused",
    "failed", "late", "pictures", "batches", "released",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """One engine under one load: all visits in their order, and what follows from them."""

    engine: str
    visits: tuple[Visit, ...]
    verdict: Verdict

    @property
    def load(self) -> str:
        """In words."""
        return str(self.verdict.arrival)

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.engine}-{self.load}".replace("/", "-per-").replace(" ", "-")


def cells_csv(results: Sequence[Result]) -> str:
    """A line per engine, load and setting; figures at the run's median speed."""
    rows = [
        (
            result.engine, result.load, cell.setting.max_batch, cell.setting.max_wait_ms, f"{cell.per_s:.2f}",
            f"{cell.ratio:.3f}", f"{cell.spread:.3f}", f"{cell.p50_ms:.1f}", f"{cell.p95_ms:.1f}", f"{cell.p99_ms:.1f}",
            f"{cell.mean_batch:.2f}", f"{cell.lost_share:.4f}", int(cell.meets(result.verdict.goal_ms)),
            int(cell is result.verdict.best),
        )
        for result in results
        for cell in result.verdict.cells
    ]  # fmt: skip
    return _csv(CELLS, rows)


def visits_csv(results: Sequence[Result]) -> str:
    """A line per visit in the order in which they were made; figures as they were met."""
    rows = [
        (
            result.engine, result.load, number, setting.max_batch, setting.max_wait_ms, load.answered,
            f"{load.per_s:.2f}", f"{load.p50_ms:.1f}", f"{load.p95_ms:.1f}", f"{load.p99_ms:.1f}", load.refused,
            load.failed, load.late, load.batches.pictures, load.batches.count,
            " ".join(f"{reason}:{count}" for reason, count in load.batches.released),
        )
        for result in results
        for number, (setting, load) in enumerate(result.visits, 1)
    ]  # fmt: skip
    return _csv(VISITS, rows)


def charts(results: Sequence[Result]) -> dict[str, str]:
    """File name -> SVG."""
    found = {}
    for result in results:
        found[f"{result.name}-throughput.svg"] = throughput_map(result)
        found[f"{result.name}-p95.svg"] = p95_map(result)
        found[f"{result.name}-batches.svg"] = batch_bars(result)
    for (engine, kind), group in curves(results).items():
        found[f"{engine}-{kind}-curve.svg"] = curve(engine, kind, group)
    return found


def curves(results: Sequence[Result]) -> dict[tuple[str, str], list[Result]]:
    """(engine, closed or open) -> what makes one curve, from light to heavy load. The two kinds are not comparable:
    a closed loop slows down when it waits."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in sorted(results, key=lambda result: result.verdict.arrival.weight):
        found.setdefault((result.engine, type(result.verdict.arrival).__name__.lower()), []).append(result)
    return found


def throughput_map(result: Result) -> str:
    """Pictures per second over the grid."""
    values = {cell.setting: (cell.per_s, f"{cell.per_s:.1f}") for cell in _cells(result)}
    return _map(result, "throughput", "pictures/s", values)


def p95_map(result: Result) -> str:
    """p95 over the grid."""
    values = {cell.setting: (cell.p95_ms, ms(cell.p95_ms)) for cell in _cells(result)}
    return _map(result, "p95", "p95 in ms", values, ORANGES)


def curve(engine: str, kind: str, results: Sequence[Result]) -> str:
    """p95 against pictures/s, a line per max_batch at the reference's window. `results` from light to heavy."""
    goal_ms, waits = results[0].verdict.goal_ms, {result.verdict.reference.max_wait_ms for result in results}
    series: dict[str, list[Point]] = {}
    for result in results:
        for cell in _cells(result):
            if cell.setting.max_wait_ms in waits or cell.setting.max_batch == 1:
                name = f"max_batch {cell.setting.max_batch}"
                series.setdefault(name, []).append(Point(cell.per_s, cell.p95_ms, result.load))
    loads = ", ".join(result.load for result in results)
    return lines(f"{engine}, {kind} loop: latency against throughput", loads, "pictures/s", "p95 ms", series, goal_ms)


def batch_bars(result: Result) -> str:
    """How large the batches were, a bar per max_batch at the reference's window."""
    rows = batch_shares(result)
    kinds = list(dict.fromkeys(kind for _, kind in sorted(_kinds(result))))
    title, note = f"{result.engine}, {result.load}: batch sizes", "share of the batches by the pictures in them"
    return bars(title, note, {str(size): shares for size, shares in rows.items()}, kinds)


def batch_shares(result: Result) -> dict[int, dict[str, float]]:
    """max_batch -> size in words -> share of the batches, at the reference's window."""
    rows = {}
    for cell in _cells(result):
        if cell.setting.max_wait_ms == result.verdict.reference.max_wait_ms or cell.setting.max_batch == 1:
            counts: dict[str, int] = {}
            for load in cell.loads:
                for bounds, count in load.batches.sizes.items():
                    counts[_words(bounds)] = counts.get(_words(bounds), 0) + count
            rows[cell.setting.max_batch] = {kind: count / sum(counts.values()) for kind, count in counts.items()}
    return rows


def markdown(heading: str, facts: Mapping[str, str], results: Sequence[Result]) -> str:
    """The report. Every chart has its figures in a table beside it."""
    parts = [f"# {heading}", _table(("", ""), facts.items()), "## Best", _table(BEST, map(_best_row, results)), METHOD]
    for engine, group in _by_engine(results):
        parts.append(f"## {engine}")
        for result in group:
            parts += _section(result)
        parts.append(f"### {engine}: latency against throughput")
        parts += [f"![{k} loop]({e}-{k}-curve.svg)" for e, k in curves(results) if e == engine]
        parts.append("The points are the rows of the tables above at the reference's window.")
    return "\n\n".join(parts) + "\n"


BEST = ("engine", "load", "max_batch", "max_wait_ms", "pictures/s", "p95 ms", "ratio", "goal")
METHOD = """\
The speed of a shared machine drifts, so each visit to a setting is corrected by what the reference (the setting that
`glimt serve` began with) met right before and after it: pictures/s by its pictures/s, latencies by its p50, both
against the reference's medians over the whole load. `ratio` is pictures/s to the reference's; `spread` is how far apart
the visits to one setting lie. visits.csv has every visit as it was met, in order. The rule that picks the best is that
of `glimt tune`: of the settings that meet the goal the most pictures/s; within the noise the lowest p95; within the
noise the smallest batch and the shortest window."""


def _section(result: Result) -> Iterator[str]:
    yield f"### {result.engine}, {result.load}"
    yield "\n".join(f"- {sentence}" for sentence in sentences(result.verdict))
    yield f"![pictures/s]({result.name}-throughput.svg) ![p95]({result.name}-p95.svg)"
    names = (
        "max_batch",
        "max_wait_ms",
        "pictures/s",
        "ratio",
        "spread",
        "p50",
        "p95",
        "p99 ms",
        "mean batch",
        "lost",
        "",
    )
    yield _table(names, (_cell_row(result, cell) for cell in _cells(result)))
    yield f"![batch sizes]({result.name}-batches.svg)"
    kinds = list(dict.fromkeys(kind for _, kind in sorted(_kinds(result))))
    yield _table(
        ("max_batch", *(f"{kind} pictures" for kind in kinds)),
        (
            (size, *(f"{shares[kind]:.0%}" if kind in shares else "" for kind in kinds))
            for size, shares in batch_shares(result).items()
        ),
    )


def _cell_row(result: Result, cell: Cell) -> tuple[object, ...]:
    setting, verdict = cell.setting, result.verdict
    marks = [
        "**best**" if cell is verdict.best else "**fastest**" if cell is verdict.chosen else "",
        "reference" if setting == verdict.reference else "",
        "" if cell.meets(verdict.goal_ms) else "misses the goal",
    ]
    return (
        setting.max_batch, f"{setting.max_wait_ms:g}", f"{cell.per_s:.1f}", f"{cell.ratio:.3f}", f"{cell.spread:.0%}",
        ms(cell.p50_ms), ms(cell.p95_ms), ms(cell.p99_ms), f"{cell.mean_batch:.1f}", f"{cell.lost_share:.1%}",
        ", ".join(filter(None, marks)),
    )  # fmt: skip


def _best_row(result: Result) -> tuple[object, ...]:
    cell = result.verdict.chosen
    met = "met" if result.verdict.best else "missed; this is the fastest"
    return (
        result.engine, result.load, cell.setting.max_batch, f"{cell.setting.max_wait_ms:g}", f"{cell.per_s:.1f}",
        ms(cell.p95_ms), f"{cell.ratio:.3f}", f"{result.verdict.goal_ms:g} ms: {met}",
    )  # fmt: skip


def _map(
    result: Result,
    what: str,
    unit: str,
    values: Mapping[Setting, tuple[float, str]],
    colours: tuple[str, str, str] = BLUES,
) -> str:
    tiles = {
        (str(cell.setting.max_batch), f"{cell.setting.max_wait_ms:g}"): Tile(
            *values[cell.setting], cell is result.verdict.chosen, not cell.meets(result.verdict.goal_ms)
        )
        for cell in _cells(result)
    }
    rows = [str(size) for size in sorted({cell.setting.max_batch for cell in _cells(result)})]
    columns = [f"{wait_ms:g}" for wait_ms in sorted({cell.setting.max_wait_ms for cell in _cells(result)})]
    title, framed = f"{result.engine}, {result.load}: {what}", "best" if result.verdict.best else "fastest"
    note = f"{unit}; framed: the {framed}; \u00d7: misses the goal of p95 {result.verdict.goal_ms:g} ms"
    return heat_map(title, note, rows, columns, tiles, colours)


def _cells(result: Result) -> tuple[Cell, ...]:
    return result.verdict.cells


def _by_engine(results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    for engine, group in groupby(results, key=lambda result: result.engine):
        yield engine, list(group)


def _kinds(result: Result) -> set[tuple[float, str]]:
    return {
        (bounds[1], _words(bounds)) for cell in _cells(result) for load in cell.loads for bounds in load.batches.sizes
    }


def _words(bounds: tuple[float, float]) -> str:
    least, most = bounds[0] + 1, bounds[1]
    if math.isinf(most):
        return f"{least:g}+"
    return f"{most:g}" if least == most else f"{least:g}-{most:g}"


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    every = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in every)


def _csv(names: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    writer = csv.writer(text := StringIO(), lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()
