"""A run from a terminal: the trainer as a child of this process, and what its run's files say meanwhile."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.errors import BadRequest, GlimtError, ModelUnavailable, NotFound
from service.settings import Settings
from service.training import processes
from service.training.runs import Epoch, Run, Runs, Status

LOOK_EVERY_S = 0.5
"""As often as the trainer writes."""
END_S = 60.0
"""For the trainer to end after it was told to: at most the step it is at, and writing a checkpoint."""

HEADER = f"{'epoch':<16} {'loss':>8} {'accuracy':>9} {'val. loss':>10} {'val. acc.':>10} {'rate':>9} {'seconds':>8}"


class NotTrained(GlimtError):
    """Why a run ended without a version; `detail` has the trainer's words."""


def follow(run: Run, settings: Settings, console: Console) -> Status:
    """Train it in a process of its own, telling the console what it does, until it is over.

    Ctrl-C cancels the run and waits for its end; a second one kills it. Raises Conflict when another run is being
    trained, NotTrained when it did not end as done or cancelled.
    """
    with Runs(settings.data_path).training(run):
        pass  # only to say at once, and in words, that there is another
    with _trainer(run, settings) as process, _progress(console) as progress:
        watch = _Watch(run, progress)
        try:
            watch.until_it_ends(process)
        except KeyboardInterrupt:
            console.print("Cancelling. What was learnt is kept.")
            process.terminate()
            with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):
                process.wait(END_S)
            watch.look()
        refusal = _end(process)
    status = run.status()
    if not status.is_over or status.state == "failed":
        raise NotTrained(
            f"The training failed. {status.detail or refusal or 'Its process ended at once.'} More is in "
            f"{run.folder / 'trainer.log'}.{_way_on(run, status)}"
        )
    return status


def _way_on(run: Run, status: Status) -> str:
    """Nothing after what would be refused again: a run's options stay."""
    if status.code in (BadRequest.code, NotFound.code):
        return ""
    resume = f"glimt train --resume {run.id}"
    if status.code == ModelUnavailable.code:
        return f" Ways out: begin anew with --weights FILE, one you bring; or, when they can be had, {resume}"
    return f" To go on with it: {resume}"


@contextmanager
def _trainer(run: Run, settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """In a session of its own: Ctrl-C is for us to tell it, by a signal. When we are gone it ends by itself."""
    environment = processes.environment() | {"GLIMT_DATA_DIR": str(settings.data_path)}
    process = subprocess.Popen(
        processes.trainer(run.folder),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> str:
    """Make sure that it has, and what it said at its start."""
    if process.returncode is None and process.poll() is None:
        process.kill()
    if process.stdin:
        process.stdin.close()
    process.wait()
    if process.stderr is None or process.stderr.closed:
        return ""
    with process.stderr:
        return process.stderr.read(4096).decode(errors="replace").strip()


class _Watch:
    """What the run's files say, on the console: each phase and each epoch once, and the bar."""

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._progress, self._console = run, progress, progress.console
        self._task = progress.add_task("starting", total=None, left="")
        self._state = run.status().state
        self._earlier = self._printed = len(run.epochs())

    def until_it_ends(self, process: "subprocess.Popen[bytes]") -> None:
        """Look again and again, the last time at what its end left."""
        while process.poll() is None:
            self.look()
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_EVERY_S)
        self.look()

    def look(self) -> None:
        """Once."""
        status, epochs = self._run.status(), self._run.epochs()
        for epoch in epochs[self._printed :]:
            if self._printed == self._earlier:
                self._console.print(HEADER)
            self._console.print(_line(epoch))
            self._printed += 1
        if status.state != self._state and not status.is_over:
            self._state = status.state
            self._progress.reset(self._task, description=status.state, total=None)
            if not self._console.is_terminal:
                self._console.print(f"{status.state} …")
        left = "" if status.eta_s is None else f"about {_duration(status.eta_s)} left"
        self._progress.update(self._task, completed=status.step, total=status.steps or None, left=left)


def _line(epoch: Epoch) -> str:
    return (
        f"{epoch.phase + ' ' + str(epoch.epoch):<16} {epoch.loss:>8.4f} {epoch.accuracy:>9.1%} {epoch.val_loss:>10.4f} "
        f"{epoch.val_accuracy:>10.1%} {epoch.learning_rate:>9.2g} {epoch.seconds:>8.1f}"
    )


def _duration(seconds: float) -> str:
    return f"{ceil(seconds)} s" if seconds < 90 else f"{ceil(seconds / 60)} min"


def _progress(console: Console) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    left = TextColumn("{task.fields[left]}")
    return Progress(*columns, left, console=console, transient=True, disable=not console.is_terminal)
