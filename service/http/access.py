"""Who may come in: each route says whom it lets in, and one gate decides. Knows headers, no passwords."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.accounts.accounts import Accounts, Credential
from service.accounts.identity import Identity
from service.accounts.rates import Rate, caller
from service.errors import Forbidden, Unauthorized
from service.store.users import User

SESSION_COOKIE = "glimt_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_CREDENTIAL_CHARS = 4096
FOREIGN = (
    "This request was made by a page of another site, or a proxy in between changes Host. Use this service's own "
    "pages, send a Bearer token, or have the operator name the other site in GLIMT_CORS_ORIGINS."
)
NO_ACCOUNT = "This belongs to an account, and the local key has none: sign in, or use a personal token."

Endpoint = Callable[[Request], Awaitable[Response | ASGIApp]]


class Access(Enum):
    """Whom a route lets in."""

    PUBLIC = "everybody"
    GUEST = "everybody where no login is required, else who is signed in"
    USER = "who is signed in"
    ADMIN = "admins"

    def needs_account(self, login_required: bool) -> bool:
        """Whether nobody comes in without credentials."""
        return self in (Access.USER, Access.ADMIN) or (self is Access.GUEST and login_required)


class Gate:
    """Decides before a handler runs, and leaves who it is in the scope: `identity`, and `owner` for what is stored."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        login_required: bool,
        rate_account: Rate,
        rate_address: Rate,
        origins: Sequence[str] = (),
    ) -> None:
        self._accounts = accounts
        self._login_required = login_required
        self._rate_account = rate_account
        self._rate_address = rate_address
        self._origins = frozenset(origins)

    async def admit(self, scope: Scope, access: Access) -> None:
        """Raises TooManyRequests, Forbidden, or Unauthorized where credentials are missing or do not hold."""
        request = Request(scope)
        self._refuse_foreign(request)
        identity, wrong = None, False
        try:
            identity = await self._identify(request)
        except Unauthorized:
            wrong = True
        scope["identity"] = identity
        scope["owner"] = identity.owner if identity else None
        await self._count(identity, request, access)
        if wrong and access is not Access.PUBLIC:  # who fetches a new token may still send the old one along
            raise Unauthorized()
        self._require(identity, access)

    def watched(self, scope: Scope, receive: Receive, access: Access) -> Receive:
        """`receive` for a body that may be long on its way: once accounts were changed, who sends it is asked for his
        credentials anew before more of it is read. Then it raises as `admit` does."""
        if scope["identity"] is None:
            return receive
        seen = self._accounts.changes

        async def receive_on() -> Message:
            nonlocal seen
            message = await receive()
            if seen != self._accounts.changes and message["type"] == "http.request":
                seen = self._accounts.changes
                await self._ask_again(scope, access)
            return message

        return receive_on

    async def _ask_again(self, scope: Scope, access: Access) -> None:
        identity = await self._identify(Request(scope))
        if identity is None or identity.owner != scope["owner"]:
            raise Unauthorized()
        self._require(identity, access)
        if identity.role != scope["identity"].role:  # a handler may have looked at it already
            raise Forbidden("Your role was changed while this request was under way: send it again.")

    async def _identify(self, request: Request) -> Identity | None:
        address = caller_of(request)
        credential = authorization(request)
        if credential is not None:
            return await self._accounts.identify(credential, address)
        session = session_of(request)
        if session is None:
            return None
        try:
            return await self._accounts.identify(Credential("session", session), address)
        except Unauthorized:  # it has ended: the page goes on as it does for anybody
            return None

    async def _count(self, identity: Identity | None, request: Request, access: Access) -> None:
        """Nothing that a probe asks counts, and nothing that this installation's own key asks."""
        if identity and identity.user:
            await self._rate_account.take("account", identity.user.owner)
        elif identity is None and (access is not Access.PUBLIC or request.method not in SAFE_METHODS):
            await self._rate_address.take("address", caller_of(request))

    def _require(self, identity: Identity | None, access: Access) -> None:
        if identity is None and access.needs_account(self._login_required):
            raise Unauthorized()
        if access is Access.ADMIN and identity and not identity.is_admin:
            raise Forbidden(
                "This is for admins. An admin can make you one at /people; "
                "on the machine itself: glimt users set-role EMAIL admin."
            )

    def _refuse_foreign(self, request: Request) -> None:
        """A browser sends cookies and Basic credentials along for any page. Fetch Metadata says whose page it is, and
        Origin where a browser knows no Fetch Metadata (OWASP's cheat sheet on cross-site request forgery)."""
        if request.method in SAFE_METHODS or request.headers.get("authorization", "")[:7].lower() == "bearer ":
            return
        origin = request.headers.get("origin")
        if origin in self._origins or ("*" in self._origins and not _sends_credentials(request)):
            return
        site = request.headers.get("sec-fetch-site", "none")
        own = origin is None or origin.lower().endswith("://" + request.headers.get("host", "").lower())
        if site not in ("same-origin", "none") or not own:
            raise Forbidden(FOREIGN)


class Door(Route):
    """A route with whom it lets in."""

    def __init__(self, gate: Gate, method: str, path: str, endpoint: Endpoint, access: Access) -> None:
        super().__init__(path, endpoint, methods=[method])
        self._gate = gate
        self.access = access

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            await self._gate.admit(scope, self.access)
            receive = self._gate.watched(scope, receive, self.access)
        await super().handle(scope, receive, send)


def identity_of(request: Request) -> Identity | None:
    """Who asks; None is anybody."""
    identity: Identity | None = request.scope.get("identity")
    return identity


def user_of(request: Request) -> User:
    """The account that asks, at a door that lets only those in. Raises Forbidden for the local key, which has none."""
    identity = identity_of(request)
    if identity is None:
        raise Unauthorized()
    if identity.user is None:
        raise Forbidden(NO_ACCOUNT)
    return identity.user


def name_of(request: Request) -> str:
    """Who asks, for the log."""
    identity = identity_of(request)
    return identity.name if identity else "anybody"


def caller_of(request: Request) -> str:
    """The client's address as limits count it."""
    return caller(request.client.host if request.client else None)


def session_of(request: Request) -> str | None:
    """The secret in the session cookie."""
    cookies = (cookie.partition("=") for cookie in request.headers.get("cookie", "").split(";"))
    return next((value.strip() for name, _, value in cookies if name.strip() == SESSION_COOKIE), None)


def _sends_credentials(request: Request) -> bool:
    """What a browser may have added by itself, whoever made the page."""
    return "authorization" in request.headers or session_of(request) is not None


def authorization(request: Request) -> Credential | None:
    """What the Authorization header holds, None without one. Raises Unauthorized when it cannot be read."""
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    if len(headers) > 1 or len(headers[0]) > MAX_CREDENTIAL_CHARS:
        raise Unauthorized()
    scheme, _, value = headers[0].strip().partition(" ")
    if scheme.lower() == "bearer":
        return Credential("bearer", value.strip())
    if scheme.lower() == "basic":
        return Credential("basic", _decoded(value.strip()))
    raise Unauthorized()


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError as error:
        raise Unauthorized() from error
