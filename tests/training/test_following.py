"""A run seen from a terminal, with a process that plays the trainer."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from service.errors import Conflict
from service.settings import Settings
from service.training import following, processes
from service.training.following import NotTrained, follow
from service.training.runs import Runs, Status
from tests.training import pretended_trainer
from tests.training.pictures import a_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "trainer", pretended_trainer.command)
    monkeypatch.chdir(ROOT)


def followed(data: Path, part: str) -> tuple[Status, str]:
    said = io.StringIO()
    status = follow(a_run(data, "pets", name=part), Settings(data_dir=data), Console(file=said, width=200))
    return status, said.getvalue()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("fails", r"Too few pictures\. More is in .*trainer\.log\.$"),
        ("offline", r"No answer\. More is .* anew with --weights FILE, .* glimt train --resume 2"),
        ("dies", "Its process ended before it was done. It can be started again. More .* To go on with it: glimt"),
        ("refuses", r"Not today\. More is in"),
    ],
)
def test_why_it_failed_is_said(tmp_path: Path, part: str, words: str) -> None:
    """In the trainer's words; a killed one left none, and one that did not begin said them on standard error.
    To go on is offered where that can help."""
    with pytest.raises(NotTrained, match=rf"^The training failed\. {words}"):
        followed(tmp_path, part)


def test_ctrl_c_cancels_it(tmp_path: Path) -> None:
    """It is told by a signal and waited for; what it did until then was printed."""
    status, said = followed(tmp_path, "interrupted")
    assert status.state == "cancelled"
    lines = said.splitlines()
    assert "Cancelling. What was learnt is kept." in lines
    epoch = "head 1             1.2000     50.0%     1.1000      62.5%     0.001      2.0"
    assert lines[lines.index(following.HEADER) + 1] == epoch


def test_another_run_that_is_trained_is_named(tmp_path: Path) -> None:
    """At once, before a process is started."""
    other = a_run(tmp_path, "pets")
    with Runs(tmp_path).training(other), pytest.raises(Conflict, match=rf"{other.id} is being trained"):
        followed(tmp_path, "fails")
