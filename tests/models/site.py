"""A real HTTP server that plays the site of the weights, for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the site serves at every path. `cuts`: for each of the first requests, after how many bytes of the
    file the connection is cut. `requests` records path and Range header of all."""

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    status: int = 200
    failures: int = 0
    cuts: list[int] = field(default_factory=list)
    declared: int | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def start_of(self, asked: str | None, if_range: str | None) -> int:
        """Where the answer starts, as RFC 9110 has it."""
        if not self.ranges or asked is None or (if_range is not None and if_range != self.etag):
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))


@contextmanager
def running(site: Site) -> Iterator[Site]:
    """Serve `site` on a free port of the loopback address; `site.url` says where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append((self.path, self.headers.get("Range")))
            if site.failures:
                site.failures -= 1
                return self.send_error(503)
            if site.status != 200:
                return self.send_error(site.status)
            start = site.start_of(self.headers.get("Range"), self.headers.get("If-Range"))
            if start >= len(site.content) > 0:
                return self.send_error(416)
            self.send_response(206 if start else 200)
            body = site.content[start:]
            self.send_header("Content-Length", str(len(body) if site.declared is None else site.declared))
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            self.wfile.write(body[: site.cuts.pop(0)] if site.cuts else body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}/keras"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
