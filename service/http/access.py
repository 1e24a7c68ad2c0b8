"""Who may change the service. Until there are accounts: whoever calls it on its own machine, directly.

This is the one place that decides. A proxy on this machine must name its clients (X-Forwarded-For, as they all can),
or it makes all of them local. One that names nobody is still known by HTTP/1.0, what nginx by default speaks with us
and no browser does; that is a net, not a proof: one that speaks 1.1, names nobody and sets a local Host passes.
"""

import re
from ipaddress import IPv6Address, ip_address

from starlette.requests import Request

from service.errors import Forbidden

OPERATOR = "local"
ELSEWHERE = (
    "The service is changed on its own machine, called directly and as localhost: with `glimt tune`, with curl, or "
    "on http://localhost at /ops. From elsewhere it cannot be changed until it has accounts. In a container, that is "
    "inside it: `docker exec NAME glimt tune`."
)
FOREIGN = (
    "This request was made by a page of another site, or a proxy in between changes Host. Use the panel at /ops of "
    "this service, or send it without a browser, as curl and `glimt tune` do."
)
_LOOPBACK_HOST = re.compile(r"(?:(localhost)|\[([0-9a-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_PROXIES = ("forwarded", "x-real-ip", "via")


def may_operate(request: Request) -> bool:
    """Whether the caller is one who may change the service; the page shows its controls to nobody else."""
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and all(map(_names_loopback, request.headers.getlist("host") or [""]))  # evil.test may resolve to 127.0.0.1
        and request.scope.get("http_version") != "1.0"
        and not any(name in _PROXIES or name.startswith("x-forwarded-") for name in request.headers)
    )


def require_operator(request: Request) -> str:
    """The caller's name for the log. Raises Forbidden when he may not change the service, or when it is not he who
    asks but a page of another site in his browser."""
    if not may_operate(request):
        raise Forbidden(ELSEWHERE)
    if not _of_his_own_will(request):
        raise Forbidden(FOREIGN)
    return OPERATOR


def _of_his_own_will(request: Request) -> bool:
    """Fetch Metadata where the browser sends it, and Origin, which every browser sends with a change."""
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    same = origin is None or origin.partition("://")[2].lower() == request.headers["host"].lower()
    return site in ("same-origin", "none") and same


def _names_loopback(host: str) -> bool:
    match = _LOOPBACK_HOST.fullmatch(host)
    return match is not None and (match[1] is not None or _is_loopback(match[2] or match[3]))


def _is_loopback(address: str) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    inner = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None  # ::ffff:127.0.0.1, of a socket for both
    return (inner or ip).is_loopback
