"""Accounts over HTTP, for programs: signing in, one's own account and tokens, and other people's for admins."""

from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from service.accounts.accounts import Accounts
from service.accounts.passwords import MAX_CHARS as MAX_PASSWORD_CHARS
from service.accounts.passwords import MIN_CHARS as MIN_PASSWORD_CHARS
from service.errors import Conflict, EmailTaken, Forbidden, GlimtError, InvalidField, NotFound, Unauthorized
from service.http.access import caller_of, identity_of, name_of, user_of
from service.http.account_documents import AccessToken, Account, ExportLine, MadePassword, MadeToken, PersonalToken
from service.http.documents import EMAIL, example
from service.http.forms import LoginForm
from service.http.json_answer import json_answer
from service.http.json_body import read_model
from service.http.operation import JSON, NDJSON, WRITE_ERRORS, Operation, form
from service.http.sessions import NOT_STORED
from service.http.uploads import read_fields
from service.store.belongings import Belongings
from service.store.feedback import MAX_ID
from service.store.tokens import MAX_NAME_CHARS as MAX_TOKEN_NAME_CHARS
from service.store.tokens import Token
from service.store.users import MAX_EMAIL_CHARS, MAX_NAME_CHARS, Role, User

MAX_BODY_BYTES = 16 * 1024
MAX_TOKEN_DAYS = 3650

log = structlog.get_logger()


class NewUser(BaseModel):
    """The JSON of POST /user/."""

    model_config = ConfigDict(strict=True, extra="forbid") | example(
        {"name": "Grace", "email": "grace@example.org", "password": "a long sentence"}
    )

    name: str = Field(min_length=2, max_length=MAX_NAME_CHARS)
    email: str = Field(max_length=MAX_EMAIL_CHARS, json_schema_extra=EMAIL)
    password: str = Field(min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS)
    role: Role = Field("user", description="Anything but user is for admins to give.")


class UserChange(BaseModel):
    """The JSON of PATCH /user/{id}."""

    model_config = ConfigDict(strict=True, extra="forbid") | example({"role": "admin"})

    role: Role


class NewPassword(BaseModel):
    """The JSON of PUT /api/me/password."""

    model_config = ConfigDict(strict=True, extra="forbid") | example({"old": "correct horse", "new": "battery staple"})

    old: str = Field(max_length=MAX_PASSWORD_CHARS)
    new: str = Field(min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS)


class PasswordReset(BaseModel):
    """The JSON of PUT /user/{id}/password. Without `password` a random one is made."""

    model_config = ConfigDict(strict=True, extra="forbid") | example({"password": "battery staple"}, {})

    password: str | None = Field(None, min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS)


class NewToken(BaseModel):
    """The JSON of POST /api/tokens."""

    model_config = ConfigDict(strict=True, extra="forbid") | example({"name": "nightly run", "days": 90})

    name: str = Field(min_length=1, max_length=MAX_TOKEN_NAME_CHARS)
    days: int | None = Field(None, ge=1, le=MAX_TOKEN_DAYS, description="Until it expires; never if absent.")


class AccountEndpoints:
    """The endpoints and what they need."""

    def __init__(self, accounts: Accounts, belongings: Belongings, *, registers: bool) -> None:
        self._accounts = accounts
        self._belongings = belongings
        self._registers = registers

    @Operation("accounts", {200: {JSON: AccessToken}}, body=form(LoginForm), errors=(InvalidField, *WRITE_ERRORS))
    async def login(self, request: Request) -> Response:
        """Sign in: form `username` (the e-mail address) and `password` -> a JWT for half an hour."""
        fields = await read_fields(request)
        email, password = fields.get("username", ""), fields.get("password", "")
        if not email or not password:
            raise InvalidField("The form must have username (the e-mail address) and password.")
        if len(email) > MAX_EMAIL_CHARS or len(password) > MAX_PASSWORD_CHARS:
            raise InvalidField(
                f"username has at most {MAX_EMAIL_CHARS} characters, password at most {MAX_PASSWORD_CHARS}."
            )
        try:
            user = await self._accounts.sign_in(email, password, caller_of(request))
        except Unauthorized:
            raise Unauthorized("The e-mail address or the password is wrong.") from None
        return json_answer({"access_token": self._accounts.token_for(user), "token_type": "bearer"}, headers=NOT_STORED)

    @Operation("accounts", {201: {JSON: Account}}, body={JSON: NewUser}, errors=(EmailTaken, *WRITE_ERRORS))
    async def create_user(self, request: Request) -> Response:
        """Make an account. Who may: anybody where people register themselves, else admins."""
        identity = identity_of(request)
        by_admin = identity is not None and identity.is_admin
        if not by_admin and not self._registers:
            raise Forbidden("Accounts are made by admins here.")
        new = await read_model(request, NewUser, max_bytes=MAX_BODY_BYTES, about="An account")
        if new.role != "user" and not by_admin:
            raise Forbidden("Only an admin can make an admin.")
        user = await (self._accounts.create(**new.model_dump()) if by_admin else self._registered(request, new))
        log.info("account created", user=user.id, role=user.role, by=name_of(request))
        return json_answer(public_user(user), 201)

    @Operation("accounts", {200: {JSON: list[Account]}})
    async def list_users(self, request: Request) -> Response:
        """List all accounts, the oldest first."""
        return json_answer([public_user(user) async for user in self._accounts.list()])

    @Operation("accounts", {200: {JSON: Account}})
    async def read_user(self, request: Request) -> Response:
        """Read one account: one's own, or for an admin any."""
        return json_answer(public_user(await self._reachable(request)))

    @Operation("accounts", {200: {JSON: Account}}, body={JSON: UserChange}, errors=(Conflict, *WRITE_ERRORS))
    async def change_user(self, request: Request) -> Response:
        """Make somebody an admin, or no longer one."""
        user = await self._reachable(request)
        change = await read_model(request, UserChange, max_bytes=MAX_BODY_BYTES, about="A change")
        changed = await self._accounts.set_role(user.id, change.role)
        log.info("role changed", user=user.id, role=change.role, by=name_of(request))
        return json_answer(public_user(changed))

    @Operation("accounts", {200: {JSON: MadePassword}}, body={JSON: PasswordReset}, errors=WRITE_ERRORS)
    async def reset_password(self, request: Request) -> Response:
        """Give an account another password; everything of the account that could sign in ends."""
        user = await self._reachable(request)
        reset = await read_model(request, PasswordReset, max_bytes=MAX_BODY_BYTES, about="A password")
        password = await self._accounts.reset_password(user.id, reset.password)
        log.info("password reset", user=user.id, by=name_of(request))
        return json_answer({"password": password}, headers=NOT_STORED)

    @Operation("accounts", {204: {}}, errors=(Conflict, *WRITE_ERRORS))
    async def delete_user(self, request: Request) -> Response:
        """Delete an account with all its data: one's own, or for an admin any."""
        user = await self._reachable(request)
        await delete_account(self._accounts, self._belongings, user)
        log.info("account deleted", user=user.id, by=name_of(request))
        return Response(status_code=204)

    @Operation("accounts", {200: {JSON: Account}})
    async def me(self, request: Request) -> Response:
        """Read one's own account."""
        return json_answer(public_user(user_of(request)))

    @Operation("accounts", {200: {NDJSON: ExportLine}})
    async def export(self, request: Request) -> Response:
        """Download all that is kept of one: the account, its tokens and sessions, feedback and history, a line each."""
        headers = NOT_STORED | {"Content-Disposition": 'attachment; filename="glimt-my-data.ndjson"'}
        return StreamingResponse(_to_the_end(self._belongings.export(user_of(request))), 200, headers, NDJSON)

    @Operation("accounts", {204: {}}, errors=(Conflict, *WRITE_ERRORS))
    async def delete_me(self, request: Request) -> Response:
        """Delete one's own account with all its data. Not with a session, as browsers have: 403."""
        user, identity = user_of(request), identity_of(request)
        if identity and identity.proof == "session":  # a browser left open for a minute shall not be enough
            raise Forbidden("In a browser an account is deleted on its page, /account, with its password.")
        await delete_account(self._accounts, self._belongings, user)
        log.info("account deleted", user=user.id, by="itself")
        return Response(status_code=204)

    @Operation("accounts", {204: {}}, body={JSON: NewPassword}, errors=(Conflict, NotFound, *WRITE_ERRORS))
    async def change_password(self, request: Request) -> Response:
        """Change one's own password; sessions and JWTs end. A wrong `old` is a 422, and counts as a wrong password."""
        user = user_of(request)
        change = await read_model(request, NewPassword, max_bytes=MAX_BODY_BYTES, about="A password")
        try:
            await self._accounts.change_password(user, change.old, change.new, caller_of(request))
        except Unauthorized:
            raise InvalidField("old: this is not your password.") from None
        return Response(status_code=204)

    @Operation("accounts", {204: {}}, errors=WRITE_ERRORS)
    async def sign_out_everywhere(self, request: Request) -> Response:
        """End one's sessions and JWTs. Personal tokens stay."""
        await self._accounts.sign_out_everywhere(user_of(request).id)
        return Response(status_code=204)

    @Operation("accounts", {200: {JSON: list[PersonalToken]}})
    async def list_tokens(self, request: Request) -> Response:
        """List one's personal tokens, newest first, without their secrets."""
        return json_answer([public_token(token) for token in await self._accounts.tokens(user_of(request).id)])

    @Operation("accounts", {201: {JSON: MadeToken}}, body={JSON: NewToken}, errors=(Conflict, *WRITE_ERRORS))
    async def create_token(self, request: Request) -> Response:
        """Make a personal token, whose secret is shown this once."""
        user = user_of(request)
        new = await read_model(request, NewToken, max_bytes=MAX_BODY_BYTES, about="A token")
        expires = datetime.now(UTC) + timedelta(days=new.days) if new.days else None
        secret, token = await self._accounts.create_token(user, new.name, expires)
        return json_answer(public_token(token) | {"token": secret}, 201, headers=NOT_STORED)

    @Operation("accounts", {204: {}}, errors=WRITE_ERRORS)
    async def revoke_token(self, request: Request) -> Response:
        """Revoke a personal token: it ends at once."""
        await self._accounts.revoke_token(request.path_params["token_id"], user_of(request).id)
        return Response(status_code=204)

    def _registered(self, request: Request, new: NewUser) -> Awaitable[User]:
        who = new.model_dump(exclude={"role"})
        return self._accounts.register(**who, address=caller_of(request))

    async def _reachable(self, request: Request) -> User:
        """The account in the path, if who asks may know of it. Raises NotFound."""
        identity, wanted = identity_of(request), request.path_params["user_id"]
        own = identity is not None and identity.user is not None and identity.user.id == wanted
        if wanted > MAX_ID or identity is None or not (own or identity.is_admin):
            raise NotFound("There is no such account.")
        return await self._accounts.get(wanted)


async def delete_account(accounts: Accounts, belongings: Belongings, user: User) -> None:
    """The account with all its data, and what is known of it, at once. Raises Conflict for the last admin."""
    try:
        await belongings.remove(user)
    finally:  # the account goes first, and its pictures may fail to
        accounts.changed()


def public_user(user: User) -> dict[str, Any]:
    """What anybody who may see the account sees of it."""
    return {"id": user.id, "name": user.name, "email": user.email, "role": user.role, "created_at": user.created_at}


def public_token(token: Token) -> dict[str, Any]:
    """What its owner sees of it later."""
    return {
        "id": token.id,
        "name": token.name,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "expires_at": token.expires_at,
    }


async def _to_the_end(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines and one that says whether they are all: after the first an error has no other place."""
    end: dict[str, Any] = {"type": "end", "done": True}
    try:
        async for line in lines:
            yield line
    except GlimtError as error:
        end |= {"done": False, "code": error.code, "detail": error.detail}
    yield orjson.dumps(end) + b"\n"
