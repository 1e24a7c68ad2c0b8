"""Accounts: the facade everybody calls. Signing in, credentials to identities, and what changes an account."""

import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from service.accounts import keys, passwords
from service.accounts.emails import normalised, spelled
from service.accounts.identity import Identity
from service.accounts.passwords import Passwords
from service.accounts.rates import Rate
from service.accounts.remembered import Remembered
from service.errors import GlimtError, InvalidField, NotFound, Unauthorized
from service.store.tokens import MAX_NAME_CHARS as MAX_TOKEN_NAME_CHARS
from service.store.tokens import Kind, Token, TokenStore
from service.store.users import MAX_EMAIL_CHARS, MAX_NAME_CHARS, UNUSABLE, Role, User, UserStore

DEMO_EMAIL, DEMO_PASSWORD = "admin@example.com", "admin"

_KNOWN_S = 5.0
"""How long an identity is taken as read before. What is changed through this process counts at once; what another
process changes in a shared database, after this time."""
_KNOWN = 4096
_USED_EVERY_S = 60.0
"""`last_used_at` is this exact: not every request shall be a write."""
_MIN_NAME_CHARS = 2


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request showed. `kind` session, bearer (a JWT or a personal token) or basic (`name:password`)."""

    kind: str
    value: str


class Accounts:
    """Everything about accounts. Reads and writes raise StoreBusy; writes also StoreFull and Draining."""

    def __init__(
        self,
        users: UserStore,
        tokens: TokenStore,
        passwords: Passwords,
        signer: keys.Signer,
        *,
        login_rate: Rate,
        address_rate: Rate,
        session_life: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users = users
        self._tokens = tokens
        self._passwords = passwords
        self._signer = signer
        self._login_rate = login_rate
        self._address_rate = address_rate
        self._session_life = session_life
        self._key = secrets.token_bytes(32)
        self._known = Remembered[bytes, Identity](_KNOWN, _KNOWN_S, clock)
        self.changes = 0  # so many since the start, for those who must notice one
        self._used = Remembered[int, bool](_KNOWN, _USED_EVERY_S, clock)

    # Who is it

    async def identify(self, credential: Credential, address: str) -> Identity:
        """Whose credential it is; `address` is who shows it, for the limits. Raises Unauthorized, TooManyRequests."""
        key = hmac.digest(
            self._key, f"{credential.kind} {credential.value}".encode(errors="surrogatepass"), hashlib.sha256
        )
        if known := self._known.get(key):
            return known
        before = self.changes
        identity = await self._identify(credential, address)
        if identity is None:
            raise Unauthorized()
        if self.changes == before:  # else it may have been read before the change
            self._known.put(key, identity)
        return identity

    def changed(self) -> None:
        """Accounts were changed: nothing that was read before counts any more."""
        self.changes += 1
        self._known.clear()

    async def _identify(self, credential: Credential, address: str) -> Identity | None:
        if credential.kind == "basic":
            email, _, password = credential.value.partition(":")
            user = await self.sign_in(email, password, address)
            return Identity(user, user.role, "basic")
        if credential.kind == "session":
            return await self._by_secret(credential.value, "session")
        if credential.value.startswith(keys.TOKEN_PREFIX):
            return await self._by_secret(credential.value, "token")
        return await self._by_jwt(credential.value)

    async def _by_secret(self, secret: str, kind: Kind) -> Identity | None:
        found = await self._tokens.find(keys.digest(secret), kind)
        if found is None:
            return None
        token, user = found
        await self._note_use(token.id)
        return Identity(user, user.role, kind)

    async def _by_jwt(self, token: str) -> Identity | None:
        claims = self._signer.read(token)
        if claims is None:
            return None
        subject, version = claims
        if subject == keys.LOCAL:
            return Identity(None, "admin", "key")
        user = await self._users.get(int(subject))
        if user is None or user.token_version != version:
            return None
        return Identity(user, user.role, "bearer")

    async def _note_use(self, token_id: int) -> None:
        if self._used.get(token_id):
            return
        self._used.put(token_id, True)
        with suppress(GlimtError):  # a full disk must not lock anybody out
            await self._tokens.used(token_id)

    # Signing in and out

    async def sign_in(self, email: str, password: str, address: str) -> User:
        """The account with this address and password.

        Raises Unauthorized after the same time for a wrong password and for an address nobody has; TooManyRequests
        before any check when too many were wrong; Unavailable when too many are being checked.
        """
        if not email.isprintable() or len(email) > MAX_EMAIL_CHARS or len(password) > passwords.MAX_CHARS:
            raise Unauthorized()
        email = spelled(email)
        user = await self._users.by_email(email)
        if user and self._passwords.knows(user, password):
            return user
        if self._passwords.is_checking(user, email, password):  # many that say the same at once are one guess
            return await self._check(user, email, password)
        async with self._login_rate.guess(email, address), self._address_rate.guess(address):
            user = await self._check(user, email, password)
        if self._passwords.is_outdated(user.password_hash):
            with suppress(GlimtError):
                await self._users.rehash(user.id, user.password_hash, await self._passwords.hash(password))
        return user

    async def _check(self, user: User | None, email: str, password: str) -> User:
        if not await self._passwords.check(user, email, password) or user is None:
            raise Unauthorized()
        return user

    def token_for(self, user: User) -> str:
        """A JWT for half an hour."""
        return self._signer.sign_for(user)

    async def open_session(self, user: User, browser: str, replaces: str | None) -> str:
        """A session's secret, for the cookie; the one the browser had before ends. Raises Conflict when the account was
        deleted or got another password since `user` was read."""
        secret = keys.new_secret()
        until = datetime.now(UTC) + self._session_life
        await self._tokens.add(user, "session", browser[:100] or "a browser", keys.digest(secret), until)
        if replaces:
            await self.close_session(replaces)
        return secret

    async def session_id(self, secret: str) -> int | None:
        """Which of the account's sessions has this secret; None when it has ended."""
        found = await self._tokens.find(keys.digest(secret), "session")
        return found[0].id if found else None

    async def close_session(self, secret: str) -> None:
        """Sign out; twice is once."""
        await self._tokens.forget(keys.digest(secret), "session")
        self.changed()

    async def sign_out_everywhere(self, user_id: int) -> None:
        """End every session and JWT of the account. Personal tokens stay: each is revoked by name."""
        await self._tokens.end_all(user_id, "session")
        self.changed()

    # Accounts

    async def create(self, *, name: str, email: str, password: str, role: Role = "user") -> User:
        """A new account. Raises InvalidField, EmailTaken."""
        name, email = check_name(name), normalised(email)
        passwords.check_new(password)
        return await self._users.add(
            email=email, name=name, password_hash=await self._passwords.hash(password), role=role
        )

    async def register(self, *, name: str, email: str, password: str, address: str) -> User:
        """A new account that somebody makes for himself. Counted as a wrong password from this address is: neither
        shall be tried without end. Raises TooManyRequests, InvalidField, EmailTaken."""
        await self._address_rate.take(address)
        return await self.create(name=name, email=email, password=password)

    async def get(self, user_id: int) -> User:
        """The account. Raises NotFound."""
        user = await self._users.get(user_id)
        if user is None:
            raise NotFound("There is no such account.")
        return user

    def list(self, after: int = 0) -> AsyncGenerator[User, None]:
        """All of them, or those behind the one with this id; the oldest first."""
        return self._users.list(after)

    async def set_role(self, user_id: int, role: Role) -> User:
        """Raises NotFound, and Conflict for the last admin."""
        user = await self._users.set_role(user_id, role)
        self.changed()
        if user is None:
            raise NotFound("There is no such account.")
        return user

    async def change_password(self, user: User, old: str, new: str, address: str) -> User:
        """One's own; the account as it is now. Sessions and JWTs end. Raises Unauthorized and TooManyRequests as
        `sign_in`, InvalidField, and Conflict when somebody else changes it at the same time."""
        passwords.check_new(new)
        user = await self.sign_in(user.email, old, address)
        return await self._set_password(user.id, new, "session", seen=user)

    async def reset_password(self, user_id: int, new: str | None = None) -> str:
        """An admin's way: the new password, a random one if none is given. Everything of the account that could sign
        in ends, personal tokens too. Raises NotFound, InvalidField."""
        new = new if new is not None else passwords.random_password()
        passwords.check_new(new)
        await self._set_password(user_id, new, "session", "token")
        return new

    async def _set_password(self, user_id: int, new: str, *ends: Kind, seen: User | None = None) -> User:
        password_hash = await self._passwords.hash(new)
        user = await self._tokens.end_all(user_id, *ends, password_hash=password_hash, seen=seen)
        self.changed()
        if user is None:
            raise NotFound("There is no such account.")
        return user

    # Personal tokens

    async def create_token(self, user: User, name: str, expires_at: datetime | None = None) -> tuple[str, Token]:
        """The secret, which is never shown again, and what is kept. Raises InvalidField; Conflict at too many, and when
        the account was deleted or got another password since `user` was read."""
        if not name.strip() or len(name) > MAX_TOKEN_NAME_CHARS or not name.isprintable():
            raise InvalidField(f"name must have 1 to {MAX_TOKEN_NAME_CHARS} printable characters.")
        secret = keys.new_secret(keys.TOKEN_PREFIX)
        return secret, await self._tokens.add(user, "token", name.strip(), keys.digest(secret), expires_at)

    async def tokens(self, user_id: int) -> tuple[Token, ...]:
        """The account's personal tokens, newest first."""
        return await self._tokens.list(user_id, "token")

    async def sessions(self, user_id: int) -> tuple[Token, ...]:
        """The account's sessions, newest first."""
        return await self._tokens.list(user_id, "session")

    async def revoke_token(self, token_id: int, user_id: int) -> None:
        """End a personal token or a session of the account. Raises NotFound."""
        removed = await self._tokens.remove(token_id, user_id)
        self.changed()
        if not removed:
            raise NotFound("There is no such token of yours.")

    # The first accounts

    async def needs_admin(self) -> bool:
        """Whether there is no admin."""
        return not await self._users.has_admin()

    async def prepare_demo(self, wanted: bool) -> None:
        """The account that tutorials hard-code, admin@example.com with the password admin: there when it is wanted,
        and when not, then without a password that everybody knows."""
        user = await self._users.by_email(DEMO_EMAIL)
        if wanted and user is None:
            password_hash = await self._passwords.hash(DEMO_PASSWORD)
            await self._users.add(email=DEMO_EMAIL, name="Admin", password_hash=password_hash, role="admin")
        elif wanted and user and user.password_hash == UNUSABLE:
            await self._set_password(user.id, DEMO_PASSWORD)
        elif not wanted and user and await self._passwords.check(user, user.email, DEMO_PASSWORD):
            await self._tokens.end_all(user.id, "session", "token", password_hash=UNUSABLE)


def check_name(name: str) -> str:
    """A person's name, without blanks around it. Raises InvalidField."""
    name = name.strip()
    if not _MIN_NAME_CHARS <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise InvalidField(f"name must have {_MIN_NAME_CHARS} to {MAX_NAME_CHARS} printable characters.")
    return name
