"""Small real worlds for tests: the whole app on a fake engine, in process or under a real uvicorn on a free port."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from PIL import Image

from service.accounts.keys import LOCAL, Signer, read_or_make_key
from service.accounts.passwords import Passwords
from service.app import Glimt, create_app
from service.inference.engines.engine import Engine
from service.inference.labels import ClassTable
from service.inference.predictions import InputSpec, ModelInfo
from service.models.architectures import ARCHITECTURES
from service.models.served import ServedModel
from service.server import Server
from service.settings import KeepImages, Settings
from service.store.belongings import Belongings
from service.store.database import Database
from service.store.feedback import FeedbackStore
from service.store.history import HistoryStore
from service.store.job_rows import Job
from service.store.jobs import JobStore
from service.store.pictures import PictureStore
from service.store.review import ReviewStore
from service.store.tokens import TokenStore
from service.store.users import Role, User, UserStore
from tests.fakes import GatedEngine

CLASSES = ClassTable(tuple(f"class_{n}" for n in range(10)), (None,) * 10, ("",) * 10)

PASSWORD = "correct horse"
WEAK_KIB = 8
"""The least argon2 takes: a hash in well under a millisecond."""


def png(red: int, size: int = 12) -> bytes:
    """A one-coloured picture; another `red` is another picture."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (red % 256, red // 256 % 256, 90)).save(file, "PNG")
    return file.getvalue()


def served(notice: str | None = None, plain: str | None = None) -> ServedModel:
    """A fake model's papers."""
    return ServedModel(
        info=ModelInfo("fake", "1", "gated", "none"),
        architecture=ARCHITECTURES["demo"],
        input=InputSpec(size=8, normalisation="unit"),
        classes=CLASSES,
        weights_file=None,
        is_demo=False,
        notice=notice,
        plain=plain,
        why="a test",
    )


@cache
def _migrated() -> bytes:
    """The database of a first start. Migrating one takes longer than most tests."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        path = Path(folder) / "glimt.db"
        thread.submit(Database(path).prepare).result()
        return path.read_bytes()


def make_database(folder: Path) -> Database:
    """A database with all tables in `folder`, as it is when there is one already."""
    path = folder / "glimt.db"
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(_migrated())
    return Database(path)


def make_app(
    folder: Path, engine: Engine | None = None, notice: str | None = None, plain: str | None = None, **changes: Any
) -> Glimt:
    """The real app with a fake engine and its data in `folder`."""
    defaults: dict[str, Any] = {"data_dir": folder, "grace_s": 5, "deadline_ms": 60_000, "port": 0}
    defaults |= {"max_batch": 16, "max_wait_ms": 5}
    settings = Settings(**(defaults | changes))
    passwords = Passwords(memory_kib=WEAK_KIB)
    app = create_app(settings, served(notice, plain), engine or GatedEngine(), passwords=passwords)
    make_database(folder)  # not before: a refused start leaves nothing behind
    return app


@asynccontextmanager
async def in_process(app: Glimt) -> AsyncIterator[httpx2.AsyncClient]:
    """The app, started and ready, behind an in-process client."""
    async with app.router.lifespan_context(app):
        await app.house.worker.loaded()
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def account(app: Glimt, name: str, role: Role) -> User:
    """An account that is made now: <name>@example.org with PASSWORD."""
    email = f"{name}@example.org"
    return await app.house.accounts.create(name=name, email=email, password=PASSWORD, role=role)


async def signed_in(app: Glimt, name: str = "ada", role: Role = "user") -> dict[str, str]:
    """Headers of an account that is made now: <name>@example.org with PASSWORD, by a Bearer token."""
    user = await account(app, name, role)
    return {"authorization": f"Bearer {app.house.accounts.token_for(user)}"}


async def session(app: Glimt, name: str = "ada", role: Role = "user") -> str:
    """The session cookie of an account that is made now, as <name>@example.org with PASSWORD."""
    return await app.house.accounts.open_session(await account(app, name, role), "a test", None)


def operator(folder: Path) -> dict[str, str]:
    """Headers of whoever can read the data folder, once an app was made in it: an admin without an account."""
    return {"authorization": f"Bearer {Signer(read_or_make_key(folder)).sign(LOCAL, 0)}"}


def belongings(database: Database, pictures: PictureStore, keep_images: KeepImages = "feedback") -> Belongings:
    """What accounts own, for a test of one room."""
    users, tokens, feedback = UserStore(database), TokenStore(database), FeedbackStore(database)
    jobs = JobStore(database)
    history = HistoryStore(database)
    review = ReviewStore(database)

    async def forget_job(job: Job) -> None:
        await jobs.remove(job.id)

    return Belongings(users, tokens, feedback, history, pictures, keep_images, jobs, forget_job, review)


@asynccontextmanager
async def under_uvicorn(app: Glimt, settings: Settings | None = None) -> AsyncIterator[int]:
    """The app under the real server, ready; its port."""
    server = Server(
        app,
        settings or Settings(port=0, grace_s=5),
        on_drain=app.house.drain,
        observe=app.house.metrics.observe_request,
    )
    with free_socket() as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with asyncio.timeout(120):  # a model may have to be prepared on a busy machine
                while not server.started:  # noqa: ASYNC110 (uvicorn offers no event)
                    await asyncio.sleep(0.01)
                await app.house.worker.loaded()
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@contextmanager
def free_socket() -> Iterator[socket.socket]:
    """A listening socket on a free port."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:  # else asyncio leaves Nagle's 40 ms in each answer
        listening.bind(("127.0.0.1", 0))
        yield listening


async def until(condition: Any) -> None:
    """Wait for a state that belongs to a thread or another process."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
