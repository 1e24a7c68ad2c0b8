"""The service's trainings, with a process that plays the trainer."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.errors import BadRequest, Conflict, NotFound
from service.settings import Settings
from service.store.feedback import FeedbackStore
from service.store.pictures import PictureStore
from service.training import processes, trainings
from service.training.orders import Order
from service.training.runs import Run, State, Status
from service.training.trainings import Trainings
from tests.training import pretended_trainer
from tests.training.pictures import a_run
from tests.world import make_database


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "trainer", pretended_trainer.command)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Trainings]:
    database, pictures = make_database(tmp_path), PictureStore(tmp_path / "pictures")
    async with database, pictures, Trainings(Settings(data_dir=tmp_path), FeedbackStore(database), pictures) as room:
        yield room


def order(name: str, **what: object) -> Order:
    return Order.model_validate({"name": name, "source": "pets.zip", "origin": "upload"} | what)


async def reaches(run: Run, *states: State) -> Status:
    """Its status, once it is in one of these."""
    async with asyncio.timeout(30):
        while (status := run.status()).state not in states:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until another process has written it down
    return status


async def begun(room: Trainings, name: str) -> Run:
    """One that learns."""
    run = await room.begin(order(name))
    await reaches(run, "fitting")
    return run


async def test_a_run_is_trained_by_a_process_of_its_own(room: Trainings) -> None:
    """And is done when that says so. Then another one may begin."""
    for name in ("pets", "birds"):
        run = await room.begin(order(name))
        assert (await reaches(run, "done")).version == f"{name}:0123456789ab"


async def test_a_second_run_is_refused(room: Trainings) -> None:
    """The words name the first one, and nothing of the second is left."""
    first = await begun(room, "waits")
    with pytest.raises(Conflict, match=first.id):
        await room.begin(order("pets"))
    assert [run.id for run in room.runs.all()] == [first.id]


async def test_of_two_at_once_one_is_refused(room: Trainings) -> None:
    """T34: even before the first one's process has come so far as to hold the lock."""
    found = await asyncio.gather(*(room.begin(order("waits")) for _ in range(2)), return_exceptions=True)
    assert [type(it) for it in found if not isinstance(it, Run)] == [Conflict]
    assert len(room.runs.all()) == 1


async def test_a_cancelled_run_keeps_what_it_learnt_and_can_be_resumed(room: Trainings) -> None:
    """It goes on from its epochs."""
    run = await begun(room, "once")
    await room.cancel(run)
    assert (run.status().state, len(run.epochs())) == ("cancelled", 1)
    await room.resume(run)
    await reaches(run, "done")


async def test_one_that_does_not_end_is_killed(room: Trainings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And counts as cancelled, as somebody wanted it; until then it is ending."""
    monkeypatch.setattr(trainings, "END_S", 0.05)
    run = await begun(room, "deaf")
    assert not room.is_ending(run)
    cancelling = asyncio.create_task(room.cancel(run))
    await asyncio.sleep(0)
    assert room.is_ending(run)
    await cancelling
    assert not room.is_ending(run)
    status = run.status()
    assert (status.state, status.code, run.has_trainer()) == ("cancelled", None, False)


async def test_the_services_end_ends_the_trainer(tmp_path: Path) -> None:
    """Nobody trains on when the service has gone, and the run can be resumed."""
    database, pictures = make_database(tmp_path), PictureStore(tmp_path / "pictures")
    async with database, pictures, Trainings(Settings(data_dir=tmp_path), FeedbackStore(database), pictures) as room:
        run = await begun(room, "waits")
    assert (run.status().state, run.has_trainer()) == ("cancelled", False)


async def test_a_killed_trainer_is_a_failed_run_that_can_be_resumed(room: Trainings) -> None:
    """T32: kill -9. It is written down, and the next run may begin."""
    run = await begun(room, "once")
    assert room._child is not None
    os.kill(room._child.pid, signal.SIGKILL)
    status = await reaches(run, "failed")
    assert status.code == "interrupted"
    await room.resume(run)
    await reaches(run, "done")


async def test_one_that_cannot_begin_has_failed_in_its_own_words(room: Trainings) -> None:
    """It waited for ever: whoever looks at its file alone finds it queued."""
    status = await reaches(await room.begin(order("refuses")), "failed")
    assert status.detail == "Not today."


async def test_a_run_of_a_terminal_is_not_ended_here(room: Trainings, tmp_path: Path) -> None:
    """Nor does another begin beside it."""
    run = a_run(tmp_path, "pets.zip")
    with room.runs.training(run):
        with pytest.raises(Conflict, match="started from a terminal"):
            await room.cancel(run)
        with pytest.raises(Conflict, match=run.id):
            await room.begin(order("pets"))
    assert [it.id for it in room.runs.all()] == [run.id]


async def test_one_that_is_done_is_not_resumed(room: Trainings) -> None:
    """It would be published again."""
    run = await room.begin(order("pets"))
    await reaches(run, "done")
    with pytest.raises(Conflict, match="is done"):
        await room.resume(run)


async def test_without_feedback_there_is_no_run(room: Trainings) -> None:
    """And no empty folder of one."""
    with pytest.raises(BadRequest, match="none is left"):
        await room.begin(order("pets", source="feedback.csv", origin="feedback"))
    assert room.runs.all() == []


async def test_what_is_extended_must_be_there(room: Trainings) -> None:
    """Before anything is made."""
    with pytest.raises(NotFound):
        await room.begin(order("pets", extends="20260101-000000-000000"))
    assert room.runs.all() == []


async def test_what_never_began_has_failed_at_the_next_start(tmp_path: Path) -> None:
    """A service that was killed between a run's folder and its process left it queued. One that a terminal has made
    just now is left alone."""
    old, new = a_run(tmp_path, "pets.zip"), a_run(tmp_path, "pets.zip")
    old.write(Status(created=datetime.now(UTC) - timedelta(hours=1)))
    database, pictures = make_database(tmp_path), PictureStore(tmp_path / "pictures")
    async with database, pictures, Trainings(Settings(data_dir=tmp_path), FeedbackStore(database), pictures):
        assert (old.status().state, new.status().state) == ("failed", "queued")
