"""Passwords: hashed with argon2id in a thread of their own, and not again for a minute after they were right."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import TypeVar

import argon2

from service.accounts.remembered import Remembered
from service.errors import InvalidField, Unavailable
from service.store.users import UNUSABLE, User

T = TypeVar("T")

MIN_CHARS = 8
"""NIST SP 800-63B, 5.1.1.2."""
MAX_CHARS = 200
"""Long enough for any sentence; more would only be work for the hash."""

_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
"""OWASP's password storage cheat sheet: argon2id with m = 19 MiB, t = 2, p = 1."""
_REMEMBERED_S = 60.0
_REMEMBERED = 1024
_MAX_WAITING = 128
"""Each takes some 25 ms of the one thread: the last of these waits three seconds."""


class Passwords:
    """`async with Passwords() as passwords`. One thread, so that sign-ins never take more than one core."""

    def __init__(self, *, memory_kib: int = _MEMORY_KIB, clock: Callable[[], float] = time.monotonic) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=_PASSES, memory_cost=memory_kib, parallelism=_LANES)
        self._key = secrets.token_bytes(32)
        self._right = Remembered[bytes, bool](_REMEMBERED, _REMEMBERED_S, clock)
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._waiting = 0

    async def __aenter__(self) -> "Passwords":
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="glimt-passwords")
        self._nobodys = await self.hash(secrets.token_urlsafe())
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)  # whoever asked has left by now
        await asyncio.to_thread(self._thread.shutdown)
        await asyncio.gather(*self._checking.values(), return_exceptions=True)

    async def hash(self, password: str) -> str:
        """What to store. Raises Unavailable at once when too many passwords wait."""
        return await self._run(partial(self._hasher.hash, _bytes(password)))

    def knows(self, user: User, password: str) -> bool:
        """Whether it was right within the last minute, and nothing was changed since."""
        return bool(self._right.get(self._fingerprint(user, user.email, password)))

    def is_checking(self, user: User | None, email: str, password: str) -> bool:
        """Whether the same question is being answered now."""
        return self._fingerprint(user, email, password) in self._checking

    async def check(self, user: User | None, email: str, password: str) -> bool:
        """Whether it is this user's password; nobody's is never right, and takes as long. Raises as `hash` does.

        Those who ask the same at the same time are told the same result. Cancelled, the work is done all the same.
        """
        key = self._fingerprint(user, email, password)
        if key not in self._checking:
            stored = user.password_hash if user and user.password_hash != UNUSABLE else self._nobodys
            self._checking[key] = asyncio.create_task(self._run(partial(self._matches, stored, password)))
            self._checking[key].add_done_callback(partial(self._checked, key))
        right = await asyncio.shield(self._checking[key]) and user is not None
        if right:
            self._right.put(key, True)
        return right

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, _bytes(password))
        except argon2.exceptions.VerificationError:
            return False

    def _checked(self, key: bytes, task: "asyncio.Task[bool]") -> None:
        del self._checking[key]
        if not task.cancelled():
            task.exception()  # asked for here too: perhaps everybody who waited has left

    def _fingerprint(self, user: User | None, email: str, password: str) -> bytes:
        """Not to be computed by who reads memory without the key; another one after each change of the account.

        Nobodies differ as accounts do: else two sign-ins at once, sharing one check, would show that there is none.
        """
        who = f"{user.id} {user.token_version} {user.password_hash}" if user else f"nobody {email}"
        return hmac.digest(self._key, _bytes(f"{who}\0{password}"), hashlib.sha256)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= _MAX_WAITING:
            raise Unavailable(
                f"{self._waiting} passwords are being checked already; try again shortly.", retry_after_s=3
            )
        self._waiting += 1
        task = asyncio.get_running_loop().run_in_executor(self._thread, work)
        task.add_done_callback(self._done)
        return await task

    def _done(self, _task: object) -> None:
        self._waiting -= 1


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # a command line may hold what is no Unicode


def check_new(password: str, *, least: int = MIN_CHARS) -> None:
    """Raises InvalidField for a password that should not be taken."""
    if not least <= len(password) <= MAX_CHARS:
        raise InvalidField(f"password must have {least} to {MAX_CHARS} characters; this one has {len(password)}.")


def random_password() -> str:
    """100 bits, in groups that can be read aloud."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))
