"""A minimal HTTP/1.1 client. On a small machine the load shares the cores with the service, and a client that does
more would measure itself."""

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from service.errors import BadRequest, Unavailable

PATIENCE_S = 60.0  # for one answer, six times the service's own default deadline

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service answers."""

    url: str
    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL. Raises BadRequest when it is none."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if not host or parts.scheme not in ("http", "https") or parts.username:
            raise BadRequest(f"{url} is not the URL of a service. Name one like http://127.0.0.1:8000.")
        tls = parts.scheme == "https"
        return cls(url.rstrip("/"), host, port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """For the Host header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Answer(NamedTuple):
    """`retry_after_s` is 1 when the service does not say."""

    status: int
    body: bytes
    retry_after_s: float


class Connection:
    """One keep-alive connection; opened at the first request, and anew when the service has closed it. `bearer` gives
    each request its token, or an empty text for none."""

    def __init__(self, address: Address, bearer: Callable[[], str] = lambda: "") -> None:
        self._address = address
        self._bearer = bearer
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> Answer:
        """Send one request and read its answer.

        Raises Unavailable when no connection can be opened, and OSError when an open one breaks or nothing has come
        after PATIENCE_S. After an error, cancelling included, the next request opens a new one.
        """
        head = (
            f"{method} {self._address.path}{path} HTTP/1.1\r\nHost: {self._address.authority}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        )
        if token := self._bearer():
            head += f"Authorization: Bearer {token}\r\n"
        reader, writer = await self._open()
        try:
            async with asyncio.timeout(PATIENCE_S):
                writer.write(f"{head}\r\n".encode() + body)
                return await self._read(reader)
        except (EOFError, asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise ConnectionResetError(f"the answer broke off: {error}") from error
        except BaseException:  # what is left of this answer must not be taken for the next one's
            self.close()
            raise

    def close(self) -> None:
        """Twice is once."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            where = self._address
            context = ssl.create_default_context() if where.tls else None
            try:
                async with asyncio.timeout(PATIENCE_S):
                    self._streams = await asyncio.open_connection(where.host, where.port, ssl=context)
            except OSError as error:
                raise Unavailable(
                    f"No service can be reached at {where.url}: {error or type(error).__name__}. Start one with "
                    "`glimt serve`, or name another with --url."
                ) from error
        return self._streams

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        head = await reader.readuntil(b"\r\n\r\n")
        length, retry = _LENGTH.search(head), _RETRY.search(head)
        if length is None or not head.startswith(b"HTTP/1."):
            raise ValueError("this is not an HTTP/1.1 answer with a length")
        body = await reader.readexactly(int(length[1]))
        if _CLOSE.search(head):
            self.close()
        return Answer(int(head[9:12]), body, float(retry[1]) if retry else 1.0)
