"""The `glimt` command."""

import asyncio
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from service import __version__
from service.errors import GlimtError, StartError
from service.settings import Settings

app = typer.Typer(
    name="glimt", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Pictures in, labels out: image classification for many clients at once, from one process.",
)  # fmt: skip
export = typer.Typer(no_args_is_help=True, help="Take your data out.")
app.add_typer(export, name="export")
console = Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")


def with_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """Give a command one option per setting; what is not given comes from GLIMT_* or the default."""

    def run(**given: Any) -> None:
        command(read_settings(given))

    parameters = []
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        flags = f"{flag}/--no-{flag[2:]}" if field.annotation is bool else flag
        text = f"{field.description} Default: {shown_default(field.default)}. [env GLIMT_{name.upper()}]"
        kind = Annotated[option_type(field.annotation), typer.Option(flags, help=text, show_default=False)]  # type: ignore[valid-type]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = command.__doc__
    return run


def option_type(annotation: Any) -> Any:
    """What typer shall parse: a Literal is text, checked by Settings with a better message."""
    return str | None if get_args(annotation) else annotation | None


def shown_default(value: object) -> str:
    """A default as a person would type it."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def read_settings(given: dict[str, Any]) -> Settings:
    """Settings from the options that were given, then the environment. A bad value ends with exit code 2."""
    from pydantic import ValidationError

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else "?"
            console.print(f"--{name.replace('_', '-')} (GLIMT_{name.upper()}): {item['msg']}, not {item['input']!r}.")
        raise typer.Exit(2) from error


def or_exit(call: Callable[[], T]) -> T:
    """Its result; an error of ours becomes its words on the console, and exit code 3 when nothing could start."""
    try:
        return call()
    except GlimtError as error:
        console.print(f"[bold red]{escape(error.title)}.[/bold red] {escape(error.detail)}")
        raise typer.Exit(error.exit_code if isinstance(error, StartError) else 1) from error


def serve(settings: Settings) -> None:
    """Start the service. Every option is also an environment variable, GLIMT_<NAME>."""
    from service.app import create_app, make_engine
    from service.models.served import choose
    from service.observe import configure_logging
    from service.server import Server, Stopped

    served = or_exit(lambda: choose(settings))
    if served.notice:
        Console(stderr=True).print(Panel(escape(served.notice), title="Please note", border_style="yellow"))
    try:
        with configure_logging(settings):
            app = create_app(
                settings, served, make_engine(served, settings), on_failed_start=lambda: server.fail_start()
            )
            or_exit(app.house.database.prepare)
            server = Server(app, settings, on_drain=app.house.drain)
            raise typer.Exit(server.serve_until_stopped())
    except Stopped as stopped:
        stopped.end_process()


app.command("serve")(with_settings(serve))


@app.command("classify")
def classify(
    sources: Annotated[list[str], typer.Argument(help="Files, folders, and perhaps the URL of a running service.")],
    top: Annotated[int, typer.Option(min=1, max=1000, help="Labels per picture.")] = 5,
    ndjson: Annotated[bool, typer.Option("--ndjson", help="One JSON line per picture instead of a table.")] = False,
) -> None:
    """Classify pictures here, or by a running service when its URL is among the arguments."""
    from service.classify import classify_all

    failed = or_exit(lambda: asyncio.run(classify_all(sources, read_settings({}), top=top, ndjson=ndjson)))
    raise typer.Exit(1 if failed else 0)


@app.command("tune")
def tune(
    url: Annotated[str, typer.Option(help="The running service; it takes changes only from its own machine.")] = (
        "http://127.0.0.1:8000"
    ),
    p95_ms: Annotated[float, typer.Option(min=1, help="The goal: 95 of 100 answers come within so long.")] = 250,
    clients: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Clients that ask again when answered. Default: 32.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=10_000, help="Instead: pictures per second, at random instants.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="One visit to a setting; there are about 24.")] = 5,
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A folder of pictures; else made ones.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the best setting in force if it meets the goal.")] = False,
) -> None:
    """Put a running service under load, and find the batch size and window that meet a goal with the most pictures/s.

    It tries settings while the service runs; others who use it now will notice. The setting in force comes back at
    the end. Exit code 4: no setting meets the goal; 1: the service could not be used.
    """
    from service.tuning.load import Closed, Open
    from service.tuning.pictures import photos
    from service.tuning.tune import tune as search

    if clients and rate:
        console.print("--clients or --rate, not both.")
        raise typer.Exit(2)
    arrival = Open(rate) if rate else Closed(clients or 32)
    met = or_exit(lambda: asyncio.run(search(url, arrival, photos(images), goal_ms=p95_ms, seconds=seconds, keep=keep)))
    raise typer.Exit(0 if met else 4)


@app.command("quantize")
def quantize(
    images: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="A folder of pictures of the kind that will be served.")
    ],
    labels: Annotated[
        Literal["none", "folders", "names"],
        typer.Option(help="What names the class of a picture: its folder below --images, or its own file name."),
    ] = "none",
    model: Annotated[str | None, typer.Option(help="As for glimt serve; else GLIMT_MODEL.")] = None,
    weights: Annotated[str | None, typer.Option(help="As for glimt serve; else GLIMT_WEIGHTS.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The data folder; else GLIMT_DATA_DIR.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What to publish it as. Default: the model's name and -int8.")
    ] = None,
    calibrate: Annotated[
        int, typer.Option(min=30, max=5000, help="Pictures to calibrate with, at most half of those there are.")
    ] = 300,
    least_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Share of checked pictures that must keep their first label.")
    ] = 0.97,
    seed: Annotated[int, typer.Option(min=0, help="Another one shares the pictures out otherwise.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an int8 version of the same name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and print, publish nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """Make an int8 version of a model, two to four times as fast on a CPU that knows VNNI, and compare the two.

    Some pictures calibrate it, others check it. It is published, to be served under its name, only when enough of the
    checked ones keep their first label; the worst layers stay in float if need be. Exit code 1: it was not enough.
    """
    from service.quantization.run import Order, run

    order = Order(images, labels, name, calibrate, least_agreement, seed, replace, dry_run, as_json)
    settings = read_settings({"model": model, "weights": weights, "data_dir": data_dir})
    raise typer.Exit(0 if or_exit(lambda: run(order, settings)) else 1)


@app.command("doctor")
def doctor() -> None:
    """Say what this machine has, what would be served, and why."""
    from service.doctor import examine

    findings = examine(read_settings({}))
    for name, value in findings:
        sys.stdout.write(f"{name + ':':<14} {value}\n")


@export.command("feedback")
def export_feedback(
    format: Annotated[str, typer.Option(help="csv or ndjson.")] = "csv",
    data_dir: Annotated[Path | None, typer.Option(help="The data folder; else GLIMT_DATA_DIR.")] = None,
) -> None:
    """Write all feedback to standard output, oldest first. Safe while the service runs."""
    from service.store.database import Database
    from service.store.export import csv_lines, ndjson
    from service.store.feedback import FeedbackStore

    settings = read_settings({"data_dir": data_dir})
    writers = {"csv": csv_lines, "ndjson": ndjson}
    if format not in writers:
        console.print(f"--format is csv or ndjson, not {escape(format)}.")
        raise typer.Exit(2)

    async def write() -> None:
        async with Database(settings.data_path / "glimt.db") as database:
            async for chunk in writers[format](FeedbackStore(database).export()):
                sys.stdout.buffer.write(chunk)

    or_exit(lambda: asyncio.run(write()))


@app.command("version")
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"glimt {__version__}\n")
