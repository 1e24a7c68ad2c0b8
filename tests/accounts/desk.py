"""A real Accounts on a real database, with weak hashes and a clock that is set by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from service.accounts.accounts import Accounts, Credential
from service.accounts.keys import Signer
from service.accounts.passwords import Passwords
from service.accounts.rates import Rate
from service.errors import Unauthorized
from service.store.database import Database
from service.store.tokens import TokenStore
from service.store.users import Role, User, UserStore
from tests.world import PASSWORD, WEAK_KIB, make_database

HERE, THERE = "192.0.2.1", "192.0.2.2"
KINDS = ("session", "bearer", "token", "basic")
KEY = b"k" * 32
UNHASHED = "no hash at all"
"""Of an account whose password nobody asks for."""


class Clock:
    """What time it is, until somebody says otherwise."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Desk:
    """Accounts, and what it was made of."""

    def __init__(
        self, db: Database, clock: Clock, passwords: Passwords, login_rate: str, tokens: TokenStore | None
    ) -> None:
        self.clock = clock
        self.users = UserStore(db)
        self.tokens = tokens or TokenStore(db)
        self.passwords = passwords
        self.signer = Signer(KEY)
        self.accounts = Accounts(
            self.users,
            self.tokens,
            passwords,
            self.signer,
            login_rate=Rate(login_rate, "wrong passwords for one account from one address"),
            address_rate=Rate("40/hour", "wrong passwords from one address"),
            session_life=timedelta(days=14),
            clock=clock,
        )

    async def add(self, name: str = "ada", role: Role = "user") -> User:
        """The account <name>@example.org with PASSWORD."""
        return await self.accounts.create(name=name, email=f"{name}@example.org", password=PASSWORD, role=role)


@asynccontextmanager
async def a_desk(
    folder: Path, *, login_rate: str = "10/minute", memory_kib: int = WEAK_KIB, tokens: type[TokenStore] = TokenStore
) -> AsyncIterator[Desk]:
    """The same folder is the same database."""
    clock = Clock()
    async with (
        make_database(folder) as db,
        Passwords(memory_kib=memory_kib, clock=clock) as passwords,
    ):
        yield Desk(db, clock, passwords, login_rate, tokens(db))


async def credential(desk: Desk, user: User, kind: str) -> Credential:
    """Of this kind, for this account."""
    if kind == "session":
        return Credential("session", await desk.accounts.open_session(user, "a browser", None))
    if kind == "token":
        return Credential("bearer", (await desk.accounts.create_token(user, "a script"))[0])
    if kind == "basic":
        return Credential("basic", f"{user.email}:{PASSWORD}")
    return Credential("bearer", desk.accounts.token_for(user))


async def holds(desk: Desk, shown: Credential) -> bool:
    """Whether it lets anybody in now."""
    try:
        await desk.accounts.identify(shown, HERE)
    except Unauthorized:
        return False
    return True
