"""`glimt train` and `glimt evaluate`: their options and words."""

import asyncio
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from service.data_folder import is_served
from service.errors import BadRequest, ModelUnavailable, NotFound
from service.options import DataDir, console, or_exit, read_settings, with_fields
from service.settings import Settings
from service.training.orders import Order

if TYPE_CHECKING:  # they load most of the service
    from service.models.served import ServedModel
    from service.training.report import Report
    from service.training.runs import Run

CANCELLED = 130  # as of any command that Ctrl-C ended
DATA_HELP = "Folder of class folders, zip of them, or CSV of path,label."
RENAMED = {"backbone": "model"}
"""As one says it: glimt train pets/ --model resnet50."""
FIELDS = {RENAMED.get(name, name): name for name in Order.model_fields if name not in ("source", "origin")}
"""What the options are called -> fields of Order."""


@with_fields({option: Order.model_fields[name] for option, name in FIELDS.items()})
def train(
    data: Annotated[
        Path | None,
        typer.Argument(exists=True, help=DATA_HELP, show_default=False),
    ] = None,
    from_feedback: Annotated[
        bool, typer.Option("--from-feedback", help="Learn from what people said, besides the data of an earlier run.")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="With --from-feedback: what was said from that day on."),
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with a run that failed or was cancelled; its options stay.")
    ] = None,
    data_dir: DataDir = None,
    **given: Any,
) -> None:
    """Train a model for classes of your own, measure it on pictures it never saw, and add it to the registry.

    It is called like its data unless --name says otherwise. It is compared with the model that is served now, and not
    served itself until you ask for it. What is not said with --from-feedback or --extends is as in the earlier run.
    Exit code 1: it failed; 130: cancelled, to go on with --resume.
    """
    asked = {FIELDS[option]: value for option, value in given.items() if value is not None}
    if sum((data is not None, from_feedback, resume is not None)) != 1:
        _refuse("One of: DATA, --from-feedback, --resume RUN.")
    if since and not from_feedback:
        _refuse("--since goes with --from-feedback.")
    if resume and asked:
        _refuse("--resume goes on with the options that the run began with; give it no others.")
    settings = read_settings({"data_dir": data_dir})
    if resume:
        run = or_exit(lambda: _to_resume(resume, settings))
    else:
        run = or_exit(lambda: _new_run(data, asked, since, settings))
    or_exit(lambda: _train(run, settings))


def evaluate(
    data: Annotated[Path, typer.Argument(exists=True, help=DATA_HELP)],
    model: Annotated[
        str | None, typer.Option(help="NAME, NAME:VERSION, or as for glimt serve. Default: the served one.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="As for glimt serve; else GLIMT_WEIGHTS.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the tables.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Measure a model on labelled pictures. Those that it learned from say nothing: use others.

    Folders (or labels) are matched with the names of the model's classes. Where the data names a test set, only its
    pictures are looked at.
    """
    settings = read_settings({"model": model, "weights": weights, "data_dir": data_dir})
    or_exit(lambda: _evaluate(data, settings, as_json=as_json))


def _refuse(words: str) -> NoReturn:
    console.print(words)
    raise typer.Exit(2)


def _new_run(data: Path | None, asked: dict[str, Any], since: datetime | None, settings: Settings) -> "Run":
    """Raises BadRequest, NotFound, Conflict."""
    from service.models.registry import check_name
    from service.training.feedback import FILE
    from service.training.runs import Runs

    runs = Runs(settings.data_path)
    earlier = _earlier(asked, settings, newest=data is None)
    fields = earlier.bequest() if earlier else {}
    if data is None:
        fields |= {"source": FILE, "origin": "feedback"}
    else:
        fields |= {"source": str(data.expanduser().absolute()), "origin": "folder"}
    fields.setdefault("name", _name(data))
    if Path(asked.get("weights", "")).is_file():
        asked["weights"] = str(Path(asked["weights"]).absolute())
    order = _order(fields | asked)
    check_name(order.name)
    _check_weights(order.weights, settings)
    run = runs.create(order)
    try:
        with runs.training(run):
            pass  # when there is another it is said now, and nothing is left behind
        if data is None:
            console.print(asyncio.run(_write_feedback(run, earlier, since, settings)), markup=False)
    except BaseException:
        runs.remove(run)
        raise
    return run


def _check_weights(weights: str, settings: Settings) -> None:
    """Before a run is made. Raises NotFound."""
    from service.models.registry import Registry

    if weights in ("imagenet", "random") or Path(weights).expanduser().is_file():
        return
    registry = Registry(settings.data_path)
    try:
        registry.folder_of(weights)
    except (NotFound, ModelUnavailable) as error:
        raise NotFound(
            f"There is no file {weights}, and no model of that name in {registry.folder}. Ways out: imagenet, random, "
            "a weights file, or NAME:VERSION; `glimt models` lists those."
        ) from error


def _earlier(asked: dict[str, Any], settings: Settings, *, newest: bool) -> "Run | None":
    """The run to extend: the one that was asked for, or else the newest that is done, of that name if one was asked."""
    from service.training.runs import Runs

    runs = Runs(settings.data_path)
    if "extends" in asked:
        return runs.get(asked["extends"])
    return runs.newest_done(asked.get("name")) if newest else None


def _name(data: Path | None) -> str:
    """What the model is called when nobody says: like its data."""
    found = re.sub(r"[^A-Za-z0-9._-]+", "_", data.expanduser().absolute().stem if data else "feedback")
    return found.strip("._-")[:64] or "mine"


def _order(fields: dict[str, Any]) -> Order:
    """What is wrong ends with exit code 2."""
    try:
        return Order.model_validate(fields)
    except ValidationError as error:
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else ""
            flag = f"--{RENAMED.get(name, name).replace('_', '-')}: " if name else ""
            console.print(f"{flag}{item['msg']}" + (f", not {item['input']!r}." if name else "."), markup=False)
        raise typer.Exit(2) from error


async def _write_feedback(run: "Run", earlier: "Run | None", since: datetime | None, settings: Settings) -> str:
    from service.store.database import Database
    from service.store.feedback import FeedbackStore
    from service.store.pictures import PictureStore
    from service.training.dataset import read_dataset
    from service.training.feedback import FILE, write_feedback

    if not (settings.data_path / "glimt.db").exists():
        raise NotFound(f"{settings.data_path} has no feedback: no service has worked there yet.")
    known = read_dataset(earlier.folder).classes if earlier else ()
    begin = since.replace(tzinfo=UTC) if since else None
    async with Database(settings.data_path / "glimt.db") as database:
        rows, pictures = FeedbackStore(database).export(), PictureStore(settings.data_path / "pictures")
        taken = await write_feedback(rows, pictures, known, run.folder / FILE, since=begin)
    return f"{taken.words()} Together with the pictures of {earlier.id}." if earlier else taken.words()


def _to_resume(run_id: str, settings: Settings) -> "Run":
    from service.training.runs import Runs

    run = Runs(settings.data_path).get(run_id)
    if run.status().state == "done":
        raise BadRequest(f"{run_id} is done. To train on: glimt train DATA --extends {run_id}")
    return run


def _train(run: "Run", settings: Settings) -> None:
    from service.training.following import follow
    from service.training.report import Report, tables, verdict

    console.print(f"Training run {run.id}, in {run.folder}", markup=False)
    status = follow(run, settings, console)
    if status.state == "cancelled":
        console.print(f"Cancelled. To go on with it: glimt train --resume {run.id}", markup=False)
        raise typer.Exit(CANCELLED)
    report = Report.from_json((run.folder / "report.json").read_bytes())
    output = Console(highlight=False, soft_wrap=True)
    for table in tables(report):
        output.print(table)
        output.print()
    words = [report.notes.words(), *verdict(report)]
    for line in [
        *filter(None, words),
        f"Published {status.version}.",
        to_serve(status.version, report, settings),
    ]:
        output.print(line, markup=False)


def to_serve(ref: str | None, report: "Report", settings: Settings) -> str:
    """A service at work there is told; another could not start."""
    if not is_served(settings.data_path):
        return f"To serve it: glimt serve --model {ref}"
    override = " --override" if report.gate and not report.gate.passed else ""
    return f"To serve it: glimt models activate {ref}{override}"


def _evaluate(data: Path, settings: Settings, *, as_json: bool) -> None:
    import orjson

    from service.construction import make_engine
    from service.inference.images import Limits
    from service.models.choice import choose
    from service.training.dataset import learned_from
    from service.training.examination import examine

    served: ServedModel = choose(settings)
    if served.notice:
        console.print(served.notice, markup=False)
    engine, limits = make_engine(served, settings), Limits(settings.max_image_bytes, settings.max_image_pixels)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"evaluating {served.info.name}", total=None)

        def say(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        learned = learned_from(served.run, settings.data_path)
        found = examine(data.expanduser(), served, engine, limits, say=say, learned=learned)
    if as_json:
        sys.stdout.write(orjson.dumps(found.document()).decode() + "\n")
        return
    output = Console(highlight=False, soft_wrap=True)
    output.print(f"{served.info.name} {served.info.version}", markup=False)
    for table in found.tables():
        output.print(table)
        output.print()
    for line in found.words():
        output.print(line, markup=False)
