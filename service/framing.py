"""What a client sends, given to httptools. Two things are mended that it and uvicorn leave open.

A request that asks for another protocol is answered in this one, as RFC 9110 (7.8) allows: httptools would take what
follows for that other protocol, and lose the request's body and the next request. Java's client asks so each time.

And framing costs no more than what is framed: a body of chunks of one byte is a call for each byte, half a second of
nothing else for a megabyte.
"""

from typing import Any, NoReturn

from httptools import HttpParserError, HttpParserUpgrade

from service.errors import BadRequest, GlimtError, HeadTooLarge
from service.writing import Taken

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
PIECE_BYTES = 128
"""That pay for a chunk, or for a trailer behind the last one, where many come at once: two thousand in a read, 2 ms."""
FREE_PIECES = 1_000


class Framed(Taken):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: GlimtError | None = None
        self._upgrades = False  # the request whose head was read last would
        self._pieces = float(FREE_PIECES)  # that may come now; each read brings one, and its bytes some more

    def data_received(self, data: bytes) -> None:
        """As uvicorn's, also behind a request with an Upgrade."""
        self._unset_keepalive_if_required()
        self._pieces = min(self._pieces, FREE_PIECES) + 1 + len(data) / PIECE_BYTES
        rest = memoryview(data)
        try:
            while rest:
                rest = self._parsed(rest)
        except HttpParserError:
            self.send_400_response("")

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, and bounded."""
        if len(self.headers) >= MAX_HEADERS:
            self._refuse(head_too_large())
        super().on_header(name, value)

    def on_trailer(self) -> None:
        """What stands behind a chunked body: nobody reads it, and it may have no end."""
        if not self._pays():
            self._refuse(too_much_beside())

    def on_headers_complete(self) -> None:
        """As uvicorn's; not for a head that comes again."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._refuse(head_too_large())
        self._upgrades = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._upgrades:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """As uvicorn's."""
        if not self._upgrades:
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """As uvicorn's, and paid for."""
        if not self._pays():
            self._refuse(
                BadRequest(
                    f"The body comes in too many too small chunks. Send chunks of {PIECE_BYTES} bytes or more, or a "
                    "Content-Length and no chunks."
                )
            )
        super().on_body(body)

    def _pays(self) -> bool:
        self._pieces -= 1
        return self._pieces >= 0

    def _refuse(self, error: GlimtError) -> NoReturn:
        """Read no further: httptools, which called, gives up, and `send_400_response` is next."""
        self._refusal = error
        raise error

    def _parsed(self, data: memoryview) -> memoryview:
        """What is left of it, behind the head of a request that asked for another protocol."""
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.parser.feed_data(self._plain_head())
            return data[upgrade.args[0] :]
        return data[:0]

    def _plain_head(self) -> bytes:
        """The head that was just read, which asks for nothing else."""
        lines = [b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        lines += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join(lines) + b"\r\n"


def head_too_large() -> HeadTooLarge:
    """The error for a head over the limits."""
    return HeadTooLarge(f"It has more than {MAX_HEADERS} headers, or more than {MAX_HEAD_BYTES:,} bytes: the limits.")


def too_much_beside() -> HeadTooLarge:
    """The error for what stands around a body's chunks."""
    return HeadTooLarge(f"Too many trailers, or more than {MAX_HEAD_BYTES:,} bytes, came beside the body's own chunks.")
