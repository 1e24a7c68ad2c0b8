"""What a change of an account ends, ends at once: also what is known, and what is under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.accounts.accounts import Credential
from service.errors import Conflict
from service.store.tokens import Kind, Token, TokenStore
from service.store.users import User
from tests.accounts.desk import HERE, KINDS, Desk, a_desk, credential, holds
from tests.world import PASSWORD

NEW = "a newer password"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


Change = Callable[[Desk, User], Awaitable[object]]


async def delete(desk: Desk, user: User) -> None:
    """As the service's own handlers do."""
    await desk.users.remove(user.id)
    desk.accounts.changed()


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a new password": (lambda desk, user: desk.accounts.change_password(user, PASSWORD, NEW, HERE), {"token"}),
    "a password reset": (lambda desk, user: desk.accounts.reset_password(user.id), set()),
    "signed out everywhere": (lambda desk, user: desk.accounts.sign_out_everywhere(user.id), {"token", "basic"}),
    "deleted": (delete, set()),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_a_change_ends_ends_at_once(desk: Desk, change: str) -> None:
    """Although all of them were known a moment ago; what is not meant to end goes on."""
    ada, (do, stays) = await desk.add(), CHANGES[change]
    shown = {kind: await credential(desk, ada, kind) for kind in KINDS}
    assert all([await holds(desk, each) for each in shown.values()])
    await do(desk, ada)
    assert {kind for kind, each in shown.items() if await holds(desk, each)} == stays


async def test_a_new_role_counts_at_once(desk: Desk) -> None:
    """For credentials that were known with the old one."""
    ada, _ = await desk.add("ada", "admin"), await desk.add("bob", "admin")
    shown = await credential(desk, ada, "session")
    assert (await desk.accounts.identify(shown, HERE)).is_admin
    await desk.accounts.set_role(ada.id, "user")
    assert not (await desk.accounts.identify(shown, HERE)).is_admin


@pytest.mark.parametrize("kind", ["session", "token"])
async def test_what_is_revoked_or_signed_out_ends_at_once(desk: Desk, kind: Kind) -> None:
    """And only that: another of the same account goes on."""
    ada = await desk.add()
    one, other = await credential(desk, ada, kind), await credential(desk, ada, kind)
    assert await holds(desk, one)
    listed = await (desk.accounts.sessions(ada.id) if kind == "session" else desk.accounts.tokens(ada.id))
    await desk.accounts.revoke_token(listed[-1].id, ada.id)
    assert not await holds(desk, one)
    assert await holds(desk, other)
    if kind == "session":
        await desk.accounts.close_session(other.value)
        assert not await holds(desk, other)


class SlowTokens(TokenStore):
    """What was found is not told before the gate opens."""

    gate: asyncio.Event
    found: asyncio.Event

    async def find(self, digest: str, kind: Kind) -> tuple[Token, User] | None:
        row = await super().find(digest, kind)
        self.found.set()
        await self.gate.wait()
        return row


async def test_what_was_read_before_a_change_is_not_kept_after_it(tmp_path: Path) -> None:
    """A check under way while the session ends is not remembered when it comes back: the next request is refused."""
    SlowTokens.gate, SlowTokens.found = asyncio.Event(), asyncio.Event()
    async with a_desk(tmp_path, tokens=SlowTokens) as desk:
        shown = await credential(desk, await desk.add(), "session")
        under_way = asyncio.create_task(desk.accounts.identify(shown, HERE))
        await SlowTokens.found.wait()
        await desk.accounts.close_session(shown.value)
        SlowTokens.gate.set()
        await under_way
        assert not await holds(desk, shown)


async def test_an_old_password_opens_nothing_after_the_change(desk: Desk) -> None:
    """Whoever signed in a moment before gets neither a session nor a token, and their JWT does not hold."""
    seen = await desk.accounts.sign_in("ada@example.org", PASSWORD, HERE) if await desk.add() else None
    assert seen is not None
    await desk.accounts.reset_password(seen.id)
    assert not await holds(desk, Credential("bearer", desk.accounts.token_for(seen)))
    with pytest.raises(Conflict):
        await desk.accounts.open_session(seen, "a browser", None)
    with pytest.raises(Conflict):
        await desk.accounts.create_token(seen, "a script")


async def test_a_reset_is_not_undone_by_a_change_under_way(desk: Desk) -> None:
    """A thief who changes the password over and over cannot win against the admin who takes the account back."""
    ada = await desk.add()
    results = await asyncio.gather(
        desk.accounts.change_password(ada, PASSWORD, "the thief's own", HERE),
        desk.accounts.reset_password(ada.id, NEW),
        return_exceptions=True,
    )
    assert results[1] == NEW
    assert (await desk.accounts.sign_in(ada.email, NEW, HERE)).id == ada.id


async def test_a_session_replaces_the_browsers_last_one(desk: Desk) -> None:
    """A new secret at each sign-in; the one that was there before is worth nothing."""
    ada = await desk.add()
    first = await desk.accounts.open_session(ada, "a browser", None)
    second = await desk.accounts.open_session(ada, "a browser", first)
    assert first != second
    assert not await holds(desk, Credential("session", first))
    assert await holds(desk, Credential("session", second))


async def test_an_expired_token_does_not_hold(desk: Desk) -> None:
    """From its last instant on."""
    secret, _ = await desk.accounts.create_token(await desk.add(), "x", datetime.now(UTC) - timedelta(seconds=1))
    assert not await holds(desk, Credential("bearer", secret))
