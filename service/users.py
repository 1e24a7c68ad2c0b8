"""`glimt users`: accounts from the command line, by the service that runs in the data folder; where none runs, by the
same routes in this process, on the same database."""

import asyncio
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
from service.credentials import Bearer, bearer, local
from service.errors import BadRequest, GlimtError, NotFound, Unavailable
from service.observe import configure_logging
from service.settings import Settings
from service.store.users import Role
from service.terminal import printable

PATIENCE_S = 60.0
MAX_LINE_BYTES = 4096
"""Of a password on standard input: more than any may have, so that the words about its length are the service's."""

User = dict[str, Any]


class Refused(GlimtError):
    """What the service said, in its words."""

    title = "That was refused"


class Users:
    """The accounts. Everything raises Refused, Unavailable, and NotFound or InvalidField for somebody who is not there.

    `who` is an e-mail address or an id.
    """

    def __init__(self, client: httpx2.AsyncClient, bearer: Bearer) -> None:
        self._client = client
        self._bearer = bearer

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

    async def _ask(self, method: str, path: str, content: object = None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self._bearer()}"}
        try:
            answer = await self._client.request(method, path, json=content, headers=headers)
        except httpx2.TransportError as error:
            raise Unavailable(
                f"The service at {self._client.base_url} does not answer: {error or type(error).__name__}. Try again, "
                "or stop it: then this works without it."
            ) from error
        if not answer.is_success:
            raise Refused(_words(answer))
        return answer


@asynccontextmanager
async def users(settings: Settings) -> AsyncIterator[Users]:
    """Raises StartError, FolderTaken when a service is just starting."""
    by = await asyncio.to_thread(data_folder.holder, settings.data_path)
    if by is not None and by.url is not None:
        key = bearer(by.url, settings.data_path, None)
        async with httpx2.AsyncClient(base_url=by.url, timeout=PATIENCE_S, trust_env=False) as client:
            yield Users(client, key)
        return
    with ExitStack() as stack:
        stack.enter_context(data_folder.claimed(settings.data_path))
        stack.enter_context(configure_logging(settings, io.StringIO()))  # to the files; here the command has the word
        app = create_accounts_app(settings)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
        ):
            yield Users(client, local(read_or_make_key(settings.data_path)))


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


def _words(answer: httpx2.Response) -> str:
    if answer.status_code == 401:
        return (
            f"The service at {answer.url.copy_with(path='/')} does not take the key in this data folder: it was "
            "replaced after the service had started. Restart the service."
        )
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The answer was {answer.status_code}, which Glimt does not say."
