"""python drain_service.py FOLDER: the whole service with a slow engine, to be stopped by signals again and again.

For each line on stdin (`slow` or `stuck`, which is an engine that never answers) a fresh process serves. It prints
`port N pid N`, `took ID` for each request that has reached the app, `closing ready|draining` when it is about to listen
no longer, and `over N` when it has ended, by the signal -N. Processes are forked from one that has only imported.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import alembic.command  # noqa: F401 - imported here once, not in every life
import structlog
from starlette.types import Receive, Scope, Send

from service.app import Glimt
from service.inference.engines.engine import Pixels, Scores
from service.server import Server, Stopped
from service.settings import Settings
from tests.fakes import GatedEngine
from tests.world import make_app

BATCH_S = 0.05
"""200 pictures in batches of 16 take 0.65 s: a signal finds them in all states there are."""


class SlowEngine(GatedEngine):
    """Takes its time; warming up it does not."""

    def predict(self, pixels: Pixels) -> Scores:
        time.sleep(BATCH_S)
        return super().predict(pixels)


class Counted:
    """The app, which says what has reached it."""

    def __init__(self, app: Glimt) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (name := dict(scope["headers"]).get(b"x-request-id")):
            say("took", name.decode())
        await self._app(scope, receive, send)


def say(*words: object) -> None:
    """At once, and whole, whatever ends the process."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def live(folder: Path, kind: str) -> None:
    engine = SlowEngine(open_gate=kind == "slow")
    grace_s = 20 if kind == "slow" else 600
    app = make_app(folder, engine, cache_entries=0, max_pending=1_000, grace_s=grace_s)
    draining = app.house.classifier.draining
    server = Server(
        Counted(app), Settings(port=0, grace_s=grace_s),
        on_drain=app.house.drain,
        on_listening=lambda url: say("port", url.rpartition(":")[2], "pid", os.getpid()),
        on_closing=lambda: say("closing", "draining" if draining.is_set() else "ready"),
    )  # fmt: skip
    try:
        server.serve_until_stopped()
    except Stopped as stopped:
        stopped.end_process()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        assert threading.active_count() == 1
        if (pid := os.fork()) == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            live(Path(sys.argv[1]), line.strip())
            return
        _, status = os.waitpid(pid, 0)
        say("over", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
