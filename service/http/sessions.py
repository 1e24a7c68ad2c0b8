"""The session cookie: setting it, taking it away, and what a session is called in the list of its owner."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from service.http.access import SESSION_COOKIE

MAX_NEXT_CHARS = 2000
NOT_STORED = {"Cache-Control": "no-store"}
_BROWSERS = (
    ("Edg", "Edge"),  # before those it also names
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def go(address: str) -> Response:
    """After a form: the page that a reload shows again, instead of the form's second sending."""
    return RedirectResponse(address, 303, NOT_STORED)


def local_path(wanted: str) -> str:
    """`wanted` when no browser can take it for anything but a page of this service, else the first page."""
    local = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted and wanted.isprintable()
    return wanted if local and len(wanted) <= MAX_NEXT_CHARS else "/"


def give_session(request: Request, response: Response, secret: str, days: int) -> Response:
    """The same answer with the cookie, for this browser only, out of reach of scripts and of other sites' forms."""
    response.set_cookie(
        SESSION_COOKIE, secret, days * 86_400, httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )
    return response


def take_session(request: Request, response: Response) -> Response:
    """The same answer with the cookie deleted."""
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=request.url.scheme == "https")
    return response


def browser_of(request: Request) -> str:
    """`Firefox on Linux`: enough for its owner to know it again."""
    agent = request.headers.get("user-agent", "")
    return f"{_first(agent, _BROWSERS, 'A browser')} on {_first(agent, _SYSTEMS, 'an unknown system')}"


def _first(agent: str, names: Sequence[tuple[str, str]], otherwise: str) -> str:
    return next((name for mark, name in names if mark in agent), otherwise)
