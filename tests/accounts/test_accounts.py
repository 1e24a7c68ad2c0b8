"""Accounts: who a credential belongs to, what an account and a token may be, and the demo account."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.accounts.accounts import Credential
from service.accounts.keys import LOCAL
from service.errors import EmailTaken, GlimtError, InvalidField, NotFound, StoreFull, Unauthorized
from service.store.tokens import TokenStore
from tests.accounts.desk import HERE, KINDS, Desk, a_desk, credential, holds
from tests.world import PASSWORD

NEW = "a newer password"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


# Who is it


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_is_its_account(desk: Desk, kind: str) -> None:
    """With its role, and how it proved itself."""
    ada = await desk.add("ada", "admin")
    identity = await desk.accounts.identify(await credential(desk, ada, kind), HERE)
    assert (identity.user, identity.role, identity.proof) == (ada, "admin", kind)


async def test_the_local_key_is_an_admin_without_an_account(desk: Desk) -> None:
    """Whoever can read the data folder."""
    identity = await desk.accounts.identify(Credential("bearer", desk.signer.sign(LOCAL, 0)), HERE)
    assert (identity.user, identity.role, identity.owner) == (None, "admin", None)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("session", ""),
        ("session", "unknown"),
        ("bearer", ""),
        ("bearer", "glimt_unknown"),
        ("bearer", "\ud800"),
        ("basic", ""),
        ("basic", "ada@example.org"),
        ("basic", "ada@example.org:wrong"),
        ("basic", f"bob@example.org:{PASSWORD}"),
        ("basic", f"ada@example.org\0:{PASSWORD}"),
        ("basic", "ada@example.org:" + "x" * 1_000_000),
        ("basic", "x" * 1_000_000 + f":{PASSWORD}"),
    ],
)
async def test_anything_else_is_nobody(desk: Desk, kind: str, value: str) -> None:
    """Unauthorized, always with the same words."""
    await desk.add()
    with pytest.raises(Unauthorized) as no:
        await desk.accounts.identify(Credential(kind, value), HERE)
    assert no.value.detail == Unauthorized().detail


async def test_one_kind_is_not_taken_for_another(desk: Desk) -> None:
    """A session's secret is no Bearer token, a personal token no session; each is asked for as what it was shown as."""
    ada = await desk.add()
    session, token = await credential(desk, ada, "session"), await credential(desk, ada, "token")
    assert await holds(desk, session)
    assert await holds(desk, token)
    assert not await holds(desk, Credential("bearer", session.value))
    assert not await holds(desk, Credential("session", token.value))


async def test_an_identity_is_taken_as_read_for_five_seconds(desk: Desk) -> None:
    """What another process did behind our back counts after that, and not only at the next start."""
    ada = await desk.add()
    shown = await credential(desk, ada, "bearer")
    assert await holds(desk, shown)
    await desk.users.remove(ada.id)
    desk.clock.now_s += 4.9
    assert await holds(desk, shown)
    desk.clock.now_s += 0.1
    assert not await holds(desk, shown)


# Accounts and tokens


async def test_a_password_is_changed_only_by_who_knows_it(desk: Desk) -> None:
    """A wrong old one counts as a guess; a bad new one is said before anything is checked."""
    ada = await desk.add()
    with pytest.raises(Unauthorized):
        await desk.accounts.change_password(ada, "wrong", NEW, HERE)
    with pytest.raises(InvalidField):
        await desk.accounts.change_password(ada, PASSWORD, "short", HERE)
    changed = await desk.accounts.change_password(ada, PASSWORD, NEW, HERE)
    assert await desk.accounts.sign_in(ada.email, NEW, HERE) == changed
    assert await desk.accounts.open_session(changed, "a browser", None)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("name", "x", InvalidField),
        ("name", "x" * 51, InvalidField),
        ("name", "a\u202eb", InvalidField),
        ("email", "none", InvalidField),
        ("email", "ADA@example.org", EmailTaken),
        ("password", "x" * 7, InvalidField),
        ("password", "x" * 201, InvalidField),
    ],
)
async def test_an_account_that_cannot_be(desk: Desk, field: str, value: str, error: type[GlimtError]) -> None:
    """Each field has its limits, and an address its one account."""
    await desk.add()
    good = {"name": "Bob", "email": "bob@example.org", "password": NEW}
    with pytest.raises(error):
        await desk.accounts.create(**good | {field: value})  # type: ignore[arg-type]
    assert [user.name async for user in desk.accounts.list()] == ["ada"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb"])
async def test_a_token_needs_a_name(desk: Desk, name: str) -> None:
    """One that can be read in a list."""
    with pytest.raises(InvalidField, match="1 to 100"):
        await desk.accounts.create_token(await desk.add(), name)


async def test_only_a_tokens_owner_revokes_it(desk: Desk) -> None:
    """For another there is no such token."""
    ada, bob = await desk.add("ada"), await desk.add("bob")
    secret, token = await desk.accounts.create_token(ada, "a script")
    with pytest.raises(NotFound):
        await desk.accounts.revoke_token(token.id, bob.id)
    assert await holds(desk, Credential("bearer", secret))


async def test_who_is_not_there_has_no_role_and_no_password(desk: Desk) -> None:
    """Neither to set nor to reset."""
    with pytest.raises(NotFound):
        await desk.accounts.set_role(1, "admin")
    with pytest.raises(NotFound):
        await desk.accounts.reset_password(1)


async def test_use_is_noted_once_a_minute(desk: Desk) -> None:
    """Not every request is a write."""
    ada = await desk.add()
    shown = await credential(desk, ada, "token")
    notes = set()
    for _ in range(13):
        assert await holds(desk, shown)
        notes.add((await desk.accounts.tokens(ada.id))[0].last_used_at)
        desk.clock.now_s += 5
    assert len(notes) == 2
    assert None not in notes


class FullTokens(TokenStore):
    """No room for a note."""

    async def used(self, token_id: int) -> None:
        raise StoreFull()


async def test_a_full_disk_locks_nobody_out(tmp_path: Path) -> None:
    """The use of a token is not noted then, and that is all."""
    async with a_desk(tmp_path, tokens=FullTokens) as desk:
        assert await holds(desk, await credential(desk, await desk.add(), "token"))


# The demo account


async def test_the_demo_account_is_there_only_while_it_is_wanted(desk: Desk) -> None:
    """Wanted: admin and admin. Not wanted: no password, no session, no admin. Wanted again: as before."""
    email, password = "admin@example.com", "admin"
    await desk.accounts.prepare_demo(False)
    assert await desk.accounts.needs_admin()
    await desk.accounts.prepare_demo(True)
    demo = await desk.accounts.sign_in(email, password, HERE)
    shown = await credential(desk, demo, "session")
    await desk.accounts.prepare_demo(True)
    assert await holds(desk, shown)
    await desk.accounts.prepare_demo(False)
    desk.accounts.changed()
    assert not await holds(desk, shown)
    assert await desk.accounts.needs_admin()
    with pytest.raises(Unauthorized):
        await desk.accounts.sign_in(email, password, HERE)
    await desk.accounts.prepare_demo(True)
    assert (await desk.accounts.sign_in(email, password, HERE)).id == demo.id
    assert not await desk.accounts.needs_admin()


async def test_a_demo_account_with_a_password_of_its_own_is_left_alone(desk: Desk) -> None:
    """Somebody made it theirs."""
    await desk.accounts.prepare_demo(True)
    demo = await desk.accounts.sign_in("admin@example.com", "admin", HERE)
    await desk.accounts.change_password(demo, "admin", NEW, HERE)
    for wanted in (False, True):
        await desk.accounts.prepare_demo(wanted)
        assert await desk.accounts.sign_in("admin@example.com", NEW, HERE)
