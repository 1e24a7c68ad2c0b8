"""Accounts as rows: one per address, never without an admin, gone with all that is theirs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import Conflict, EmailTaken
from service.store import users
from service.store.database import Database
from service.store.feedback import MAX_ID, FeedbackDraft, FeedbackStore
from service.store.tokens import TokenStore
from service.store.users import UNUSABLE, Role, User, UserStore
from tests.world import make_database

SAID = FeedbackDraft(predicted_class="cat", score=0.9, image_file_name="a.png", feedback="no")


class World:
    """The stores on one database."""

    def __init__(self, db: Database) -> None:
        self.users = UserStore(db)
        self.tokens = TokenStore(db)
        self.feedback = FeedbackStore(db)

    async def add(self, name: str, role: Role = "user", password_hash: str = "hash") -> User:
        """An account <name>@example.org."""
        return await self.users.add(email=f"{name}@example.org", name=name, password_hash=password_hash, role=role)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_database(tmp_path) as db:
        yield World(db)


async def test_an_account_is_found_by_id_and_by_address(world: World) -> None:
    """The same row both ways; nobody for others, and for numbers no row can have."""
    ada = await world.add("ada")
    assert await world.users.get(ada.id) == ada == await world.users.by_email("ada@example.org")
    assert await world.users.get(MAX_ID + 1) is None
    assert await world.users.by_email("bob@example.org") is None


async def test_one_address_is_one_account(world: World) -> None:
    """The second is refused in words that name the address, also of two at the same time."""
    outcomes = await asyncio.gather(world.add("ada"), world.add("ada"), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["EmailTaken", "User"]
    with pytest.raises(EmailTaken, match=r"ada@example\.org"):
        await world.add("ada")


async def test_a_deleted_accounts_number_is_never_given_again(world: World) -> None:
    """What still names it, a JWT or an old export, must not mean somebody else."""
    ada = await world.add("ada")
    assert await world.users.remove(ada.id)
    assert (await world.add("bob")).id > ada.id


async def test_the_list_is_read_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, the oldest first, also where a piece ends."""
    monkeypatch.setattr(users, "_CHUNK_ROWS", 2)
    made = [await world.add(f"user{n}") for n in range(5)]
    assert [user async for user in world.users.list()] == made


@pytest.mark.parametrize("leave", ["demoted", "removed"])
async def test_the_last_admin_stays(world: World, leave: str) -> None:
    """Neither demoted nor removed; with a second one both may go, but not at the same time."""
    ada = await world.add("ada", "admin")

    async def go(user: User) -> object:
        return await (world.users.set_role(user.id, "user") if leave == "demoted" else world.users.remove(user.id))

    with pytest.raises(Conflict, match="last admin"):
        await go(ada)
    bob = await world.add("bob", "admin")
    outcomes = await asyncio.gather(go(ada), go(bob), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1
    assert await world.users.has_admin()


async def test_an_admin_who_cannot_sign_in_is_none(world: World) -> None:
    """Else the demo account, once it is off, would be the last admin, and nobody could come in."""
    demo = await world.add("demo", "admin", UNUSABLE)
    assert not await world.users.has_admin()
    ada = await world.add("ada", "admin")
    with pytest.raises(Conflict):
        await world.users.set_role(ada.id, "user")
    assert await world.users.remove(demo.id)


async def test_a_role_is_changed_of_somebody_who_exists(world: World) -> None:
    """The account as it is then, or None."""
    ada = await world.add("ada")
    changed = await world.users.set_role(ada.id, "admin")
    assert changed is not None
    assert changed.role == "admin"
    assert await world.users.set_role(ada.id + 1, "admin") is None


async def test_a_rehash_never_undoes_a_new_password(world: World) -> None:
    """It was made of the password that was right before: stored only while that one is in force."""
    ada = await world.add("ada")
    await world.tokens.end_all(ada.id, password_hash="new")
    await world.users.rehash(ada.id, "hash", "hash, hashed better")
    assert (await world.users.get(ada.id) or ada).password_hash == "new"
    await world.users.rehash(ada.id, "new", "new, hashed better")
    assert (await world.users.get(ada.id) or ada).password_hash == "new, hashed better"


async def test_all_that_is_theirs_goes_and_nothing_else(world: World) -> None:
    """Tokens, sessions and feedback go with the account; another's stay."""
    ada, bob = await world.add("ada"), await world.add("bob")
    for user in (ada, bob):
        await world.tokens.add(user, "token", "script", f"token of {user.name}", None)
        await world.feedback.add(SAID, owner=user.owner, idempotency_key=None)
    assert await world.users.remove(ada.id)
    assert await world.tokens.find("token of ada", "token") is None
    assert await world.tokens.find("token of bob", "token") is not None
    assert await world.feedback.list(ada.owner) == ()
    assert len(await world.feedback.list(bob.owner)) == 1
    assert not await world.users.remove(ada.id)
