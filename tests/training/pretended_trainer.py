"""Plays the trainer's process: `python -m tests.training.pretended_trainer RUN_FOLDER --with-parent`.

The order's name says which part.
"""

import os
import signal
import sys
from pathlib import Path

from service.training.runs import Epoch, Run, Runs

EPOCH = Epoch(
    phase="head", epoch=1, loss=1.2, accuracy=0.5, val_loss=1.1, val_accuracy=0.625, learning_rate=0.001, seconds=2.0
)


def fails(run: Run) -> int:
    run.write(run.status().model_copy(update={"state": "failed", "code": "bad_request", "detail": "Too few pictures."}))
    return 1


def is_offline(run: Run) -> int:
    run.write(run.status().model_copy(update={"state": "failed", "code": "model_unavailable", "detail": "No answer."}))
    return 1


def dies(run: Run) -> int:
    run.write(run.status().model_copy(update={"state": "fitting"}))
    return -9


def refuses(run: Run) -> int:
    print("Not today.", file=sys.stderr)
    return 1


def is_interrupted(run: Run) -> int:
    """Ctrl-C is pressed once there is an epoch; then it waits for the signal to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    run.add(EPOCH)
    run.write(run.status().model_copy(update={"state": "fitting", "step": 1, "steps": 20}))
    os.kill(os.getppid(), signal.SIGINT)
    signal.sigwait({signal.SIGTERM})
    run.write(run.status().model_copy(update={"state": "cancelled"}))
    return 130


def waits(run: Run) -> int:
    """For its parent to want its end."""
    begin(run)
    sys.stdin.buffer.read()
    run.write(run.status().model_copy(update={"state": "cancelled"}))
    return 130


def once(run: Run) -> int:
    """Waits, and is done when it is started again."""
    return succeeds(run) if run.epochs() else waits(run)


def deaf(run: Run) -> int:
    """Does not end by itself."""
    begin(run)
    signal.sigwait({signal.SIGUSR1})
    return 0


def begin(run: Run) -> None:
    run.add(EPOCH)
    run.write(run.status().model_copy(update={"state": "fitting", "step": 1, "steps": 20}))


def succeeds(run: Run) -> int:
    run.write(run.status().model_copy(update={"state": "done", "version": f"{run.order.name}:0123456789ab"}))
    return 0


PARTS = {
    "fails": fails,
    "offline": is_offline,
    "dies": dies,
    "refuses": refuses,
    "interrupted": is_interrupted,
    "waits": waits,
    "once": once,
    "deaf": deaf,
}


def command(run_folder: Path) -> list[str]:
    """In the place of processes.trainer."""
    return [sys.executable, "-m", "tests.training.pretended_trainer", str(run_folder), "--with-parent"]


def main() -> int:
    run = Run(Path(sys.argv[1]))
    assert sys.argv[2:] == ["--with-parent"]
    assert os.environ["GLIMT_DATA_DIR"] == str(run.folder.parents[1])
    part = PARTS.get(run.order.name, succeeds)
    with Runs(run.folder.parents[1]).training(run):
        return part(run)


if __name__ == "__main__":
    sys.exit(main())
