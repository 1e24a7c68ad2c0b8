"""Tokens and sessions as rows: found by a hash while they live, and ended together with what opened them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.errors import Conflict
from service.store.database import Database
from service.store.feedback import MAX_ID
from service.store.tokens import MAX_TOKENS, Kind, TokenStore
from service.store.users import User, UserStore
from tests.world import make_database

NOW = datetime.now(UTC)


class World:
    """The stores on one database, and an account in it."""

    def __init__(self, db: Database, ada: User) -> None:
        self.users = UserStore(db)
        self.tokens = TokenStore(db)
        self.ada = ada

    async def add(self, digest: str, kind: Kind = "token", expires_at: datetime | None = None) -> int:
        """One of Ada's, by that hash; its number."""
        return (await self.tokens.add(self.ada, kind, "a name", digest, expires_at)).id

    async def living(self, *digests: str) -> set[str]:
        """Which of these still sign in."""
        kinds: tuple[Kind, ...] = ("session", "token")
        return {digest for digest in digests for kind in kinds if await self.tokens.find(digest, kind)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_database(tmp_path) as db:
        ada = await UserStore(db).add(email="ada@example.org", name="Ada", password_hash="old", role="user")
        yield World(db, ada)


async def test_it_is_found_with_its_owner(world: World) -> None:
    """By its hash and kind; a session's hash is no personal token."""
    await world.add("one")
    found = await world.tokens.find("one", "token")
    assert found is not None
    assert (found[0].name, found[1]) == ("a name", world.ada)
    assert await world.tokens.find("one", "session") is None
    assert await world.tokens.find("two", "token") is None


async def test_an_expired_one_is_neither_found_nor_listed(world: World) -> None:
    """From its instant on; tidying up takes it away, and no other."""
    await world.add("past", expires_at=NOW - timedelta(seconds=1))
    await world.add("future", expires_at=NOW + timedelta(days=1))
    await world.add("for ever")
    assert await world.living("past", "future", "for ever") == {"future", "for ever"}
    assert len(await world.tokens.list(world.ada.id, "token")) == 2
    assert await world.tokens.remove_expired() == 1
    assert await world.living("future", "for ever") == {"future", "for ever"}


async def test_too_many_tokens_are_refused(world: World) -> None:
    """One more than MAX_TOKENS, in words that name the way out."""
    for n in range(MAX_TOKENS):
        await world.add(f"token {n}")
    with pytest.raises(Conflict, match="Revoke one"):
        await world.add("one more")
    await world.add("a session", "session")


async def test_of_too_many_sessions_the_oldest_ends(world: World) -> None:
    """Nobody is kept from signing in by the browsers they signed in with before."""
    for n in range(MAX_TOKENS + 2):
        await world.add(f"session {n}", "session")
    assert len(await world.tokens.list(world.ada.id, "session")) == MAX_TOKENS
    assert await world.living("session 0", "session 1", "session 2") == {"session 2"}


async def test_only_its_owner_revokes_it(world: World) -> None:
    """Another's, and one that cannot exist, are not there."""
    bob = await world.users.add(email="bob@example.org", name="Bob", password_hash="x", role="user")
    number = await world.add("one")
    assert not await world.tokens.remove(number, bob.id)
    assert not await world.tokens.remove(MAX_ID + 1, world.ada.id)
    assert await world.tokens.remove(number, world.ada.id)
    assert await world.living("one") == set()


async def test_forgetting_a_session_is_not_revoking_a_token(world: World) -> None:
    """A personal token sent as a cookie to be signed out stays."""
    await world.add("one")
    await world.tokens.forget("one", "session")
    assert await world.living("one") == {"one"}
    await world.tokens.forget("one", "token")
    assert await world.living("one") == set()


async def test_its_use_is_noted(world: World) -> None:
    """With the time, which was unknown before."""
    number = await world.add("one")
    assert (await world.tokens.list(world.ada.id, "token"))[0].last_used_at is None
    await world.tokens.used(number)
    used = (await world.tokens.list(world.ada.id, "token"))[0].last_used_at
    assert used is not None
    assert used >= NOW


async def test_a_new_password_and_the_end_of_sessions_are_one_thing(world: World) -> None:
    """Password, version and the rows of these kinds change together; other kinds stay."""
    await world.add("session", "session")
    await world.add("token")
    user = await world.tokens.end_all(world.ada.id, "session", password_hash="new")
    assert user is not None
    assert (user.password_hash, user.token_version) == ("new", world.ada.token_version + 1)
    assert await world.living("session", "token") == {"token"}
    assert await world.tokens.end_all(user.id + 1, "session") is None


async def test_who_saw_an_older_account_ends_and_changes_nothing(world: World) -> None:
    """Of two changes that began from the same account only one is made; the other's sessions stay as they are."""
    changes = (world.tokens.end_all(world.ada.id, "session", password_hash=new, seen=world.ada) for new in "ab")
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [User, Conflict]
    assert (await world.users.get(world.ada.id) or world.ada).password_hash == "a"


@pytest.mark.parametrize("kind", ["session", "token"])
async def test_what_an_old_password_opened_gets_nothing_new(world: World, kind: Kind) -> None:
    """A request that was let in before the change, and kept its body back, cannot make itself a token after it."""
    await world.tokens.end_all(world.ada.id, "session", "token", password_hash="new")
    with pytest.raises(Conflict, match="changed just now"):
        await world.add("late", kind)
    assert await world.living("late") == set()


async def test_a_deleted_account_gets_nothing_new(world: World) -> None:
    """Neither an error of the database nor a row of nobody."""
    await world.users.remove(world.ada.id)
    with pytest.raises(Conflict):
        await world.add("late")
