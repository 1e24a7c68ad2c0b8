"""uvicorn, told the things it does not know: that a drain begins, and that a failed model must end the process."""

import asyncio
import signal
import socket
from collections.abc import Callable
from ipaddress import ip_address
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from service.connections import raise_open_files
from service.errors import StartError
from service.protocol import Timed, timed
from service.settings import Settings

KEEP_ALIVE_S = 75
"""As nginx. Shorter than a client's pause, a request meets a connection that is just being closed; load balancers keep
theirs for 60 s."""


class Server(uvicorn.Server):
    """Ends on SIGTERM after everything admitted was answered, soon after `grace_s` at the latest.

    uvicorn runs the lifespan's shutdown only after the connections have closed, so the drain must begin earlier:
    `on_drain` is called in the signal handler, `on_listening` with the address at which this machine reaches it, and
    `on_closing` before it listens there no longer. `observe` is told of requests that the app never saw.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        on_drain: Callable[[], None],
        on_listening: Callable[[str], None] = lambda url: None,
        on_closing: Callable[[], None] = lambda: None,
        observe: Callable[[str, str, int], None] = Timed.observe,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=timed(settings, observe),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.forwarded_allow_ips),  # uvicorn believes whoever is on this machine
                forwarded_allow_ips=settings.forwarded_allow_ips,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.grace_s)),
            )
        )
        self._on_drain = on_drain
        self._on_listening = on_listening
        self._on_closing = on_closing
        self._start_failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, then say where."""
        await super().startup(sockets)
        self._on_listening(local_url(min(self.servers[0].sockets, key=lambda one: one.family)))  # IPv4 if there is

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, announced: after a signal, and after a start that failed."""
        await asyncio.sleep(0)  # the drain was put into the loop by the signal's handler, and comes first
        self._on_closing()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: refuse what is new, then let uvicorn finish what is open. The second one hurries."""
        self.force_exit = self.should_exit
        self._on_drain()
        super().handle_exit(sig, frame)

    def fail_start(self) -> None:
        """End the process with StartError's exit code: the model could not be loaded."""
        self._start_failed = True
        self.should_exit = True

    def serve_until_stopped(self) -> int:
        """Run; the process's exit code. A signal that stopped it ends as `Stopped`."""
        raise_open_files()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stopped)  # uvicorn takes them over, and raises what it got again when it is done
        self.run()
        return StartError.exit_code if self._start_failed or not self.started else 0


def local_url(listening: socket.socket) -> str:
    """Where this machine reaches it: what listens on every address is reached at the loopback one."""
    address = ip_address(listening.getsockname()[0])
    if address.is_unspecified:
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{listening.getsockname()[1]}"


class Stopped(BaseException):
    """A signal ended the server, all is answered and closed. `end_process` when the logs are flushed too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._number = number

    def end_process(self) -> None:
        """End as a process that did not catch the signal: supervisors and shells look at how one ended."""
        signal.signal(self._number, signal.SIG_DFL)
        signal.raise_signal(self._number)


def _stopped(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
