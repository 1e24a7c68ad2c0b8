"""Other people's accounts, as a page for admins: plain forms. A password that was made is on the answer, this once."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, get_args

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.templating import Jinja2Templates

from service.accounts.accounts import Accounts, check_name
from service.accounts.emails import normalised
from service.accounts.passwords import random_password
from service.errors import Conflict, EmailTaken, GlimtError, InvalidField
from service.http.access import identity_of, name_of
from service.http.account_pages import LIMITS
from service.http.accounts import delete_account
from service.http.forms import PeopleQuery, PersonForm, RoleForm
from service.http.operation import GO, PAGE, WRITE_ERRORS, Operation, form
from service.http.presentation import Wrong
from service.http.problems import error_headers
from service.http.sessions import NOT_STORED, go
from service.http.uploads import read_fields
from service.store.belongings import Belongings
from service.store.feedback import MAX_ID
from service.store.users import Role, User

PEOPLE_PER_PAGE = 100
ROLES: tuple[Role, ...] = get_args(Role)
DONE = {"role": "The role is changed.", "deleted": "The account is deleted, with everything that belonged to it."}
"""What the page says first, by the `done` in its address."""

log = structlog.get_logger()


class PeoplePages:
    """The endpoints and what they need."""

    def __init__(self, accounts: Accounts, belongings: Belongings, templates: Jinja2Templates) -> None:
        self._accounts = accounts
        self._belongings = belongings
        self._templates = templates

    @Operation("page", PAGE, query=PeopleQuery)
    async def people(self, request: Request) -> Response:
        """A page of accounts, the oldest first; `after` is the last one of the page before."""
        return await self._page(request)

    @Operation("page", PAGE, body=form(PersonForm), errors=(InvalidField, EmailTaken, *WRITE_ERRORS))
    async def create(self, request: Request) -> Response:
        """Make an account by form `name`, `email`, `role`: it gets a password of ours, shown this once."""
        form, password = await read_fields(request), random_password()
        at = "name"
        try:
            name = check_name(form.get("name", ""))
            at = "email"
            email = normalised(form.get("email", ""))
            at = "role"
            user = await self._accounts.create(name=name, email=email, password=password, role=_role(form))
        except GlimtError as error:
            at = "email" if isinstance(error, EmailTaken) else at
            return await self._page(request, Wrong(at, error.detail, error), form=form)
        log.info("account created", user=user.id, role=user.role, by=name_of(request))
        return await self._page(request, password=password, whose=user)

    @Operation("page", GO, body=form(RoleForm), errors=(InvalidField, Conflict, *WRITE_ERRORS))
    async def set_role(self, request: Request) -> Response:
        """Change what somebody may do, by form `role`."""
        user, role = await self._person(request), _role(await read_fields(request))
        try:
            await self._accounts.set_role(user.id, role)
        except Conflict as error:
            return await self._page(request, Wrong("person", error.detail, error))
        log.info("role changed", user=user.id, role=role, by=name_of(request))
        return go("/people?done=role")

    @Operation("page", PAGE, errors=WRITE_ERRORS)
    async def reset_password(self, request: Request) -> Response:
        """Give somebody a new password of ours, shown this once; everything of the account that could sign in ends."""
        user = await self._person(request)
        password = await self._accounts.reset_password(user.id)
        log.info("password reset", user=user.id, by=name_of(request))
        return await self._page(request, password=password, whose=user)

    @Operation("page", GO, errors=(Conflict, *WRITE_ERRORS))
    async def delete(self, request: Request) -> Response:
        """Delete somebody's account with all its data."""
        user = await self._person(request)
        try:
            await delete_account(self._accounts, self._belongings, user)
        except Conflict as error:
            return await self._page(request, Wrong("person", error.detail, error))
        log.info("account deleted", user=user.id, by=name_of(request))
        return go("/people?done=deleted")

    async def _person(self, request: Request) -> User:
        return await self._accounts.get(request.path_params["user_id"])

    async def _page(self, request: Request, wrong: Wrong | None = None, **context: Any) -> Response:
        people = await self._some(_after(request.query_params.get("after", "")))
        identity = identity_of(request)
        status, headers = (wrong.error.status, error_headers(wrong.error)) if wrong else (200, {})
        content = {
            "people": people[:PEOPLE_PER_PAGE],
            "more": people[PEOPLE_PER_PAGE - 1].id if len(people) > PEOPLE_PER_PAGE else None,
            "myself": identity.user.id if identity and identity.user else None,
            "roles": ROLES,
            "limits": LIMITS,
            "wrong": wrong,
            "done": None if wrong else DONE.get(request.query_params.get("done", "")),
            "form": {},
        }
        return self._templates.TemplateResponse(request, "people.html", content | context, status, headers | NOT_STORED)

    async def _some(self, after: int) -> list[User]:
        """A page of them and, if there are more, one of those."""
        people: list[User] = []
        async with aclosing(self._accounts.list(after)) as everybody:
            async for user in everybody:
                people.append(user)
                if len(people) > PEOPLE_PER_PAGE:
                    break
        return people


def _after(text: str) -> int:
    return min(int(text), MAX_ID) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _role(form: Mapping[str, str]) -> Role:
    """The form's role. Raises InvalidField."""
    for role in ROLES:
        if form.get("role", "user") == role:
            return role
    raise InvalidField(f"role must be {' or '.join(ROLES)}.")
