"""Many jobs: who goes on when, cancelling, forgetting, starting again."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from service.bulk.runner import ACTIVE, remove
from service.errors import StoreFull
from service.store.job_rows import ItemFilter, JobItem, JobStatus
from tests.bulk.workshop import Answers, Workshop, pictures, workshop, zipped
from tests.world import until


async def test_two_jobs_go_on_in_turns(tmp_path: Path) -> None:
    """However many pictures the one had before the other came, from then on a place goes to each in turn."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=6) as shop:
        first = await shop.job(pictures(40, "a"))
        await until(lambda: len(answers.asked) == 6)
        second = await shop.job(pictures(40, "b"))
        await until(lambda: len(shop.runner._work._window._turn._waiters or ()) == 1)
        for asked in range(7, 27):
            answers.let(1)
            await until(lambda asked=asked: len(answers.asked) == asked)
        turns = b"".join(asked[:1] for asked in answers.asked[6:])
        assert turns == b"ab" * 10
        answers.go()
        for job in (first, second):
            assert (await shop.over(job)).done == 40
    assert answers.most_flying == 6


async def test_an_owner_with_many_jobs_holds_up_nobody(tmp_path: Path) -> None:
    """All places are taken by one; the next that is free is for somebody else, who came last."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        many = [await shop.job(pictures(1, str(n)), "ada") for n in range(ACTIVE + 2)]
        await until(lambda: len(answers.asked) == ACTIVE)
        other = await shop.job(pictures(1, "b"), "bo")
        assert (await shop.now(other)).status == (await shop.now(many[-1])).status == "queued"
        answers.let(1)
        await until(lambda: len(answers.asked) == ACTIVE + 1)
        assert answers.asked[-1] == b"b0"
        answers.go()
        await asyncio.gather(*map(shop.over, many))


async def test_never_more_in_flight_than_there_are_places(tmp_path: Path) -> None:
    """Over all jobs, all of which come to their end."""
    answers = Answers()
    async with workshop(tmp_path, answers, places=5) as shop:
        jobs = [await shop.job(pictures(30, str(n)), str(n)) for n in range(6)]
        assert [(await shop.over(job)).done for job in jobs] == [30] * 6
    assert answers.most_flying == 5


async def test_cancelling_keeps_what_is_answered(tmp_path: Path) -> None:
    """Also twice; and nothing more happens to it."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=4) as shop:
        job = await shop.job(pictures(20))
        answers.let(10)
        await until(lambda: len(answers.asked) == 14)
        await asyncio.gather(shop.runner.cancel(job), shop.runner.cancel(job))
        await shop.runner.cancel(job)
        over = await shop.now(job)
        assert (over.status, over.done) == ("cancelled", 10)
        assert over.ended_at is not None
        assert len(await shop.rows(job)) == 10
        assert not answers.flying
        assert shop.runner.progress(job.id) is None
    async with workshop(tmp_path, answers) as shop:
        assert shop.runner.progress(job.id) is None


async def test_a_job_is_cancelled_when_all_that_was_answered_is_stored(tmp_path: Path) -> None:
    """Nothing is added to a job that is over."""
    answers, writes = Answers(), []
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        checkpoint, end = shop.jobs.checkpoint, shop.jobs.end

        async def storing(job_id: int, items: Sequence[JobItem]) -> None:
            await checkpoint(job_id, items)
            writes.append("checkpoint")

        async def ending(job_id: int, status: JobStatus) -> bool:
            writes.append(status)
            return await end(job_id, status)

        shop.jobs.checkpoint, shop.jobs.end = storing, ending  # type: ignore[method-assign, assignment]
        job = await shop.job(pictures(50))
        answers.let(10)
        await until(lambda: len(answers.asked) == 42)
        await shop.runner.cancel(job)
    assert writes == ["checkpoint", "cancelled"]


async def test_who_cancels_may_leave(tmp_path: Path) -> None:
    """The one that asked for it is cancelled at once: the job is cancelled nevertheless."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        job = await shop.job(pictures(20))
        await until(lambda: answers.asked)
        asking = asyncio.create_task(shop.runner.cancel(job))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    async with workshop(tmp_path) as shop:
        assert (await shop.now(job)).status == "cancelled"


async def test_cancelling_one_that_waits_for_its_turn(tmp_path: Path) -> None:
    """It never begins, and those behind it do."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        jobs = [await shop.job(pictures(2, str(n))) for n in range(ACTIVE + 2)]
        await shop.runner.cancel(jobs[ACTIVE])
        answers.go()
        overs = [await shop.over(job) for job in jobs]
        assert [job.status for job in overs] == ["done"] * ACTIVE + ["cancelled", "done"]
        assert overs[ACTIVE].total is None


async def test_cancelling_before_it_is_started(tmp_path: Path) -> None:
    """Its row was seen and cancelled before its archive was in its place: it does not begin."""
    async with workshop(tmp_path) as shop:
        job = await shop.job(pictures(2), start=False)
        await shop.runner.cancel(job)
        shop.runner.start(job)
        assert (await shop.over(job)).status == "cancelled"
        assert shop.answers.asked == []


async def test_cancelling_one_that_is_over(tmp_path: Path) -> None:
    """It stays as it is."""
    async with workshop(tmp_path) as shop:
        job = await shop.job(pictures(2))
        over = await shop.over(job)
        await shop.runner.cancel(job)
        assert await shop.now(job) == over


async def test_cancelling_and_forgetting_while_the_disk_is_full(tmp_path: Path) -> None:
    """Who cancels is told that there is no room; forgetting it makes room, or can be asked for again."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=8, retry_s=1000) as shop:
        job = await shop.job(zipped((f"{n:04}{'x' * 900}.png", b"%d" % n) for n in range(200)))
        await until(lambda: len(answers.asked) == 8)
        await shop.limit_pages(0)
        answers.go()
        await until(lambda: shop.paused(job))
        await shop.runner.cancel(job)  # one row that changes needs no page
        assert (await shop.now(job)).status == "cancelled"
        await shop.runner.forget(job)
        assert await shop.jobs.get(job.id, job.owner) is None
        assert not shop.runner.archive(job.id).parent.exists()


async def test_forgetting(tmp_path: Path) -> None:
    """One that runs: stopped, its rows, its archive and its folder gone, nothing of others."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=4) as shop:
        job = await shop.job(pictures(20))
        answers.let(10)
        await until(lambda: len(answers.asked) == 14)
        other = await shop.job(pictures(5))
        with capture_logs() as said:
            await shop.runner.forget(job)
        assert said == []
        assert await shop.jobs.get(job.id, job.owner) is None
        assert await shop.page(job, ItemFilter()) == []
        assert [path.name for path in (tmp_path / "jobs").iterdir()] == [str(other.id)]
        answers.go()
        assert (await shop.over(other)).done == 5


@pytest.mark.slow
async def test_cancelled_at_any_moment_nothing_is_lost(tmp_path: Path) -> None:
    """Jobs are cancelled or forgotten at random moments; what is stored agrees, and no place or turn is lost."""
    chance = random.Random(27)
    answers = Answers()
    statuses = set()
    async with workshop(tmp_path, answers, places=4) as shop:
        for n in range(60):
            job, beside = await shop.job(pictures(150, f"{n}a")), await shop.job(pictures(20, f"{n}b"))
            await (shop.over(job) if n == 1 else asyncio.sleep(chance.uniform(0, 0.06)))
            await (shop.runner.forget(job) if n % 5 == 0 else shop.runner.cancel(job))
            if n % 5:
                statuses.add((await shop.now(job)).status)
                rows = [row.position for row in await shop.rows(job)]
                assert len(rows) == len(set(rows))
            assert (await shop.over(beside)).done == 20
        answers.hold()
        answers.most_flying = 0
        last = [await shop.job(pictures(20, f"last{n}")) for n in range(ACTIVE)]
        await until(lambda: answers.most_flying == 4)
        answers.go()
        assert [(await shop.over(job)).status for job in last] == ["done"] * ACTIVE
    assert statuses == {"cancelled", "done"}


async def test_stopping_and_starting_again(tmp_path: Path) -> None:
    """What is answered is stored at the stop; the next start asks for the rest only, jobs in their order."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers, places=4) as shop:
        jobs = [await shop.job(pictures(20, str(n))) for n in range(2)]
        answers.let(10)
        await until(lambda: len(answers.asked) == 14)
        begun = (await shop.now(jobs[0])).started_at
    again = Answers()
    again.hold()
    async with workshop(tmp_path, again) as shop:
        assert sum([(await shop.now(job)).done for job in jobs]) == 10
        again.let(100)
        for job in jobs:
            assert (await shop.over(job)).status == "done"
            assert [row.position for row in await shop.rows(job)] == [*range(20)]
        assert (await shop.now(jobs[0])).started_at == begun
    assert len(again.asked) == 30


async def test_after_a_start_jobs_wait_for_their_turn_again(tmp_path: Path) -> None:
    """None is shown as running that does not run yet."""
    async with workshop(tmp_path) as shop:
        jobs = [await shop.job(pictures(1, str(n)), start=False) for n in range(ACTIVE + 1)]
        for job in jobs:
            await shop.jobs.begin(job.id, 1)
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        await until(lambda: len(answers.asked) == ACTIVE)
        assert [(await shop.now(job)).status for job in jobs] == ["running"] * ACTIVE + ["queued"]
        answers.go()
        await shop.over(jobs[-1])


async def test_draining_refuses_what_comes_later(tmp_path: Path) -> None:
    """An upload that ends during the shutdown: its job begins with the next start."""
    async with workshop(tmp_path) as shop:
        shop.runner.drain()
        job = await shop.job(pictures(3))
        assert shop.runner.progress(job.id) is None
    async with workshop(tmp_path) as shop:
        assert (await shop.over(job)).done == 3


async def test_a_fault_of_ours_ends_one_job(tmp_path: Path) -> None:
    """It has failed as `internal` and keeps its answers; others go on, and the words tell nothing."""
    async with workshop(tmp_path) as shop:
        checkpoint = shop.jobs.checkpoint

        async def broken(job_id: int, items: object) -> None:
            if job_id == 1:
                raise RuntimeError("secret")
            await checkpoint(job_id, items)  # type: ignore[arg-type]

        shop.jobs.checkpoint = broken  # type: ignore[method-assign]
        jobs = [await shop.job(pictures(100, str(n))) for n in range(2)]
        overs = [await shop.over(job) for job in jobs]
    assert [(job.status, job.error_code) for job in overs] == [("failed", "internal"), ("done", None)]
    assert "secret" not in str(overs[0].error_detail)


async def test_what_is_no_archive_is_not_kept(tmp_path: Path) -> None:
    """500 MB that nobody could read lay there for a week, and did not count among its owner's jobs. One whose end
    cannot be stored is kept until it can: the next start shall find the same fault."""
    async with workshop(tmp_path) as shop:
        job = await shop.job(b"nonsense")
        assert (await shop.over(job)).error_code == "archive_invalid"
        assert not shop.runner.archive(job.id).exists()

        async def broken(*_: object, **__: object) -> bool:
            raise RuntimeError

        shop.jobs.end = broken  # type: ignore[method-assign]
        job = await shop.job(b"nonsense")
        assert (await shop.over(job)).status == "queued"
        assert shop.runner.archive(job.id).exists()


async def test_leftovers_go_at_the_start(tmp_path: Path) -> None:
    """Folders without a job: those of jobs. Whatever else lies there is somebody else's."""
    async with workshop(tmp_path) as shop:
        job = await shop.job(pictures(2))
        await shop.over(job)
        for name in ("77", "unfinished"):
            (tmp_path / "jobs" / name).mkdir()
            (tmp_path / "jobs" / name / "archive.zip").touch()
    async with workshop(tmp_path):
        assert {path.name for path in (tmp_path / "jobs").iterdir()} == {str(job.id), "unfinished"}


async def aged(shop: Workshop, job_id: int, days: float) -> None:
    async def write(connection: AsyncConnection) -> None:
        ended = datetime.now(UTC) - timedelta(days=days)
        statement = "UPDATE jobs SET ended_at = ? WHERE id = ?"
        await connection.exec_driver_sql(statement, (ended.strftime("%Y-%m-%d %H:%M:%S.%f"), job_id))

    await shop.db.write(write)


async def test_old_jobs_expire(tmp_path: Path) -> None:
    """Those that ended so long ago go with rows and folder; younger ones and unfinished ones stay."""
    answers = Answers()
    async with workshop(tmp_path, answers) as shop:
        old, young = await shop.job(pictures(2)), await shop.job(pictures(2))
        await shop.over(old)
        await shop.over(young)
        answers.hold()
        runs = await shop.job(pictures(2))
        await aged(shop, old.id, 8)
        await aged(shop, young.id, 6)
        await shop.runner.expire(7)
        assert await shop.jobs.ids() == {young.id, runs.id}
        assert {path.name for path in (tmp_path / "jobs").iterdir()} == {str(young.id), str(runs.id)}
        assert await shop.page(old, ItemFilter()) == []


async def test_removing_where_no_service_runs(tmp_path: Path) -> None:
    """`glimt users` on the same folder: rows and archive go."""
    async with workshop(tmp_path) as shop:
        job = await shop.job(pictures(2))
        await shop.over(job)
        await remove(shop.jobs, tmp_path / "jobs", job)
        assert await shop.jobs.ids() == frozenset()
        assert list((tmp_path / "jobs").iterdir()) == []


async def test_cancelling_when_nothing_can_be_written(tmp_path: Path) -> None:
    """Who cancels learns it, the job goes on, and asking again ends it. It was said to be running while nothing ran,
    until the next start."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        job = await shop.job(pictures(20))
        await until(lambda: answers.asked)
        end = shop.jobs.end

        async def full(*_: object, **__: object) -> bool:
            raise StoreFull("There is no room.")

        shop.jobs.end = full  # type: ignore[method-assign]
        with pytest.raises(StoreFull):
            await shop.runner.cancel(job)
        shop.jobs.end = end  # type: ignore[method-assign]
        asked = len(answers.asked)
        await until(lambda: len(answers.asked) > asked)
        assert shop.runner.progress(job.id)
        await shop.runner.cancel(job)
        assert not answers.flying
        assert (await shop.now(job)).status == "cancelled"


async def test_forgetting_when_nothing_can_be_written(tmp_path: Path) -> None:
    """What is left of it has no archive and says so, and of two who try at once only the last lets it go on. It was
    said to be running while nothing ran, until the next start."""
    answers = Answers()
    answers.hold()
    async with workshop(tmp_path, answers) as shop:
        job = await shop.job(pictures(20))
        await until(lambda: answers.asked)
        remove_rows = shop.jobs.remove

        async def full(job_id: int) -> None:
            raise StoreFull("There is no room.")

        shop.jobs.remove = full  # type: ignore[method-assign]
        tries = await asyncio.gather(*(shop.runner.forget(job) for _ in range(2)), return_exceptions=True)
        assert [type(error) for error in tries] == [StoreFull] * 2
        failed = await shop.over(job)
        assert (failed.status, failed.error_code) == ("failed", "archive_unreadable")
        shop.jobs.remove = remove_rows  # type: ignore[method-assign]
        await shop.runner.forget(failed)
        assert await shop.jobs.ids() == frozenset()
