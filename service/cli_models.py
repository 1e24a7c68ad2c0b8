"""`glimt models …`: its options and words."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from service.options import DataDir, console, or_exit, read_settings
from service.terminal import printable

if TYPE_CHECKING:  # it loads most of the service
    from service.model_versions import Versions

models = typer.Typer(
    invoke_without_command=True,
    help="Model versions. For whoever can read the data folder, whether the service runs or not.",
)

Ref = Annotated[
    str, typer.Argument(help="NAME:VERSION, or NAME for the activated one, else the newest.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of the table.")]

PIPE_WIDTH = 10_000


@models.callback()
def default(context: typer.Context, data_dir: DataDir = None) -> None:
    """List all versions, or do something with them."""
    if context.invoked_subcommand is None:
        list_models(data_dir=data_dir)


@models.command("list")
def list_models(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show all versions, the newest first, and which one answers."""
    versions = _versions(data_dir)
    if as_json:
        _json(or_exit(versions.documents))
    else:
        _output().print(or_exit(versions.table))


@models.command("compare")
def compare(one: Ref, other: Ref, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show two versions side by side."""
    versions = _versions(data_dir)
    if as_json:
        _json(or_exit(lambda: versions.comparison(one, other)))
    else:
        _output().print(or_exit(lambda: versions.comparison_table(one, other)))


@models.command("activate")
def activate(
    ref: Ref,
    override: Annotated[
        bool, typer.Option("--override", help="Though it was not better than what was served.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Serve a version: at once where the service runs, else from its next start."""
    versions = _versions(data_dir)
    say(or_exit(lambda: asyncio.run(versions.activate(ref, override=override))))


@models.command("roll-back")
def roll_back(data_dir: DataDir = None) -> None:
    """Serve again what was served before."""
    versions = _versions(data_dir)
    say(or_exit(lambda: asyncio.run(versions.roll_back())))


@models.command("delete")
def delete(
    ref: Ref, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, data_dir: DataDir = None
) -> None:
    """Delete a version with its weights and its report."""
    versions = _versions(data_dir)
    found = or_exit(lambda: versions.found(ref))
    if not yes:
        typer.confirm(f"Delete {found} with its weights and its report, for good?", abort=True)
    say(or_exit(lambda: asyncio.run(versions.delete(found))))


@models.command("export")
def export(
    ref: Ref,
    file: Annotated[
        Path | None, typer.Argument(help="The tar file. Default: NAME-VERSION.tar here; - is stdout.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a version into one tar file, for another machine."""
    versions = _versions(data_dir)
    console.print(escape(printable(or_exit(lambda: versions.export(ref, file)))))


@models.command("import")
def take_in(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="As export made it.", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Take in a version that was exported elsewhere. It is checked, and not served yet."""
    versions = _versions(data_dir)
    say(or_exit(lambda: versions.take_in(file)))


def _versions(data_dir: Path | None) -> "Versions":
    from service.model_versions import Versions

    return Versions(read_settings({"data_dir": data_dir}))


def _output() -> Console:
    """As wide as the terminal; for a pipe or a file, a line is never broken."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def _json(document: object) -> None:
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z).decode() + "\n")


def say(line: str) -> None:
    """On standard output, for people and scripts."""
    sys.stdout.write(printable(line) + "\n")
