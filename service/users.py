"""`glimt users`: accounts from the command line, by the service that runs in the data folder; where none runs, by the
same routes in this process, on the same database."""

import io
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx2
from rich.markup import escape
from rich.table import Column, Table

from service import data_folder
from service.accounts.emails import normalised
from service.accounts.keys import read_or_make_key
from service.accounts.passwords import random_password
from service.app import create_accounts_app
from service.credentials import local
from service.errors import BadRequest, NotFound
from service.observe import configure_logging
from service.own_service import OwnService, own_service
from service.settings import Settings
from service.store.users import Role
from service.terminal import printable

MAX_LINE_BYTES = 4096
"""Of a password on standard input: more than any may have, so that the words about its length are the service's."""

User = dict[str, Any]


class Users:
    """The accounts. Everything raises Refused, Unavailable, and NotFound or InvalidField for somebody who is not there.

    `who` is an e-mail address or an id.
    """

    def __init__(self, service: OwnService) -> None:
        self._ask = service.ask

    async def create(self, email: str, name: str, role: Role, password: str | None) -> tuple[User, str | None]:
        """The account, and its password if one had to be made."""
        made = None if password is not None else random_password()
        new = {"email": email, "name": name, "role": role, "password": made or password}
        return (await self._ask("POST", "/user/", new)).json(), made

    async def list(self) -> list[User]:
        """All, the oldest first."""
        users: list[User] = (await self._ask("GET", "/user/")).json()
        return users

    async def set_role(self, who: str, role: Role) -> User:
        """The account as it is now."""
        user = await self._find(who)
        changed: User = (await self._ask("PATCH", f"/user/{user['id']}", {"role": role})).json()
        return changed

    async def reset_password(self, who: str, password: str | None) -> tuple[User, str]:
        """The account, and its new password."""
        user = await self._find(who)
        answer = await self._ask("PUT", f"/user/{user['id']}/password", {"password": password})
        return user, answer.json()["password"]

    async def delete(self, who: str) -> User:
        """The account that was."""
        user = await self._find(who)
        await self._ask("DELETE", f"/user/{user['id']}")
        return user

    async def _find(self, who: str) -> User:
        if who.isdecimal():
            found: User = (await self._ask("GET", f"/user/{who}")).json()
            return found
        email = normalised(who)
        for user in await self.list():
            if user["email"] == email:
                return user
        raise NotFound(f"There is no account of {email}. `glimt users list` shows all.")


@asynccontextmanager
async def users(settings: Settings) -> AsyncIterator[Users]:
    """Raises StartError, FolderTaken when a service is just starting."""
    async with own_service(settings) as service:
        if service is not None:
            yield Users(service)
            return
    with ExitStack() as stack:
        stack.enter_context(data_folder.claimed(settings.data_path))
        stack.enter_context(configure_logging(settings, io.StringIO()))  # to the files; here the command has the word
        app = create_accounts_app(settings)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
        ):
            yield Users(OwnService(client, local(read_or_make_key(settings.data_path))))


def password_on_stdin() -> str:
    """One line, without its end. Raises BadRequest."""
    line = sys.stdin.buffer.readline(MAX_LINE_BYTES)
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BadRequest("The password on standard input is not UTF-8.") from error


def table(users: list[User]) -> Table:
    """For people."""
    shown = Table("id", Column("e-mail", overflow="fold"), Column("name", overflow="fold"), "role", "since", box=None)
    for user in users:
        cells = (str(user["id"]), user["email"], user["name"], user["role"], user["created_at"][:10])
        shown.add_row(*(escape(printable(cell)) for cell in cells))
    return shown
