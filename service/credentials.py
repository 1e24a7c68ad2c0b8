"""What a command shows the service that it asks: a personal token, or where that service works in a data folder which
we can read, a token signed with the folder's own key."""

import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from service import data_folder
from service.accounts.keys import JWT_LIFE_S, LOCAL, Signer, read_key
from service.errors import BadRequest, Forbidden, Unavailable

Bearer = Callable[[], str]
"""The token for the next request; an empty one is none. One of the folder's key raises Unavailable when the service is
no longer there: whoever answers now may be anybody."""
_LOCALHOST = {"127.0.0.1", "::1"}

WAYS_IN = (
    "Make a token on its page /account (to change the service, as an admin) and give it as GLIMT_TOKEN, or run this on "
    "the service's own machine, as the user it runs as and with its --data-dir."
)


def bearer(url: str, data_path: Path, token: str | None) -> Bearer:
    """The token that was given, else the folder's key if the service at `url` works in this folder, else none.

    No other service is shown what the key signed: whoever has that may do everything. So it must be the very address:
    somebody else may listen at another one of this machine; see `own_url`. Blocking. Raises BadRequest for text that
    can be no token, StartError for a damaged key.
    """
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise BadRequest("--token (GLIMT_TOKEN) has characters that are in no token: copy it whole, without more.")
        return lambda: token
    if not _works_at(url, data_path):
        return lambda: ""
    signed = local(read_key(data_path))

    def while_it_is_there() -> str:
        if not _works_at(url, data_path):
            raise Unavailable(f"The service at {url} is shutting down or has ended. Try again when it runs.")
        return signed()

    return while_it_is_there


def own_url(url: str, data_path: Path) -> str:
    """`url`, but the folder's service at its own address where `url` calls it localhost. Blocking.

    That name stands for two addresses, and the other one may be somebody else's.
    """
    by = data_folder.holder(data_path)
    if by is None or by.url is None or _place(url)[1] != "localhost":
        return url
    scheme, host, port = _place(by.url)
    if host not in _LOCALHOST or _place(url) != (scheme, "localhost", port):
        return url
    return urlsplit(url)._replace(netloc=urlsplit(by.url).netloc).geturl()


def local(key: bytes) -> Bearer:
    """Tokens of whoever holds the key, signed anew in time: a command may take hours."""
    signer, made_at, made = Signer(key), 0.0, ""

    def token() -> str:
        nonlocal made_at, made
        if not 0 <= time.time() - made_at < JWT_LIFE_S / 2:
            made_at, made = time.time(), signer.sign(LOCAL, 0)
        return made

    return token


def refused(url: str, status: int, detail: str) -> Forbidden:
    """A 401 or 403 in words for whoever types commands."""
    if status == 401:
        return Forbidden(f"The service at {url} wants to know who asks. {WAYS_IN}")
    return Forbidden(f"The service at {url} does not let this caller do that. {detail} {WAYS_IN}")


def is_loopback(url: str) -> bool:
    """Whether it can only be on this machine."""
    host = _place(url)[1]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _works_at(url: str, data_path: Path) -> bool:
    by = data_folder.holder(data_path)
    return by is not None and by.url is not None and _place(by.url) == _place(url)


def _place(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url, "", None
