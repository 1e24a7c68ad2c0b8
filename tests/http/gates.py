"""Gates as services of several settings have them, and requests as they come to one."""

import base64

from starlette.types import Scope

from service.accounts.rates import Rate
from service.http.access import SESSION_COOKIE, Gate
from service.store.users import User
from tests.accounts.desk import Desk, credential

Headers = dict[str, str]
HOST = {"host": "localhost:8000"}


def scope(headers: Headers | list[tuple[bytes, bytes]], method: str = "GET") -> Scope:
    """A request from this machine with these headers."""
    raw = [(n.encode(), v.encode("latin-1")) for n, v in headers.items()] if isinstance(headers, dict) else headers
    return {"type": "http", "method": method, "path": "/", "headers": raw, "client": ("127.0.0.1", 50_000)}


def gate_of(
    desk: Desk, *, required: bool = False, account: str = "off", address: str = "off", origins: str = ""
) -> Gate:
    """The gate of a service with these settings."""
    return Gate(
        desk.accounts,
        login_required=required,
        rate_account=Rate(account, "requests of one account"),
        rate_address=Rate(address, "requests from one address"),
        origins=origins.split(),
    )


async def shown(desk: Desk, user: User, kind: str) -> Headers:
    """Headers that show a credential of this kind; none for anybody."""
    if kind == "anybody":
        return {}
    value = (await credential(desk, user, kind)).value
    if kind == "session":
        return {"cookie": f"{SESSION_COOKIE}={value}"}
    scheme = "Basic" if kind == "basic" else "Bearer"
    return {"authorization": f"{scheme} {base64.b64encode(value.encode()).decode() if kind == 'basic' else value}"}
