"""Signing in and out, and one's own account, as pages: plain forms, each answered by going to a page."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.accounts.accounts import Accounts, check_name
from service.accounts.emails import normalised
from service.accounts.passwords import MAX_CHARS as MAX_PASSWORD_CHARS
from service.accounts.passwords import MIN_CHARS as MIN_PASSWORD_CHARS
from service.accounts.passwords import check_new
from service.errors import Conflict, EmailTaken, GlimtError, InvalidField, NotFound, Unauthorized
from service.http.access import caller_of, identity_of, session_of, user_of
from service.http.accounts import MAX_TOKEN_DAYS, delete_account
from service.http.forms import DeletionForm, NextQuery, PasswordForm, SignInForm, SignUpForm, TokenForm
from service.http.operation import GO, PAGE, SET_COOKIE, WRITE_ERRORS, Operation, form
from service.http.presentation import Wrong
from service.http.problems import error_headers
from service.http.sessions import NOT_STORED, browser_of, give_session, go, local_path, take_session
from service.http.uploads import read_fields
from service.settings import Settings
from service.store.belongings import Belongings
from service.store.tokens import MAX_NAME_CHARS as MAX_TOKEN_NAME_CHARS
from service.store.users import MAX_EMAIL_CHARS, MAX_NAME_CHARS, User

BAD_LOGIN = "No account has this e-mail address with this password."
BAD_PASSWORD = "This is not your password."
DONE = {
    "password": "Your password is changed. Every other session has ended.",
    "revoked": "The token is revoked: it ended at once.",
    "ended": "The session has ended.",
    "everywhere": "You are signed out everywhere. Personal tokens still hold.",
    "deleted": "Your account is deleted, with everything that belonged to it.",
}
"""What a page says first, by the `done` in its address."""
LIMITS = {
    "max_email": MAX_EMAIL_CHARS,
    "max_name": MAX_NAME_CHARS,
    "min_password": MIN_PASSWORD_CHARS,
    "max_password": MAX_PASSWORD_CHARS,
    "max_token_name": MAX_TOKEN_NAME_CHARS,
    "max_token_days": MAX_TOKEN_DAYS,
}

log = structlog.get_logger()


class AccountPages:
    """The endpoints and what they need."""

    def __init__(
        self, accounts: Accounts, belongings: Belongings, templates: Jinja2Templates, settings: Settings
    ) -> None:
        self._accounts = accounts
        self._belongings = belongings
        self._templates = templates
        self._settings = settings

    # In and out

    @Operation("page", PAGE | GO, query=NextQuery)
    async def sign_in_page(self, request: Request) -> Response:
        """The form to sign in; who is signed in goes on at once."""
        wanted = request.query_params.get("next", "/")
        if identity_of(request):
            return go(local_path(wanted))
        return await self._sign_in_page(request, {"next": wanted})

    @Operation("page", GO, body=form(SignInForm), errors=(InvalidField, *WRITE_ERRORS), sends=(SET_COOKIE,))
    async def sign_in(self, request: Request) -> Response:
        """Sign in by form `email`, `password`, `next`: a new session in the place of the browser's old one."""
        form = await read_fields(request)
        email, password = form.get("email", ""), form.get("password", "")
        try:
            if not email or not password:
                raise InvalidField("Type your e-mail address and your password.")
            user = await self._accounts.sign_in(email, password, caller_of(request))
        except GlimtError as error:
            words = BAD_LOGIN if isinstance(error, Unauthorized) else error.detail
            return await self._sign_in_page(request, form, Wrong("password", words, error))
        return await self._go_signed_in(request, user, form.get("next", "/"))

    @Operation("page", GO, errors=WRITE_ERRORS, sends=(SET_COOKIE,))
    async def sign_out(self, request: Request) -> Response:
        """Sign out: the session ends; without one nothing happens."""
        if session := session_of(request):
            await self._accounts.close_session(session)
        return take_session(request, go("/"))

    @Operation("page", PAGE | GO, query=NextQuery, errors=(NotFound,))
    async def sign_up_page(self, request: Request) -> Response:
        """The form to make an account, where people make them for themselves."""
        self._require_registration()
        if identity_of(request):
            return go("/account")
        return self._render(request, "sign_up.html", form={"next": request.query_params.get("next", "/")})

    @Operation(
        "page",
        GO,
        body=form(SignUpForm),
        errors=(InvalidField, EmailTaken, NotFound, *WRITE_ERRORS),
        sends=(SET_COOKIE,),
    )
    async def sign_up(self, request: Request) -> Response:
        """Sign up by form `name`, `email`, `password`, `next`: an account, and signed in with it."""
        self._require_registration()
        form = await read_fields(request)
        at = "name"
        try:
            name = check_name(form.get("name", ""))
            at = "email"
            email = normalised(form.get("email", ""))
            at = "password"
            check_new(form.get("password", ""))
            user = await self._accounts.register(
                name=name, email=email, password=form["password"], address=caller_of(request)
            )
        except GlimtError as error:
            at = "email" if isinstance(error, EmailTaken) else at
            return self._render(request, "sign_up.html", Wrong(at, error.detail, error), form=form)
        log.info("account created", user=user.id, role=user.role, by="itself")
        return await self._go_signed_in(request, user, form.get("next", "/"))

    def _require_registration(self) -> None:
        if not self._settings.registers:
            raise NotFound("Accounts are made by admins here: ask one for yours.")

    async def _go_signed_in(self, request: Request, user: User, wanted: str) -> Response:
        secret = await self._accounts.open_session(user, browser_of(request), session_of(request))
        return give_session(request, go(local_path(wanted)), secret, self._settings.session_days)

    async def _sign_in_page(self, request: Request, form: Mapping[str, str], wrong: Wrong | None = None) -> Response:
        return self._render(
            request,
            "sign_in.html",
            wrong,
            form=form,
            registers=self._settings.registers,
            needs_admin=await self._accounts.needs_admin(),
        )

    # One's own account

    @Operation("page", PAGE)
    async def account(self, request: Request) -> Response:
        """One's own account: everything about it that its owner may see or change."""
        return await self._account(request)

    @Operation("page", GO, body=form(PasswordForm), errors=(InvalidField, *WRITE_ERRORS), sends=(SET_COOKIE,))
    async def change_password(self, request: Request) -> Response:
        """Change one's password by form `old`, `new`: every session ends, and this browser gets another one."""
        user, form = user_of(request), await read_fields(request)
        old, new = form.get("old", ""), form.get("new", "")
        try:
            user = await self._accounts.change_password(user, old, new, caller_of(request))
        except InvalidField as error:
            return await self._account(request, Wrong("new", error.detail, error))
        except GlimtError as error:
            return await self._account(request, Wrong("old", _own(error), error))
        return await self._go_signed_in(request, user, "/account?done=password")

    @Operation("page", PAGE, body=form(TokenForm), errors=(InvalidField, Conflict, *WRITE_ERRORS))
    async def create_token(self, request: Request) -> Response:
        """Make a token by form `name`, `days` (may be empty): the page with the token's secret on it, this once."""
        user, form = user_of(request), await read_fields(request)
        try:
            days = _days(form.get("days", "").strip())
        except InvalidField as error:
            return await self._account(request, Wrong("days", error.detail, error), form=form)
        expires = datetime.now(UTC) + timedelta(days=days) if days else None
        try:
            secret, token = await self._accounts.create_token(user, form.get("name", ""), expires)
        except GlimtError as error:
            return await self._account(request, Wrong("name", error.detail, error), form=form)
        return await self._account(request, secret=secret, made=token)

    @Operation("page", GO, errors=WRITE_ERRORS)
    async def revoke_token(self, request: Request) -> Response:
        """Revoke a personal token: it ends at once."""
        return await self._revoke(request, "revoked")

    @Operation("page", GO, errors=WRITE_ERRORS)
    async def end_session(self, request: Request) -> Response:
        """End a session, perhaps the one of another browser."""
        return await self._revoke(request, "ended")

    @Operation("page", GO, errors=WRITE_ERRORS, sends=(SET_COOKIE,))
    async def sign_out_everywhere(self, request: Request) -> Response:
        """Sign out everywhere: every session and JWT ends. Personal tokens stay."""
        await self._accounts.sign_out_everywhere(user_of(request).id)
        return take_session(request, go("/sign-in?done=everywhere"))

    @Operation("page", GO, body=form(DeletionForm), errors=(Conflict, *WRITE_ERRORS), sends=(SET_COOKIE,))
    async def delete(self, request: Request) -> Response:
        """Delete one's account by form `password`: the account with all its data."""
        user, form = user_of(request), await read_fields(request)
        try:
            await self._accounts.sign_in(user.email, form.get("password", ""), caller_of(request))
            await delete_account(self._accounts, self._belongings, user)
        except GlimtError as error:
            return await self._account(request, Wrong("password", _own(error), error))
        log.info("account deleted", user=user.id, by="itself")
        return take_session(request, go("/sign-in?done=deleted"))

    async def _revoke(self, request: Request, done: str) -> Response:
        with suppress(NotFound):  # it had ended already: a double click, another tab
            await self._accounts.revoke_token(request.path_params["token_id"], user_of(request).id)
        return go(f"/account?done={done}")

    async def _account(self, request: Request, wrong: Wrong | None = None, **context: Any) -> Response:
        user, session = user_of(request), session_of(request)
        return self._render(
            request,
            "account.html",
            wrong,
            user=user,
            tokens=await self._accounts.tokens(user.id),
            sessions=await self._accounts.sessions(user.id),
            this_session=session and await self._accounts.session_id(session),
            **context,
        )

    def _render(self, request: Request, name: str, wrong: Wrong | None = None, **context: Any) -> Response:
        done = None if wrong else DONE.get(request.query_params.get("done", ""))
        status, headers = (wrong.error.status, error_headers(wrong.error)) if wrong else (200, {})
        content = {"wrong": wrong, "done": done, "limits": LIMITS, "form": {}} | context
        return self._templates.TemplateResponse(request, name, content, status, headers | NOT_STORED)


def _own(error: GlimtError) -> str:
    return BAD_PASSWORD if isinstance(error, Unauthorized) else error.detail


def _days(text: str) -> int | None:
    """Days until a token expires; None is never. Raises InvalidField."""
    if not text:
        return None
    if not (text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MAX_TOKEN_DAYS):
        raise InvalidField(f"days must be a whole number from 1 to {MAX_TOKEN_DAYS}, or empty for no end.")
    return int(text)
