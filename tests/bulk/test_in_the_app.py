"""The runner in the whole app: with the real classifier, at the start and the end, and with accounts."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from sqlalchemy import update

from service.app import Glimt, create_accounts_app
from service.bulk.runner import WINDOW
from service.settings import Settings
from service.store.job_rows import Job, jobs_table
from service.store.jobs import JobStore
from service.store.users import UserStore
from tests.bulk.workshop import zipped
from tests.fakes import GatedEngine
from tests.world import in_process, make_app, operator, png, signed_in, until


async def a_job(app: Glimt, owner: str | None, count: int = 40) -> Job:
    data = zipped((f"{n}.png", png(n)) for n in range(count))
    job = await JobStore(app.house.database).add(owner, "photos.zip", len(data))
    path = app.house.bulk.archive(job.id)
    path.parent.mkdir()
    path.write_bytes(data)
    app.house.bulk.start(job)
    return job


async def over(app: Glimt, job: Job) -> Job:
    await until(lambda: app.house.bulk.progress(job.id) is None)
    found = await JobStore(app.house.database).get(job.id, job.owner)
    assert found is not None
    return found


async def test_a_job_while_the_model_loads(tmp_path: Path) -> None:
    """It waits with words and then does all of it."""

    class Loading(GatedEngine):
        loads = threading.Event()

        def load(self) -> None:
            self.loads.wait()

    app = make_app(tmp_path, Loading())
    async with app.router.lifespan_context(app):
        app.house.bulk._work._retry_s = 0.01
        job = await a_job(app, None)
        await until(lambda: (progress := app.house.bulk.progress(job.id)) and progress.paused)
        progress = app.house.bulk.progress(job.id)
        assert progress is not None
        assert "loading" in str(progress.paused)
        Loading.loads.set()
        assert (await over(app, job)).done == 40


async def test_a_drain_stops_jobs_at_once_and_the_next_start_goes_on(tmp_path: Path) -> None:
    """Though what was admitted still waits for its answer; the rows of both lives are those of one."""
    engine = GatedEngine()
    app = make_app(tmp_path, engine)
    async with in_process(app) as client:
        engine.gate.clear()
        job = await a_job(app, None)
        asking = asyncio.create_task(client.post("/predict", files={"file": png(999)}))
        await until(lambda: app.house.classifier.admitted == WINDOW + 1)
        app.house.drain()
        assert (await over(app, job)).status == "running"
        assert not asking.done()
        engine.gate.set()
        assert (await asking).status_code == 200
    app = make_app(tmp_path)
    async with app.router.lifespan_context(app):
        assert (await over(app, job)).done == 40


async def test_a_job_leaves_room_in_the_queue(tmp_path: Path) -> None:
    """However small it is: who asks for one picture is not refused because of a job."""
    engine = GatedEngine()
    app = make_app(tmp_path, engine, max_pending=4, max_batch=1)
    async with in_process(app) as client:
        engine.gate.clear()
        job = await a_job(app, None)
        await until(lambda: app.house.classifier.stats().pending)
        asking = asyncio.create_task(client.post("/predict", files={"file": png(999)}))
        await until(lambda: asking.done() or app.house.classifier.stats().pending == 2)
        engine.gate.set()
        assert (await asking).status_code == 200
        assert (await over(app, job)).done == 40


async def test_jobs_go_with_their_account(tmp_path: Path) -> None:
    """One that runs is stopped; its archive goes as well."""
    engine = GatedEngine()
    app = make_app(tmp_path, engine)
    async with in_process(app) as client:
        headers = await signed_in(app)
        user = await anext(UserStore(app.house.database).list())
        engine.gate.clear()
        job = await a_job(app, user.owner)
        assert (await client.delete(f"/user/{user.id}", headers=headers)).status_code == 204
        assert app.house.bulk.progress(job.id) is None
        assert not app.house.bulk.archive(job.id).parent.exists()
        assert await JobStore(app.house.database).ids() == frozenset()
        engine.gate.set()


async def test_jobs_go_with_their_account_where_no_service_runs(tmp_path: Path) -> None:
    """`glimt users delete`: rows and archive go."""
    app = make_app(tmp_path)
    async with in_process(app):
        await signed_in(app)
        user = await anext(UserStore(app.house.database).list())
        job = await over(app, await a_job(app, user.owner))
    accounts = create_accounts_app(Settings(data_dir=tmp_path))
    transport = httpx2.ASGITransport(accounts)
    async with (
        accounts.router.lifespan_context(accounts),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.delete(f"/user/{user.id}", headers=operator(tmp_path))).status_code == 204
    assert not app.house.bulk.archive(job.id).parent.exists()


async def test_old_jobs_go_at_the_start(tmp_path: Path) -> None:
    """Older than job_days, with rows and archive."""
    app = make_app(tmp_path)
    async with app.router.lifespan_context(app):
        old, young = await over(app, await a_job(app, None)), await over(app, await a_job(app, None))
        ended = datetime.now(UTC) - timedelta(days=3, seconds=1)
        statement = update(jobs_table).where(jobs_table.c.id == old.id).values(ended_at=ended)
        await app.house.database.write(lambda connection: connection.execute(statement))
    app = make_app(tmp_path, job_days=3)
    async with app.router.lifespan_context(app):
        await until(lambda: not app.house.bulk.archive(old.id).exists())
        assert app.house.bulk.archive(young.id).exists()
