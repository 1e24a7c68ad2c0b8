"""The process that trains one run: `python -P -m service.training.trainer RUN_FOLDER [--with-parent]`.

Started again on a run that failed or was cancelled, it goes on where that was. It stands back behind everything else on
the machine, and keeps to its run's folder until the last phase puts the finished version into the registry.

SIGTERM and SIGINT end it as cancelled; so does, with --with-parent, the end of its standard input.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.cores import LEAST, usable_cores
from service.errors import Conflict, GlimtError, StoreFull
from service.files import NO_ROOM
from service.settings import Settings
from service.training.runs import Run, Runs, State, Status

EVERY_S = 0.5
"""Between two looks of a progress bar at status.json."""
EXIT_CODES: dict[State, int] = {"done": 0, "failed": 1, "cancelled": 130}
_log = logging.getLogger("service.training.trainer")


class Cancelled(Exception):
    """Somebody wants it to end."""


class Clerk:
    """Writes down how the run stands: each phase at once, and within one not more often than EVERY_S."""

    def __init__(self, run: Run, stopped: threading.Event) -> None:
        self._run, self._stopped = run, stopped
        now = datetime.now(UTC)
        self._status = Status(created=run.status().created, started=now)
        self._next = 0.0

    def phase(self, state: State) -> None:
        """A new phase. Raises Cancelled, OSError."""
        self.heed()
        self._write(state=state, step=0, steps=0, eta_s=None, words="")
        _log.info(state)

    def tell(self, words: str, step: int, steps: int, eta_s: float | None = None) -> None:
        """Within a phase. Raises Cancelled, OSError."""
        self.heed()
        if time.monotonic() >= self._next:
            self._write(words=words, step=step, steps=steps, eta_s=eta_s)

    def heed(self) -> None:
        """Raise Cancelled when somebody wants it to end."""
        if self._stopped.is_set():
            raise Cancelled

    def end(self, state: State, **what: str) -> State:
        """The last word. Where it cannot be written, `Run.status` says that the run failed."""
        with suppress(OSError):
            self._write(state=state, eta_s=None, words="", ended=datetime.now(UTC), **what)
        _log.info("%s %s", state, " ".join(what.values()))
        return state

    def _write(self, **changes: Any) -> None:
        self._status = self._status.model_copy(update=changes)
        self._run.write(self._status)
        self._next = time.monotonic() + EVERY_S


def train(run: Run, settings: Settings, stopped: threading.Event) -> State:
    """Do the run, however it ends; that end is in its status too.

    Raises Conflict when a run is being trained already, or this one is done.
    """
    with Runs(settings.data_path).training(run):
        if run.status().state == "done":
            raise Conflict(f"{run.id} is done. Make a new run, which may extend it.")
        clerk = Clerk(run, stopped)
        try:
            from service.training.phases import go_through, tidy

            state = clerk.end("done", version=go_through(run, settings, clerk))
            tidy(run)
            return state
        except Cancelled:
            return clerk.end("cancelled")
        except GlimtError as error:
            _log.exception("failed")
            return clerk.end("failed", code=error.code, detail=error.detail)
        except OSError as error:
            _log.exception("failed")
            return clerk.end("failed", **_of_the_disk(error))
        except Exception:
            _log.exception("failed")
            return clerk.end("failed", code=GlimtError.code, detail="Something went wrong: see trainer.log of the run.")


def _of_the_disk(error: OSError) -> dict[str, str]:
    if error.errno in NO_ROOM:
        return {"code": StoreFull.code, "detail": "The disk is full. Free some room and start the run again."}
    return {"code": GlimtError.code, "detail": f"A file could not be used: {error.strerror or error}. See trainer.log."}


def stand_back() -> None:
    """Take only what nobody else on the machine wants, and no more threads than there are cores."""
    os.nice(LEAST)
    if hasattr(os, "SCHED_IDLE"):  # Linux: whoever else wakes up goes first, at once
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(usable_cores()))
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    # With CI, OpenVINO sends no telemetry: that forks, and a fork of a process with TensorFlow's threads hangs.
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CI": "true"}


def heed_signals(stopped: threading.Event, *, with_parent: bool) -> None:
    """Set `stopped` on SIGTERM, on SIGINT, and when the parent has gone."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if with_parent:
        threading.Thread(target=_outlive, args=(stopped,), daemon=True).start()


def _outlive(stopped: threading.Event) -> None:
    os.read(0, 1)  # not sys.stdin: its lock would be held for ever, and a forked child's end waits for it
    stopped.set()


def keep_words(path: Path) -> None:
    """All that this process says goes into the file, TensorFlow's words too."""
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", force=True)
    _log.setLevel(logging.INFO)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 failed or not begun (the reason on standard error), 130 cancelled."""
    parser = argparse.ArgumentParser(prog="service.training.trainer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--with-parent", action="store_true")
    given = parser.parse_args(arguments)
    run, stopped = Run(given.folder.absolute()), threading.Event()
    heed_signals(stopped, with_parent=given.with_parent)
    stand_back()
    settings = Settings(data_dir=run.folder.parents[1])
    said = os.dup(2)
    try:
        keep_words(run.folder / "trainer.log")
        return EXIT_CODES[train(run, settings, stopped)]
    except (GlimtError, OSError) as error:
        os.write(said, f"{error}\n".encode())
        return 1


if __name__ == "__main__":
    sys.exit(main())
