"""Accounts from the command line: by the running service, and without one."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx2
import orjson
import pytest

from service.accounts.keys import key_file
from service.data_folder import claimed
from service.errors import FolderTaken, GlimtError, InvalidField, NotFound, Unavailable
from service.own_service import Refused
from service.settings import Settings
from service.store.users import User
from service.users import Users, table, users
from tests.world import PASSWORD, make_app, signed_in, under_uvicorn

NOBODY = "http://127.0.0.1:9"


@asynccontextmanager
async def without_a_service(folder: Path) -> AsyncIterator[Users]:
    async with users(Settings(data_dir=folder)) as known:
        yield known


@asynccontextmanager
async def by_the_service(folder: Path) -> AsyncIterator[Users]:
    app = make_app(folder, auth="required")
    with claimed(folder) as claim:
        async with under_uvicorn(app) as port:
            claim.announce(f"http://127.0.0.1:{port}")
            async with users(Settings(data_dir=folder)) as known:
                yield known


Way = Callable[[Path], AbstractAsyncContextManager[Users]]
both = pytest.mark.parametrize("way", [without_a_service, by_the_service])


async def password_holds(folder: Path, password: str) -> bool:
    """Whether ada can sign in with it, at a service that starts now."""
    app = make_app(folder)
    async with app.router.lifespan_context(app):
        try:
            user: User = await app.house.accounts.sign_in("ada@example.org", password, "here")
        except GlimtError:
            return False
        return user.email == "ada@example.org"


@both
async def test_an_account_from_its_beginning_to_its_end(tmp_path: Path, way: Way) -> None:
    """Made, listed, promoted, found by id, deleted."""
    async with way(tmp_path) as known:
        await known.create("root@localhost", "Root", "admin", PASSWORD)
        ada, made = await known.create("Ada@Example.org", "Ada", "user", PASSWORD)
        assert (ada["email"], ada["role"], made) == ("ada@example.org", "user", None)
        assert {"root@localhost", "ada@example.org"} <= {user["email"] for user in await known.list()}
        assert (await known.set_role("ADA@example.org", "admin"))["role"] == "admin"
        assert (await known.set_role(str(ada["id"]), "user"))["role"] == "user"
        assert (await known.delete("ada@example.org"))["id"] == ada["id"]
        assert "ada@example.org" not in {user["email"] for user in await known.list()}


@both
async def test_a_password_is_made_where_none_is_given(tmp_path: Path, way: Way) -> None:
    """At first and at a reset: the last one holds, the one before does not."""
    async with way(tmp_path) as known:
        _, first = await known.create("ada@example.org", "Ada", "user", None)
        _, second = await known.reset_password("ada@example.org", None)
    assert first
    assert await password_holds(tmp_path, second)
    assert not await password_holds(tmp_path, first)


@both
async def test_a_given_password_is_taken(tmp_path: Path, way: Way) -> None:
    """And not made up."""
    async with way(tmp_path) as known:
        await known.create("ada@example.org", "Ada", "user", None)
        assert (await known.reset_password("ada@example.org", PASSWORD))[1] == PASSWORD
    assert await password_holds(tmp_path, PASSWORD)


@both
async def test_refusals_are_the_services_own_words(tmp_path: Path, way: Way) -> None:
    """Taken address, short password, last admin."""
    async with way(tmp_path) as known:
        await known.create("root@example.org", "Root", "admin", PASSWORD)
        with pytest.raises(Refused, match=r"There is an account of root@example.org already"):
            await known.create("root@example.org", "Root", "admin", PASSWORD)
        with pytest.raises(Refused, match=r"password: .* at least 8 characters"):
            await known.create("ada@example.org", "Ada", "user", "")
        with pytest.raises(Refused, match="There is no such account"):
            await known.delete("4711")
        with pytest.raises(NotFound, match=r"no account of ada@example.org. `glimt users list`"):
            await known.delete("ada@example.org")
        with pytest.raises(InvalidField, match="@"):
            await known.delete("ada")
        for user in await known.list():
            if user["email"] != "root@example.org":
                await known.delete(str(user["id"]))
        with pytest.raises(Refused, match="This is the last admin"):
            await known.delete("root@example.org")


async def test_a_running_service_knows_at_once(tmp_path: Path) -> None:
    """Whoever was signed in is not, after a reset."""
    app = make_app(tmp_path)
    with claimed(tmp_path) as claim:
        async with under_uvicorn(app) as port:
            claim.announce(f"http://127.0.0.1:{port}")
            headers = await signed_in(app)
            url = f"http://127.0.0.1:{port}"
            async with httpx2.AsyncClient(base_url=url) as ada, users(Settings(data_dir=tmp_path)) as known:
                before = await ada.get("/api/me", headers=headers)
                await known.reset_password("ada@example.org", None)
                after = await ada.get("/api/me", headers=headers)
    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_service_that_is_starting(tmp_path: Path) -> None:
    """It is not passed by: two would write the database."""
    with claimed(tmp_path), pytest.raises(FolderTaken, match="which is starting"):
        async with users(Settings(data_dir=tmp_path)):
            pass


async def test_a_service_that_is_shutting_down(tmp_path: Path) -> None:
    """Its address is no longer its own: neither the key nor a password went astray there."""
    make_app(tmp_path)
    with claimed(tmp_path) as claim:
        claim.announce(NOBODY)
        async with users(Settings(data_dir=tmp_path)) as known:
            claim.withdraw()
            with pytest.raises(Unavailable, match="is shutting down or has ended"):
                await known.list()
        with pytest.raises(FolderTaken, match="which is shutting down: try again"):
            async with users(Settings(data_dir=tmp_path)):
                pass


async def test_a_service_that_does_not_answer(tmp_path: Path) -> None:
    """In words, with what to do."""
    make_app(tmp_path)
    with claimed(tmp_path) as claim:
        claim.announce(NOBODY)
        async with users(Settings(data_dir=tmp_path)) as known:
            with pytest.raises(Unavailable, match=f"at {NOBODY} does not answer"):
                await known.list()


async def test_a_key_that_was_replaced_under_the_service(tmp_path: Path) -> None:
    """Said as it is, instead of advice about tokens."""
    app = make_app(tmp_path)
    with claimed(tmp_path) as claim:
        async with under_uvicorn(app) as port:
            claim.announce(f"http://127.0.0.1:{port}")
            key_file(tmp_path).write_bytes(os.urandom(32))
            async with users(Settings(data_dir=tmp_path)) as known:
                with pytest.raises(Refused, match="Restart the service"):
                    await known.list()


async def test_nobody_else_works_in_the_folder_meanwhile(tmp_path: Path) -> None:
    """A service that starts while the command writes is told so."""
    async with without_a_service(tmp_path):
        with pytest.raises(FolderTaken, match=f"process {os.getpid()}"), claimed(tmp_path, wait_s=0):
            pass


async def test_the_log_has_it_and_the_console_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who was made, in the day's file, and no password."""
    async with without_a_service(tmp_path) as known:
        await known.create("ada@example.org", "Ada", "user", PASSWORD)
    (file,) = (tmp_path / "logs").iterdir()
    lines = list(map(orjson.loads, file.read_bytes().splitlines()))
    assert any(line["event"] == "account created" and line["by"] == "local" for line in lines)
    assert PASSWORD not in file.read_text()
    assert capsys.readouterr() == ("", "")


def test_markup_in_a_name_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Names are others' words."""
    from rich.console import Console

    user = {"id": 1, "email": "a@b.c", "name": "[red]x[/red]", "role": "user", "created_at": "2026-11-05T08:00:00Z"}
    Console(width=100).print(table([user]))
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown


def test_a_terminal_is_told_nothing_by_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    """What answered could set the title and the colours of the window, by e-mail, name, role and date."""
    from rich.console import Console

    evil = "\x1b\x07[red]"
    Console(width=100).print(table([{"id": 1, "email": evil, "name": evil, "role": evil, "created_at": evil}]))
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07"} & set(shown)
    assert shown.count("[red]") == 4


def test_dates_without_times(capsys: pytest.CaptureFixture[str]) -> None:
    """The day is enough."""
    from rich.console import Console

    user = {"id": 1, "email": "a@b.c", "name": "x", "role": "user", "created_at": "2026-11-05T08:00:00Z"}
    Console(width=100).print(table([user]))
    shown = capsys.readouterr().out
    assert "2026-11-05 " in shown
