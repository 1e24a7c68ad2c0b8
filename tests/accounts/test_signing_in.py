"""Signing in: how often one may guess, alone and many at once, and what a guess costs."""

import asyncio
import statistics
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import argon2
import pytest

from service.accounts.passwords import Passwords
from service.errors import TooManyRequests, Unauthorized
from tests.accounts.desk import HERE, THERE, Desk, a_desk, credential, holds
from tests.world import PASSWORD, WEAK_KIB, until

verify, check = argon2.PasswordHasher.verify, Passwords.check


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


async def at_once(desk: Desk, tries: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many of these signings-in end in what, when no check ends before all have come so far."""
    checked, asked = threading.Event(), []

    def slowly(hasher: argon2.PasswordHasher, stored: str, password: bytes) -> bool:
        checked.wait()
        return verify(hasher, stored, password)

    async def noted(*args: object) -> bool:
        asked.append(args)
        return await check(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(argon2.PasswordHasher, "verify", slowly)
    monkeypatch.setattr(Passwords, "check", noted)
    tasks = [asyncio.create_task(desk.accounts.sign_in(email, password, HERE)) for email, password in tries]
    await until(lambda: len(asked) + sum(task.done() for task in tasks) == len(tasks))
    checked.set()
    ended = [type(one).__name__ for one in await asyncio.gather(*tasks, return_exceptions=True)]
    return {name: ended.count(name) for name in set(ended)}


async def test_the_address_may_be_typed_in_any_case(desk: Desk) -> None:
    """As it may be when the account is made."""
    ada = await desk.add()
    assert await desk.accounts.sign_in(" Ada@EXAMPLE.org ", PASSWORD, HERE) == ada


@pytest.mark.parametrize("email", ["ada@example.org", "bob@example.org"])
async def test_of_a_hundred_wrong_passwords_at_once_ten_are_checked(
    desk: Desk, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit holds while they are under way, for an account that is there and for one that is not."""
    await desk.add()
    tries = [(email, f"wrong {n}") for n in range(100)]
    assert await at_once(desk, tries, monkeypatch) == {"Unauthorized": 10, "TooManyRequests": 90}
    with pytest.raises(TooManyRequests):
        await desk.accounts.sign_in(email, PASSWORD, HERE)


async def test_a_hundred_right_ones_at_once_all_pass(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred programs with one account start together."""
    await desk.add()
    assert await at_once(desk, [("ada@example.org", PASSWORD)] * 100, monkeypatch) == {"User": 100}


async def test_a_hundred_alike_are_one_guess(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred programs that start together with an old password have made one mistake."""
    await desk.add()
    assert await at_once(desk, [("ada@example.org", "old one")] * 100, monkeypatch) == {"Unauthorized": 100}
    assert await desk.accounts.sign_in("ada@example.org", PASSWORD, HERE)


async def test_one_address_cannot_try_many_accounts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second limit counts over all of them, here forty; at once as well."""
    tries = [(f"{n}@example.org", "password") for n in range(60)]
    assert await at_once(desk, tries, monkeypatch) == {"Unauthorized": 40, "TooManyRequests": 20}


async def test_who_guesses_locks_out_nobody_elsewhere(desk: Desk) -> None:
    """The limit is of one account from one address: its owner comes in from another."""
    await desk.add()
    for n in range(10):
        with pytest.raises(Unauthorized):
            await desk.accounts.sign_in("ada@example.org", f"wrong {n}", HERE)
    with pytest.raises(TooManyRequests) as no:
        await desk.accounts.sign_in("ada@example.org", PASSWORD, HERE)
    assert no.value.retry_after_s >= 1
    assert await desk.accounts.sign_in("ada@example.org", PASSWORD, THERE)


async def test_who_is_known_passes_the_limit(desk: Desk) -> None:
    """A program whose password was right within the minute is not stopped by somebody who guesses beside it."""
    ada = await desk.add()
    shown = await credential(desk, ada, "basic")
    assert await holds(desk, shown)
    for n in range(10):
        with pytest.raises(Unauthorized):
            await desk.accounts.sign_in(ada.email, f"wrong {n}", HERE)
    desk.clock.now_s += 30
    assert await holds(desk, shown)
    assert await desk.accounts.sign_in(ada.email, PASSWORD, HERE) == ada


async def test_somebody_and_nobody_cost_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One verification for a wrong password, one where there is no account, none for what is too long."""
    ada, asked = await desk.add(), []
    monkeypatch.setattr(argon2.PasswordHasher, "verify", lambda _hasher, stored, _password: asked.append(stored))
    counts = []
    for email, password in ((ada.email, "wrong"), ("bob@example.org", "wrong"), (ada.email, "x" * 1_000_000)):
        with pytest.raises(Unauthorized):
            await desk.accounts.sign_in(email, password, HERE)
        counts.append(len(asked))
    assert counts == [1, 2, 2]


@pytest.mark.slow
async def test_the_time_of_a_refusal(tmp_path: Path) -> None:
    """With hashes of full strength: both are refused, and the medians are printed (pytest -s) to be looked at."""
    took: dict[str, list[float]] = {"ada@example.org": [], "bob@example.org": []}
    async with a_desk(tmp_path, login_rate="off", memory_kib=19 * 1024) as desk:
        await desk.add()
        for n in range(20):
            for email, times in took.items():
                started = time.perf_counter()
                with pytest.raises(Unauthorized):
                    await desk.accounts.sign_in(email, f"wrong {n}", f"192.0.2.{n}")
                times.append((time.perf_counter() - started) * 1000)
    for email, times in took.items():
        print(f"{email}: median {statistics.median(times):.2f} ms, {min(times):.2f} to {max(times):.2f}")


async def test_a_weaker_hash_is_made_anew(tmp_path: Path) -> None:
    """At the first sign-in after the parameters changed; the password stays, and what it opened goes on."""
    async with a_desk(tmp_path) as weaker:
        before = await weaker.add()
        session = await credential(weaker, before, "session")
    async with a_desk(tmp_path, memory_kib=2 * WEAK_KIB) as desk:
        for _ in range(2):
            assert await desk.accounts.sign_in(before.email, PASSWORD, HERE)
        after = await desk.accounts.get(before.id)
        assert argon2.extract_parameters(after.password_hash).memory_cost == 2 * WEAK_KIB
        assert replace(after, password_hash=before.password_hash) == before
        assert await holds(desk, session)
