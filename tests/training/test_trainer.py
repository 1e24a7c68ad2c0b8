"""How a training process ends, whatever happens in it. The phases themselves are in test_phases.py."""

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import BadRequest, Conflict
from service.settings import Settings
from service.training import phases, processes
from service.training.runs import Run, Runs
from service.training.trainer import Cancelled, Clerk, heed_signals, train
from tests.training.pictures import a_run, two_classes

GoThrough = Callable[[Run, Settings, Clerk], str]


def trained(run: Run, go_through: GoThrough, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run, after a trainer whose phases are these."""
    monkeypatch.setattr(phases, "go_through", go_through)
    train(run, Settings(data_dir=run.folder.parents[1]), threading.Event())
    return run


def failing(error: Exception) -> GoThrough:
    def go_through(run: Run, settings: Settings, clerk: Clerk) -> str:
        clerk.phase("fitting")
        raise error

    return go_through


def done(run: Run, settings: Settings, clerk: Clerk) -> str:
    return "pets:1"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BadRequest("Too few."), "bad_request", "Too few."),
        (OSError(errno.ENOSPC, "No space left on device"), "store_full", "disk is full"),
        (OSError(errno.EIO, "Input/output error"), "internal", "Input/output error"),
        (ZeroDivisionError("secret"), "internal", "trainer.log"),
        (MemoryError(), "internal", "trainer.log"),
    ],
)
def test_an_error_is_told_and_frees_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, words: str
) -> None:
    """Our own errors in their words, a full disk as one, others only in the log; and the next trainer may begin."""
    run = trained(a_run(tmp_path, "pets"), failing(error), monkeypatch)
    status = run.status()
    assert (status.state, status.code) == ("failed", code)
    assert words in str(status.detail)
    assert "secret" not in str(status.detail)
    with Runs(tmp_path).training(run):
        assert run.has_trainer()


def test_a_failed_run_started_again_forgets_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Done is done; when it was ordered stays."""
    run = trained(a_run(tmp_path, "pets"), failing(BadRequest("Too few.")), monkeypatch)
    created = run.status().created
    status = trained(run, done, monkeypatch).status()
    assert (status.state, status.version, status.code, status.detail) == ("done", "pets:1", None, None)
    assert status.created == created
    assert status.ended is not None


def test_a_run_that_is_done_is_not_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is out, and its status stays."""
    run = trained(a_run(tmp_path, "pets"), done, monkeypatch)
    with pytest.raises(Conflict, match="is done"):
        trained(run, failing(BadRequest()), monkeypatch)
    assert run.status().state == "done"


def test_a_second_trainer_is_refused_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the run that is being trained."""
    first, second = a_run(tmp_path, "pets"), a_run(tmp_path, "pets")
    with Runs(tmp_path).training(first), pytest.raises(Conflict, match=first.id):
        trained(second, done, monkeypatch)
    assert second.status().state == "queued"


def test_cancelled_is_neither_done_nor_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And can be started again."""
    run = a_run(tmp_path, "pets")

    def go_through(run: Run, settings: Settings, clerk: Clerk) -> str:
        raise Cancelled

    assert trained(run, go_through, monkeypatch).status().state == "cancelled"
    assert trained(run, done, monkeypatch).status().state == "done"


def test_the_clerk_ends_a_run_that_somebody_cancelled(tmp_path: Path) -> None:
    """At the next step, and nothing more is written by it."""
    run, stopped = a_run(tmp_path, "pets"), threading.Event()
    clerk = Clerk(run, stopped)
    clerk.phase("fitting")
    stopped.set()
    with pytest.raises(Cancelled):
        clerk.tell("epoch 2", 1, 20)
    with pytest.raises(Cancelled):
        clerk.phase("evaluating")


def test_steps_are_not_all_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand batches a second are not a thousand files synced to disk; a phase always is."""
    run = a_run(tmp_path, "pets")
    written: list[Any] = []
    monkeypatch.setattr(run, "write", written.append)
    clerk = Clerk(run, threading.Event())
    clerk.phase("fitting")
    for step in range(1000):
        clerk.tell("epoch", step, 1000)
    clerk.phase("evaluating")
    assert len(written) < 100
    assert [status.state for status in written][-1] == "evaluating"


def test_without_room_for_the_last_word_the_run_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file still says fitting, but nobody is at it."""
    run = a_run(tmp_path, "pets")

    def go_through(run: Run, settings: Settings, clerk: Clerk) -> str:
        clerk.phase("fitting")
        monkeypatch.setattr(Run, "write", full)
        raise OSError(errno.ENOSPC, "No space left on device")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    status = trained(run, go_through, monkeypatch).status()
    assert (status.state, status.code) == ("failed", "interrupted")


def test_a_signal_cancels() -> None:
    """SIGTERM from the service, SIGINT from a person."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in before:
            heed_signals(stopped := threading.Event(), with_parent=False)
            os.kill(os.getpid(), number)
            assert stopped.wait(10)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.slow
def test_the_process_stands_back_and_ends_with_its_parent(tmp_path: Path) -> None:
    """It runs when nobody else wants to; when its standard input ends, the run is cancelled, with the epochs it has."""
    source = two_classes(tmp_path / "pets", each=12)
    run = a_run(tmp_path / "data", source, backbone="cnn", epochs=1000, patience=1000, batch=4)
    command, environment = processes.trainer(run.folder), processes.environment()
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        while process.poll() is None and not run.epochs():
            time.sleep(0.1)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert process.stdin
        process.stdin.close()
        assert process.wait() == 130
    assert run.status().state == "cancelled"
    assert run.epochs()
