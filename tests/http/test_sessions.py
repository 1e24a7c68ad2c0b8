"""Where a form may send a browser, and what a session is called."""

import pytest
from starlette.requests import Request

from service.http.sessions import browser_of, local_path

WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Safari/604.1"


@pytest.mark.parametrize("path", ["/", "/ops", "/history?label=owl&page=2", "/feedback/", "/a//b"])
def test_a_page_of_this_service_is_where_one_goes(path: str) -> None:
    """A path with its query stays as it is."""
    assert local_path(path) == path


@pytest.mark.parametrize(
    "wanted",
    ["", "ops", "https://evil.test/", "//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "/\t/evil.test",
     "/\n/evil.test", "/\x00", " //evil.test", "javascript:alert(1)", "/" + "a" * 2000],
)  # fmt: skip
def test_nothing_else_leaves_the_site(wanted: str) -> None:
    """Another site, and what a browser could take for one, becomes the first page."""
    assert local_path(wanted) == "/"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (WINDOWS, "Chrome on Windows"),
        (WINDOWS + " Edg/131.0.0.0", "Edge on Windows"),
        (WINDOWS + " OPR/116.0.0.0", "Opera on Windows"),
        (IPHONE, "Safari on an iPhone"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/131.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_7) Version/18.1 Safari/605.1.15", "Safari on macOS"),
        ("", "A browser on an unknown system"),
        ("<script>" * 100, "A browser on an unknown system"),
    ],
)
def test_a_session_has_its_browsers_name(agent: str, name: str) -> None:
    """Browsers name each other: the one that runs is found, and nothing a client wrote is shown."""
    assert browser_of(Request({"type": "http", "headers": [(b"user-agent", agent.encode())]})) == name
