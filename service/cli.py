"""The `glimt` command."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from service import __version__
from service.cli_models import models
from service.cli_train import evaluate, train
from service.cli_users import users
from service.data_folder import claimed
from service.memory import keep_for_good, one_arena
from service.options import DataDir, console, or_exit, read_settings, with_settings
from service.settings import Settings

app = typer.Typer(
    name="glimt", no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Pictures in, labels out: image classification for many clients at once, from one process.",
)  # fmt: skip
export = typer.Typer(no_args_is_help=True, help="Take your data out.")
app.add_typer(export, name="export")
app.add_typer(models, name="models")
app.add_typer(users, name="users")

Token = Annotated[str | None, typer.Option(envvar="GLIMT_TOKEN", show_envvar=False, help=(
    "A personal token of a page /account; better in GLIMT_TOKEN, where others on the machine do not see it. Not "
    "needed for the service that works in the data folder."
))]  # fmt: skip


def serve(settings: Settings) -> None:
    """Start the service. Every option is also an environment variable, GLIMT_<NAME>."""
    one_arena()
    from service.server import Stopped

    try:
        raise typer.Exit(or_exit(lambda: run_service(settings)))
    except Stopped as stopped:
        stopped.end_process()


def run_service(settings: Settings) -> int:
    """Until it is stopped; the exit code. Raises StartError, and Stopped for a signal."""
    from service.app import create_app
    from service.models.choice import choose
    from service.models.registry import Registry
    from service.observe import configure_logging
    from service.server import Server

    with claimed(settings.data_path) as claim:
        Registry(settings.data_path).sweep()
        served = choose(settings)
        if served.notice:
            show(served.notice)
        with configure_logging(settings):
            app = create_app(
                settings,
                served,
                on_ready=keep_for_good,
                on_failed_start=lambda: server.fail_start(),
                on_first_admin=show_first_admin,
            )
            app.house.database.prepare()
            server = Server(
                app, settings, on_drain=app.house.drain, on_listening=claim.announce, on_closing=claim.withdraw,
                observe=app.house.metrics.observe_request,
            )  # fmt: skip
            return server.serve_until_stopped()


def show(words: str) -> None:
    """In a frame, so that it is found among lines of logs."""
    Console(stderr=True).print(Panel(escape(words), title="Please note", border_style="yellow"))


def show_first_admin(email: str, password: str) -> None:
    """Here and nowhere else: never through a log."""
    show(
        "Everybody needs an account here and there was no admin, so one was made:\n\n"
        f"    e-mail    {email}\n    password  {password}\n\n"
        "This is shown once. Sign in at /sign-in and change the password on /account. If it gets lost: "
        f"glimt users reset-password {email}"
    )


app.command("serve")(with_settings(serve))
app.command("train")(train)
app.command("evaluate")(evaluate)


@app.command("classify")
def classify(
    sources: Annotated[list[str], typer.Argument(help="Files, folders, zips; and the URL of a running service.")],
    top: Annotated[int, typer.Option(min=1, max=1000, help="Labels per picture; of a zip by a service up to 10.")] = 5,
    ndjson: Annotated[bool, typer.Option("--ndjson", help="One JSON line per picture instead of a table.")] = False,
    token: Token = None,
    data_dir: DataDir = None,
) -> None:
    """Classify pictures here, or by a running service when its URL is among the arguments."""
    from service.classify import classify_all

    settings = read_settings({"data_dir": data_dir})
    failed = or_exit(lambda: asyncio.run(classify_all(sources, settings, top=top, ndjson=ndjson, token=token)))
    raise typer.Exit(1 if failed else 0)


@app.command("tune")
def tune(
    url: Annotated[str, typer.Option(help="The running service.")] = "http://127.0.0.1:8000",
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
    token: Token = None,
    data_dir: DataDir = None,
) -> None:
    """Put a running service under load, and find the batch size and window that meet a goal with the most pictures/s.

    It tries settings while the service runs; others who use it now will notice. The setting in force comes back at
    the end. Exit code 4: no setting meets the goal; 1: the service could not be used.
    """
    from service.credentials import bearer, own_url
    from service.tuning.load import Closed, Open
    from service.tuning.pictures import photos
    from service.tuning.target import Target
    from service.tuning.tune import tune as search

    if clients and rate:
        console.print("--clients or --rate, not both.")
        raise typer.Exit(2)
    arrival = Open(rate) if rate else Closed(clients or 32)
    data_path = read_settings({"data_dir": data_dir}).data_path
    url = own_url(url, data_path)
    target = or_exit(lambda: Target(url, bearer(url, data_path, token)))
    met = or_exit(
        lambda: asyncio.run(search(target, arrival, photos(images), goal_ms=p95_ms, seconds=seconds, keep=keep))
    )
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
    data_dir: DataDir = None,
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure and print, publish nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the table.")] = False,
) -> None:
    """Make an int8 version of a model, two to four times as fast on a CPU that knows VNNI, and compare the two.

    Some pictures calibrate it, others check it. It is published, to be served under its name, only when enough of the
    checked ones keep their first label; the worst layers stay in float if need be. Exit code 1: it was not enough.
    """
    from service.quantization.run import Order, run

    order = Order(images, labels, name, calibrate, least_agreement, seed, dry_run, as_json)
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
    data_dir: DataDir = None,
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
