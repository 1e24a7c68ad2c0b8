"""`glimt tune`: search, and tell a person what was found."""

import asyncio
import signal

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from service.errors import GlimtError
from service.tuning.load import Arrival
from service.tuning.pictures import Distinct
from service.tuning.search import Search, borrowed
from service.tuning.setting import Setting
from service.tuning.target import Target
from service.tuning.verdict import Verdict, ms, sentences

COLUMNS = (
    "batch", "wait ms", "per s", "ratio", "p50 ms", "p95 ms", "p99 ms", "mean", "lost", "",
)  # fmt: skip


async def tune(
    target: Target, arrival: Arrival, pictures: list[bytes], *, goal_ms: float, seconds: float, keep: bool
) -> bool:
    """Search, print the evidence and the answer; whether a setting meets the goal.

    The former setting is in force again afterwards, unless one meets the goal and shall be kept. Raises GlimtError.
    """
    verdict = None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, signal.raise_signal, signal.SIGINT)
    await target.check_ready()
    errors = Console(stderr=True)
    try:
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
            task = progress.add_task(f"measuring {target.address.url}", total=None)
            search = Search(
                target, arrival, Distinct(pictures), goal_ms=goal_ms, seconds=seconds,
                advance=lambda done, total: progress.update(task, completed=done, total=total),
            )  # fmt: skip
            async with borrowed(target) as former:
                await target.configure(former)  # whether it may be changed is known before any load
                verdict = await search.best(former)
                lighter = None if verdict.best else await search.holding(verdict)
        if keep and verdict.best:
            await target.configure(verdict.best.setting)
    except GlimtError:
        if verdict:  # what took minutes to find is told all the same
            show(verdict, sentences(verdict))
        raise
    lines = sentences(verdict)
    if verdict.best is None:
        lines.append(
            f"It holds with {lighter[0]}: p95 {ms(lighter[1].p95_ms)} ms, {lighter[1].per_s:.1f} pictures/s, measured."
            if lighter
            else "It holds under no lighter load either, as far as was tried: the goal is out of reach here."
        )
    show(verdict, [*lines, in_force(verdict, former, keep), permanently(verdict.chosen.setting)])
    return verdict.best is not None


def in_force(verdict: Verdict, former: Setting, keep: bool) -> str:
    """What the service does now."""
    if keep and verdict.best:
        return f"In force now, until the service restarts: {verdict.best.setting}."
    return f"In force again: {former}."


def permanently(setting: Setting) -> str:
    """How to make it last."""
    variables = f"GLIMT_MAX_BATCH={setting.max_batch} GLIMT_MAX_WAIT_MS={setting.max_wait_ms:g}"
    options = f"glimt serve --max-batch {setting.max_batch} --max-wait-ms {setting.max_wait_ms:g}"
    return f"To make it permanent: {variables}, or {options}."


def show(verdict: Verdict, lines: list[str]) -> None:
    """The table, then the words."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(table(verdict))
    for line in lines:
        console.print(line, markup=False)


def table(verdict: Verdict) -> Table:
    """The evidence. Figures at the run's median speed, see grid.py."""
    shown = Table(*COLUMNS, box=None, pad_edge=False)
    for column in shown.columns[:-1]:
        column.justify = "right"
    for cell in verdict.cells:
        marks = [
            "best" if cell is verdict.best else "fastest" if cell is verdict.chosen else "",
            "was in force" if cell.setting == verdict.reference else "",
            "" if cell.meets(verdict.goal_ms) else "misses the goal",
        ]
        shown.add_row(
            str(cell.setting.max_batch), f"{cell.setting.max_wait_ms:g}", f"{cell.per_s:.1f}", f"{cell.ratio:.2f}",
            ms(cell.p50_ms), ms(cell.p95_ms), ms(cell.p99_ms), f"{cell.mean_batch:.1f}",
            f"{cell.lost_share:.0%}", ", ".join(filter(None, marks)),
        )  # fmt: skip
    return shown
