"""A trainer that is killed at every step, or finds the disk full: the registry as it was, the run failed, no lock held,
and a new trainer goes on."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.models.registry import Registry
from service.training.runs import Run, Runs
from tests.training.pictures import a_run

pytestmark = pytest.mark.slow

EPOCHS = 3
KILLS = [
    ("status.json:gathering", 1),
    ("dataset.json", 1),
    ("status.json:fitting", 1),
    ("epochs.ndjson", 1),
    ("state.npz", 1),
    ("state.npz", 2),
    ("state.npz", 2),
    ("status.json:evaluating", 1),
    ("augmentation.png", 1),
    ("map-2.png", 1),
    ("report.json", 1),
    ("status.json:publishing", 1),
    ("models/colours/*", 1),
]
"""Every file that comes to be, in order. The state.npz are the epochs: the second one of a life is one that was gone on
to."""


def colours(folder: Path) -> Path:
    """Two dozen noisy pictures of two colours."""
    random = np.random.default_rng(0)
    for name, mean in (("red", (200, 60, 60)), ("blue", (60, 60, 200))):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(random.normal(mean, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def ordered(folder: Path) -> Run:
    source = colours(folder / "colours")
    return a_run(folder / "data", source, name="colours", backbone="cnn", epochs=EPOCHS, batch=8, augment=True)


class Lives:
    """Trainers of one run, one after the other."""

    def __init__(self, run: Run, service: subprocess.Popen[str]) -> None:
        self._run, self._service = run, service

    def killed(self, rename: str, nth: int) -> bool:
        """Whether it came to that step, and was killed there."""
        return self._live(rename=rename, nth=nth) == -9

    def on_a_disk_of(self, size: int) -> int:
        """Its exit code; no file can be larger than `size` bytes."""
        return self._live(bytes=size)

    def undisturbed(self) -> int:
        """Its exit code."""
        return self._live()

    def _live(self, **life: object) -> int:
        assert self._service.stdin
        assert self._service.stdout
        self._service.stdin.write(json.dumps(life) + "\n")
        self._service.stdin.flush()
        return int(self._service.stdout.readline())


@contextmanager
def lives(run: Run) -> Iterator[Lives]:
    command = [sys.executable, "-m", "tests.faults.trainer_service", str(run.folder)]
    root = Path(__file__).parents[2]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as service:
        try:
            yield Lives(run, service)
        finally:
            service.kill()


def is_locked(run: Run) -> bool:
    with Runs(run.folder.parents[1]).training(run):
        return False


def versions(run: Run) -> list[str]:
    return [listed.ref for listed in Registry(run.folder.parents[1]).list()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    run = ordered(tmp_path_factory.mktemp("undisturbed"))
    with lives(run) as trainers:
        assert trainers.undisturbed() == 0, (run.folder / "trainer.log").read_text()[-3000:]
    return run


def test_killed_at_every_step_it_goes_on_and_ends_the_same(tmp_path: Path, undisturbed: Run) -> None:
    """After each kill the run has failed, no version is there, the lock is free; and what comes out in the end is what
    comes out undisturbed: the same epochs, the same weights."""
    run = ordered(tmp_path)
    with lives(run) as trainers:
        for rename, nth in KILLS:
            assert trainers.killed(rename, nth), (rename, (run.folder / "trainer.log").read_text()[-3000:])
            assert run.status().state in ("failed", "queued"), rename
            assert not is_locked(run)
            assert versions(run) == [], rename
        assert trainers.undisturbed() == 0, (run.folder / "trainer.log").read_text()[-3000:]
    status = run.status()
    assert (status.state, [status.version]) == ("done", versions(run))
    told = [epoch.model_dump(exclude={"seconds"}) for epoch in run.epochs()]
    assert told == [epoch.model_dump(exclude={"seconds"}) for epoch in undisturbed.epochs()]
    assert status.version == undisturbed.status().version
    assert not (run.folder / "checkpoint").exists()


def test_killed_after_publishing_it_is_published_once(tmp_path: Path) -> None:
    """Before it could say that it is done. The version stays, and the next trainer finds it."""
    run = ordered(tmp_path)
    with lives(run) as trainers:
        assert trainers.killed("status.json:done", 1)
        assert run.status().state == "failed"
        before = versions(run)
        assert trainers.undisturbed() == 0
    assert before == versions(run) == [run.status().version]
    assert Registry(tmp_path / "data").pointer().served is None


def test_a_full_disk_is_told_and_it_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """While pictures are gathered, while a checkpoint is written, and while the weights are."""
    run = ordered(tmp_path)
    with lives(run) as trainers:
        for size in (40_000, 1_000_000):
            assert trainers.on_a_disk_of(size) == 1
            assert (run.status().state, run.status().code) == ("failed", "store_full"), size
            assert versions(run) == []
            assert not is_locked(run)
        assert trainers.killed("status.json:evaluating", 1)
        assert trainers.on_a_disk_of(1_000_000) == 1
        assert (run.status().state, versions(run)) == ("failed", [])
        assert trainers.undisturbed() == 0
    assert versions(run) == [run.status().version]
