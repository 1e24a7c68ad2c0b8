"""Which names the service answers to. A page of another site can give its own name our address (DNS rebinding) and is
then, to a browser, our own page: only the Host header tells. Pure ASGI."""

import re
from collections.abc import Iterable

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import BadRequest
from service.http.problems import problem

PROBES = frozenset({"/healthz", "/readyz"})
"""Asked by machines that know an address and no name. They answer one word, the same for everybody."""
MALFORMED = "An HTTP/1.1 request has exactly one Host header: the name and perhaps the port in the address."
_MAX_SHOWN_CHARS = 100
_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+)(:[0-9]*)?")


class Hosts:
    """Answers 400 to whoever calls the service by a name that is not among `names`; "*" is any name."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(map(hostname, names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrong = self._wrong(scope) if scope["type"] == "http" else None
        if wrong is None:
            await self._app(scope, receive, send)
            return
        body = orjson.dumps(problem(BadRequest(wrong), scope.get("request_id", "")))
        await Response(body, BadRequest.status, media_type="application/problem+json")(scope, receive, send)

    def _wrong(self, scope: Scope) -> str | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not hosts and scope["http_version"] == "1.0":  # before there was Host; no browser is as old
            return None
        if len(hosts) != 1:
            return MALFORMED
        if scope["path"] in PROBES or "*" in self._names or hostname(hosts[0]) in self._names:
            return None
        return (
            f"This service does not answer to the name {hosts[0][:_MAX_SHOWN_CHARS]!a}. Use the one it was set up for, "
            "or have the operator add this one to GLIMT_ALLOWED_HOSTS."
        )


def hostname(value: str) -> str:
    """`Name:8000` -> `name`, `[::1]:8000` and `::1` -> `[::1]`; what is no host is left as it is."""
    match = _HOST.fullmatch(value)
    name = match[1] if match else value
    return (f"[{name}]" if ":" in name and not name.startswith("[") else name).lower()
