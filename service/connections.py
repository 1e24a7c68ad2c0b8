"""How many connections there may be. Each is an open file, and a process may have only so many: where all are taken by
people who just wait, no model can be loaded and no row stored."""

import asyncio
import resource
from contextlib import suppress

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_FILES = 65_536
"""Where the system allows more, memory would be the next to end: an idle connection takes some 10 KB."""
OWN_FILES = 256
"""For the database, the model and its libraries, logs and pictures. A loaded service has some 25 open; loading, it
imports hundreds of files one by one, and ends if one cannot be had."""


class Bounded(HttpToolsProtocol):
    """Hangs up on a newcomer when those who are there have all the files that connections may have."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's, and counted."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            transport.abort()


def most_connections() -> int:
    """By the limit in force. At least half of it, where it is very low."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if files == resource.RLIM_INFINITY else max(files - OWN_FILES, files // 2)


def raise_open_files() -> None:
    """Take as many as the system allows without asking; usual are 1,024 out of many thousand."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        with suppress(ValueError, OSError):  # macOS says "infinity" and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
