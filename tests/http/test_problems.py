"""Who has not signed in: a person is taken to the form and back, a program is told what it takes."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.world import in_process, make_app

HTML = {"accept": "text/html,application/xhtml+xml"}


async def asked(folder: Path, method: str, path: str, headers: dict[str, str]) -> httpx2.Response:
    """One answer of a service that requires accounts."""
    async with in_process(make_app(folder, auth="required")) as client:
        return await client.request(method, path, headers=headers)


async def test_a_page_leads_to_signing_in_and_back(tmp_path: Path) -> None:
    """A browser that goes to a page is sent to the form, with the page and its query as where to go then."""
    answer = await asked(tmp_path, "GET", "/history?label=a%26b&page=2", HTML)
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    to = urlsplit(answer.headers["location"])
    assert (to.netloc, to.path) == ("", "/sign-in")
    assert parse_qs(to.query) == {"next": ["/history?label=a%26b&page=2"]}


async def test_a_fragment_leads_to_signing_in_and_back(tmp_path: Path) -> None:
    """htmx gets the words for its page, and the header that takes the whole page to the form."""
    page = {"hx-current-url": "http://localhost/ops?a=1", "hx-request": "true"}
    answer = await asked(tmp_path, "GET", "/ops/live", page)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/sign-in?next=%2Fops%3Fa%3D1"
    assert "unauthorized" in answer.text
    assert "<html" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        pytest.param("GET", "/api/batching", {}, id="a program"),
        pytest.param("GET", "/feedback/", {"accept": "application/json"}, id="a program that says what it reads"),
        pytest.param("POST", "/", HTML, id="a form of a page whose session has ended"),
        pytest.param("GET", "/", HTML | {"authorization": "Basic YTpi"}, id="a browser that sends a password"),
        pytest.param("GET", "/", HTML | {"authorization": "Bearer x"}, id="a token that does not hold"),
    ],
)
async def test_everything_else_is_told_what_it_takes(
    tmp_path: Path, method: str, path: str, headers: dict[str, str]
) -> None:
    """401 with WWW-Authenticate. A browser would send its wrong password to the next page too."""
    answer = await asked(tmp_path, method, path, headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_ended_session_finds_the_form(tmp_path: Path) -> None:
    """The page that answers a form of who is no longer signed in has a link to sign in."""
    answer = await asked(tmp_path, "POST", "/", HTML)
    assert '<a href="/sign-in">' in answer.text
