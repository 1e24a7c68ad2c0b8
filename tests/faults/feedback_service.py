"""python feedback_service.py FOLDER: the real feedback endpoints under uvicorn, to be killed again and again.

For each line on stdin a fresh process serves; it prints `port pid`, and `dead` once it has been killed. Processes
are forked from one that has only imported and opened nothing, so that a hundred lives take seconds, not minutes.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import alembic.command  # noqa: F401 - imported here once, not in every life
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import GlimtError
from service.http.feedback import FeedbackEndpoints
from service.store.belongings import Belongings
from service.store.database import Database
from service.store.feedback import FeedbackStore
from service.store.history import HistoryStore
from service.store.jobs import JobStore
from service.store.pictures import PictureStore
from service.store.review import ReviewStore
from service.store.tokens import TokenStore
from service.store.users import UserStore


async def on_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, GlimtError)
    return Response(error.detail, error.status)


async def serve(folder: Path, listening: socket.socket) -> None:
    async with Database(folder / "glimt.db") as db, PictureStore(folder / "pictures") as pictures:
        feedback = FeedbackStore(db)
        users, tokens, history, jobs = UserStore(db), TokenStore(db), HistoryStore(db), JobStore(db)
        review = ReviewStore(db)
        belongings = Belongings(
            users, tokens, feedback, history, pictures, "feedback", jobs, lambda job: jobs.remove(job.id), review
        )
        endpoints = FeedbackEndpoints(feedback, pictures, belongings)

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            yield

        app = Starlette(
            routes=[Route("/feedback", endpoints.create, methods=["POST"])],
            exception_handlers={GlimtError: on_error},
            lifespan=lifespan,
        )
        await uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listening])


def live(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], os.getpid(), flush=True)
        asyncio.run(serve(folder, listening))


def main() -> None:
    for _ in sys.stdin:
        if (pid := os.fork()) == 0:
            live(Path(sys.argv[1]))
            return
        _, status = os.waitpid(pid, 0)
        print("dead" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else status, flush=True)


if __name__ == "__main__":
    main()
