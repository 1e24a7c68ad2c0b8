"""python bulk_service.py FOLDER: the app with its bulk jobs, to be killed again and again.

For each line on stdin a fresh process goes on with the jobs in the folder; it prints its pid when it does, and `dead`
once it has been killed or `over` when all jobs are. Processes are forked from one that has only imported and opened
nothing.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import alembic.command  # noqa: F401 - imported here once, not in every life
import structlog

from service.bulk import run
from service.inference.engines.engine import Pixels, Scores
from service.store.jobs import JobStore
from tests.fakes import GatedEngine
from tests.world import make_app, until

PICTURE_S = 0.003
"""A picture takes so long: fast machines must not be done before the last kill."""


class SlowEngine(GatedEngine):
    """Takes its time."""

    def predict(self, pixels: Pixels) -> Scores:
        time.sleep(PICTURE_S * len(pixels))
        return super().predict(pixels)


async def live(folder: Path) -> None:
    app = make_app(folder, SlowEngine())
    app.house.bulk._work._retry_s = 0.01  # the model is there at once
    async with app.router.lifespan_context(app):
        print(os.getpid(), flush=True)
        for job in await JobStore(app.house.database).unfinished():
            await until(lambda job_id=job.id: app.house.bulk.progress(job_id) is None)


def main() -> None:
    run.CHECKPOINT_ITEMS = 8  # so that most lives bring it on, and many end around a checkpoint
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for _ in sys.stdin:
        if (pid := os.fork()) == 0:
            asyncio.run(live(Path(sys.argv[1])))
            return
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("dead" if killed else "over" if status == 0 else status, flush=True)


if __name__ == "__main__":
    main()
