"""Which token a command shows to which service."""

from pathlib import Path

import pytest

from service.accounts.keys import JWT_LIFE_S, LOCAL, Signer, read_or_make_key
from service.credentials import bearer, is_loopback, local, own_url, refused
from service.data_folder import claimed
from service.errors import BadRequest, Unavailable

URL = "http://127.0.0.1:8123"


def test_a_token_that_is_given_is_shown_as_it_is(tmp_path: Path) -> None:
    """Also to the service of the folder: whoever gives one wants to be that account."""
    with claimed(tmp_path) as claim:
        claim.announce(URL)
        assert bearer(URL, tmp_path, "glimt_abc")() == "glimt_abc"


@pytest.mark.parametrize("token", ["a b", "a\r\nX-Evil: 1", "tökén", "a\n"])
def test_what_can_be_no_token(tmp_path: Path, token: str) -> None:
    """Refused in words, before it could become another header."""
    with pytest.raises(BadRequest, match="GLIMT_TOKEN"):
        bearer(URL, tmp_path, token)


@pytest.mark.parametrize(
    ("announced", "asked"),
    [
        (URL, URL),
        (URL, f"{URL}/"),
        ("http://[::1]:8123", "http://[::1]:8123"),
        ("http://192.0.2.7:8123", "http://192.0.2.7:8123"),
    ],
)
def test_the_service_of_the_folder_is_shown_a_token_of_its_key(tmp_path: Path, announced: str, asked: str) -> None:
    """At its very address."""
    signer = Signer(read_or_make_key(tmp_path))
    with claimed(tmp_path) as claim:
        claim.announce(announced)
        assert signer.read(bearer(asked, tmp_path, None)()) == (LOCAL, 0)


@pytest.mark.parametrize(
    "asked",
    [
        "http://127.0.0.1:9999",
        "http://[::1]:8123",
        "http://127.0.0.2:8123",
        "http://localhost:8123",
        "https://127.0.0.1:8123",
        "http://example.org:8123",
        "http://host:99999",
        "nonsense",
    ],
)
def test_no_other_service_is_shown_one(tmp_path: Path, asked: str) -> None:
    """It could do everything with it. Another process on another loopback address was taken for the service."""
    read_or_make_key(tmp_path)
    with claimed(tmp_path) as claim:
        claim.announce(URL)
        assert bearer(asked, tmp_path, None)() == ""


def test_nothing_is_shown_where_no_service_runs(tmp_path: Path) -> None:
    """What answers at the address of an earlier service may be anybody."""
    read_or_make_key(tmp_path)
    with claimed(tmp_path) as claim:
        claim.announce(URL)
    assert bearer(URL, tmp_path, None)() == ""


@pytest.mark.parametrize(
    ("announced", "asked", "own"),
    [
        (URL, "http://localhost:8123/", f"{URL}/"),
        ("http://[::1]:8123", "http://LOCALHOST:8123/a?b", "http://[::1]:8123/a?b"),
        (URL, "http://[::1]:8123", "http://[::1]:8123"),
        (URL, "http://localhost:9999", "http://localhost:9999"),
        (URL, "https://localhost:8123", "https://localhost:8123"),
        (URL, "http://example.org:8123", "http://example.org:8123"),
        (URL, "nonsense", "nonsense"),
        ("http://192.0.2.7:8123", "http://localhost:8123", "http://localhost:8123"),
    ],
)
def test_localhost_is_the_folders_own_service(tmp_path: Path, announced: str, asked: str, own: str) -> None:
    """The name stands for two addresses, and a neighbour on the other one got the key. It is asked at its own."""
    with claimed(tmp_path) as claim:
        claim.announce(announced)
        assert own_url(asked, tmp_path) == own
    assert own_url(asked, tmp_path) == asked


def test_nothing_is_shown_once_the_service_is_gone(tmp_path: Path) -> None:
    """A command that takes long went on showing tokens to whoever had taken the address since."""
    read_or_make_key(tmp_path)
    with claimed(tmp_path) as claim:
        claim.announce(URL)
        token = bearer(URL, tmp_path, None)
        assert token()
        claim.withdraw()
        with pytest.raises(Unavailable, match=f"at {URL} is shutting down or has ended. Try again"):
            token()
    with pytest.raises(Unavailable):
        token()


def test_it_is_signed_anew_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command may take hours; and a clock that was set back is noticed."""
    now = 1_000_000.0
    monkeypatch.setattr("service.credentials.time.time", lambda: now)
    token = local(b"k" * 32)
    first = token()
    now += JWT_LIFE_S / 2 - 1
    assert token() == first
    now += 2
    second = token()
    assert second != first
    now -= JWT_LIFE_S
    assert token() not in (first, second)


@pytest.mark.parametrize(("status", "words"), [(401, "wants to know who asks"), (403, "This is for admins.")])
def test_a_refusal_says_how_to_get_in(status: int, words: str) -> None:
    """The page for a token, the variable, and the machine."""
    detail = refused(URL, status, "This is for admins.").detail
    for part in (URL, words, "/account", "GLIMT_TOKEN", "--data-dir"):
        assert part in detail


def test_loopback_urls() -> None:
    """By name, by any of its addresses."""
    assert all(map(is_loopback, ["http://localhost", "http://127.1.2.3:80", "http://[::1]:1/"]))
    assert not any(map(is_loopback, ["http://example.org", "http://192.0.2.1", "http://host:99999"]))
