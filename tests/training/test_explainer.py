"""Questions about a model, asked from the event loop. The child is a small one that stands for the real."""

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest

from service.errors import DeadlineExceeded, EngineFailed, QueueFull
from service.models.architectures import ARCHITECTURES
from service.training import explainer as module
from service.training.explainer import MAX_WAITING, Explainer
from service.training.explaining import Question
from tests.world import until

DEMO = ARCHITECTURES["demo"]
QUESTION = Question(DEMO.build, None, DEMO.input, np.zeros((32, 32, 3), np.uint8), 3)
ECHO = "import pickle, sys; sys.stdout.write(str(pickle.load(sys.stdin.buffer).label))"
SLEEP = "import os, pathlib, time; pathlib.Path({!r}).write_text(str(os.getpid())); time.sleep(1000)"


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(module, "explaining", lambda: [sys.executable, "-c", code])


def is_alive(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_question_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child wrote."""
    child(monkeypatch, ECHO)
    assert await Explainer().explain(QUESTION) == b"3"


async def test_a_child_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words that tell nothing of the inside."""
    child(monkeypatch, "raise SystemExit('secret')")
    with pytest.raises(EngineFailed) as caught:
        await Explainer().explain(QUESTION)
    assert "secret" not in caught.value.detail


async def test_a_child_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And whoever asked is told; the next question has its turn."""
    child(monkeypatch, SLEEP.format(str(tmp_path / "pid")))
    explainer = Explainer(longest_s=1)
    with pytest.raises(DeadlineExceeded):
        await explainer.explain(QUESTION)
    assert not (tmp_path / "pid").exists() or not is_alive((tmp_path / "pid").read_text())
    child(monkeypatch, ECHO)
    assert await Explainer().explain(QUESTION) == b"3"


async def test_one_at_a_time_and_few_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """More are refused at once; those who leave take their child and their place with them."""
    pid = tmp_path / "pid"
    child(monkeypatch, SLEEP.format(str(pid)))
    explainer = Explainer()
    asked = [asyncio.create_task(explainer.explain(QUESTION)) for _ in range(1 + MAX_WAITING)]
    await until(lambda: pid.exists() and pid.read_text())
    with pytest.raises(QueueFull):
        await explainer.explain(QUESTION)
    for task in reversed(asked):
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert not is_alive(pid.read_text())
    child(monkeypatch, ECHO)
    assert await explainer.explain(QUESTION) == b"3"
