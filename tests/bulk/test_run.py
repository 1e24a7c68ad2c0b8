"""How a job goes: rate, time left, pauses."""

import asyncio
from datetime import UTC, datetime

import pytest

from service.bulk.run import CHECKPOINT_ITEMS, Progress, Run
from service.store.job_rows import ItemStatus, Job, JobItem

JOB = Job(
    id=1, owner="ada", created_at=datetime.now(UTC), started_at=None, ended_at=None, file_name="a.zip", bytes=1,
    status="queued", error_code=None, error_detail=None, total=None, done=0, failed=0, skipped=0,
)  # fmt: skip


def items(count: int, status: ItemStatus = "done") -> list[JobItem]:
    return [JobItem(position=n, name=f"{n}.png", status=status) for n in range(count)]


def begun(left: int) -> Run:
    run = Run(JOB)
    run.begin(100.0, left)
    return run


def test_nothing_is_known_at_the_start() -> None:
    """No rate and no time left before anything is stored."""
    assert Run(JOB).progress(0.0) == Progress()
    assert begun(10).progress(105.0) == Progress()


def test_the_rate_and_what_is_left() -> None:
    """50 of 200 pictures in 5 s: 10 per second, 15 s to go."""
    run = begun(200)
    run.stored(105.0, items(50))
    assert run.progress(105.0) == Progress(None, 10.0, 15.0)


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    """A slow beginning is forgotten."""
    run = begun(1000)
    for second in range(1, 101):
        run.stored(100.0 + second, items(1 if second <= 60 else 5))
    assert run.progress(200.0).rate_per_s == pytest.approx(5.0)
    assert run.progress(200.0).eta_s == pytest.approx((1000 - 60 - 200) / 5)


def test_skipped_entries_are_no_pictures() -> None:
    """They cost nothing, so they say nothing about the time that pictures take."""
    run = begun(200)
    run.stored(101.0, items(5000, "skipped"))
    run.stored(105.0, items(40) + items(10, "failed"))
    assert run.progress(105.0) == Progress(None, 10.0, 15.0)


def test_the_rate_falls_when_nothing_comes() -> None:
    """After a minute without an answer it does not promise the old time."""
    run = begun(200)
    run.stored(105.0, items(50))
    rate = run.progress(165.0).rate_per_s
    assert rate is not None
    assert rate < 1


def test_pauses() -> None:
    """The words stay until the last one that waits goes on, and as long as it stands no time left is promised."""
    run = begun(200)
    run.stored(105.0, items(50))
    with run.pausing() as first:
        first("The disk is full.")
        with run.pausing() as second:
            second("The model loads.")
            assert run.progress(105.0) == Progress("The disk is full.", 10.0, None)
        with run.pausing():
            assert run.progress(105.0).paused == "The disk is full."
    assert run.progress(105.0) == Progress(None, 10.0, 15.0)


def test_due() -> None:
    """Enough answers, or enough time since the last were stored."""
    run = begun(200)
    run.answered += items(1)
    assert not run.is_due(100.5)
    assert run.is_due(101.0)
    run.answered += items(CHECKPOINT_ITEMS - 1)
    assert run.is_due(100.5)


def test_what_was_answered_meanwhile_stays() -> None:
    """Only what was stored is taken off."""
    run = begun(200)
    run.answered += items(70)
    run.stored(101.0, run.answered[:64])
    assert [item.position for item in run.answered] == [64, 65, 66, 67, 68, 69]


async def test_leaving_twice_is_leaving_once() -> None:
    """A second cancel would interrupt the storing of what is answered."""
    run = Run(JOB)

    async def work() -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "stored"

    task = asyncio.create_task(work())
    run.task = task  # type: ignore[assignment]
    await asyncio.sleep(0)
    run.leave()
    await asyncio.sleep(0)
    run.leave()
    assert await task == "stored"
