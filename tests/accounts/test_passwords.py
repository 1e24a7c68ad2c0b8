"""Passwords: right or wrong at the same price, asked once for many, remembered for a minute."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import argon2
import pytest

from service.accounts import passwords as module
from service.accounts.passwords import MAX_CHARS, MIN_CHARS, Passwords, check_new, random_password
from service.errors import InvalidField, Unavailable
from service.store.users import UNUSABLE, User
from tests.accounts.desk import Clock
from tests.world import WEAK_KIB, until

verify = argon2.PasswordHasher.verify


class Gate:
    """Every verification is counted and waits here."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.open = threading.Event()

    def verify(self, hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
        """In the place of PasswordHasher.verify."""
        self.stored.append(stored)
        self.open.wait()
        return verify(hasher, stored, password)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """An open one; clear it to hold verifications up."""
    gate = Gate()
    gate.open.set()
    monkeypatch.setattr(argon2.PasswordHasher, "verify", lambda *args: gate.verify(*args))
    return gate


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def passwords(clock: Clock) -> AsyncIterator[Passwords]:
    async with Passwords(memory_kib=WEAK_KIB, clock=clock) as made:
        yield made


async def ada(passwords: Passwords, password: str = "right") -> User:
    """An account with this password."""
    return User(
        id=1,
        created_at=datetime.now(UTC),
        email="ada@example.org",
        name="Ada",
        password_hash=await passwords.hash(password),
        role="user",
        token_version=1,
    )


async def test_right_and_wrong(passwords: Passwords) -> None:
    """The right one is right, any other is wrong, and nobody's is."""
    user = await ada(passwords)
    assert await passwords.check(user, user.email, "right")
    assert not await passwords.check(user, user.email, "wrong")
    assert not await passwords.check(None, "bob@example.org", "right")


@pytest.mark.parametrize("password", ["\ud800", "ключ 🗝", "a\0b"])
async def test_any_text_can_be_a_password(passwords: Passwords, password: str) -> None:
    """Also what a command line holds that is no Unicode."""
    user = await ada(passwords, password)
    assert await passwords.check(user, user.email, password)
    assert not await passwords.check(user, user.email, password + "x")


async def test_without_a_password_none_is_right(passwords: Passwords) -> None:
    """Not even the mark itself."""
    user = replace(await ada(passwords), password_hash=UNUSABLE)
    assert not await passwords.check(user, user.email, UNUSABLE)
    assert not await passwords.check(user, user.email, "")


async def test_nobody_costs_what_somebody_does(passwords: Passwords, gate: Gate) -> None:
    """One verification each, of hashes with the same parameters: the time tells nobody who has an account."""
    user = await ada(passwords)
    for who in (user, None, replace(user, id=2, password_hash=UNUSABLE)):
        await passwords.check(who, "ada@example.org", "wrong")
    assert len(gate.stored) == 3
    parameters = [argon2.extract_parameters(stored) for stored in gate.stored]
    assert parameters == parameters[:1] * 3


async def test_right_is_remembered_for_a_minute(passwords: Passwords, clock: Clock) -> None:
    """And for no longer; a wrong one never."""
    user = await ada(passwords)
    await passwords.check(user, user.email, "right")
    await passwords.check(user, user.email, "wrong")
    assert passwords.knows(user, "right")
    assert not passwords.knows(user, "wrong")
    clock.now_s += 60
    assert not passwords.knows(user, "right")


@pytest.mark.parametrize("change", [{"token_version": 2}, {"password_hash": "other"}, {"id": 2}])
async def test_a_changed_account_is_not_known(passwords: Passwords, change: dict[str, Any]) -> None:
    """What was right before the change has to be checked again."""
    user = await ada(passwords)
    await passwords.check(user, user.email, "right")
    assert not passwords.knows(replace(user, **change), "right")


async def test_a_hundred_who_ask_the_same_are_one_check(passwords: Passwords, gate: Gate) -> None:
    """And all are told the same."""
    user = await ada(passwords)
    assert await asyncio.gather(*(passwords.check(user, user.email, "right") for _ in range(100))) == [True] * 100
    assert await asyncio.gather(*(passwords.check(user, user.email, "wrong") for _ in range(100))) == [False] * 100
    assert len(gate.stored) == 2


async def test_two_nobodies_do_not_share_a_check(passwords: Passwords, gate: Gate) -> None:
    """Else a second sign-in at the same time, no slower than the first, would say that neither has an account."""
    await asyncio.gather(*(passwords.check(None, f"{name}@example.org", "same") for name in ("a", "b")))
    assert len(gate.stored) == 2


async def test_who_leaves_takes_nobody_along(passwords: Passwords, gate: Gate) -> None:
    """The first of two who asks the same is cancelled; the second is answered."""
    user = await ada(passwords)
    gate.open.clear()
    first, second = (asyncio.create_task(passwords.check(user, user.email, "right")) for _ in range(2))
    await until(lambda: gate.stored)
    first.cancel()
    gate.open.set()
    assert await second
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_error_that_nobody_waits_for_is_no_noise(passwords: Passwords, gate: Gate) -> None:
    """Whoever asked has left when the stored hash turns out to be damaged: asyncio has nothing to complain about."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    user = replace(await ada(passwords), password_hash="damaged")
    gate.open.clear()
    task = asyncio.create_task(passwords.check(user, user.email, "x"))
    await until(lambda: gate.stored)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gate.open.set()
    await until(lambda: not passwords.is_checking(user, user.email, "x"))
    gc.collect()
    assert complaints == []


async def test_too_many_are_refused_at_once(passwords: Passwords, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time to come again; those who wait are answered."""
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    gate.open.clear()
    waiting = [asyncio.create_task(passwords.check(None, f"{n}@example.org", "x")) for n in range(2)]
    await until(lambda: gate.stored)
    with pytest.raises(Unavailable) as refused:
        await passwords.hash("x")
    assert refused.value.retry_after_s >= 1
    gate.open.set()
    assert await asyncio.gather(*waiting) == [False, False]
    await passwords.hash("x")


async def test_the_end_waits_for_one_check_not_for_all(gate: Gate) -> None:
    """Shutting down with a long queue ends after the one that runs, and leaves no task behind."""
    async with Passwords(memory_kib=WEAK_KIB) as passwords:
        gate.open.clear()
        waiting = [asyncio.create_task(passwords.check(None, f"{n}@example.org", "x")) for n in range(20)]
        await until(lambda: gate.stored)
        asyncio.get_running_loop().call_soon(gate.open.set)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(gate.stored) == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_other_parameters_are_outdated(passwords: Passwords) -> None:
    """A hash made with less memory than today's is to be made again."""
    async with Passwords(memory_kib=2 * WEAK_KIB) as stronger:
        assert stronger.is_outdated(await passwords.hash("x"))
        assert not stronger.is_outdated(await stronger.hash("x"))


@pytest.mark.parametrize("length", [0, MIN_CHARS - 1, MAX_CHARS + 1, 1_000_000])
def test_a_bad_length_is_said(length: int) -> None:
    """With both limits and what it was."""
    with pytest.raises(InvalidField, match=rf"{MIN_CHARS} to {MAX_CHARS} .* {length}\."):
        check_new("x" * length)


@pytest.mark.parametrize("make", [random_password, lambda: "x" * MIN_CHARS, lambda: "x" * MAX_CHARS])
def test_a_good_one_passes(make: Callable[[], str]) -> None:
    """The limits themselves, and what is made for others."""
    check_new(make())


def test_random_ones_are_not_alike() -> None:
    """Four groups of five letters that cannot be confused, other ones each time."""
    made = {random_password() for _ in range(100)}
    assert len(made) == 100
    assert all([len(group) for group in one.split("-")] == [5] * 4 for one in made)
    assert not set("".join(made)) & set("01ilo")
