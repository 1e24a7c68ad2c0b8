"""What follows from the settings that were given."""

from typing import Any

import pytest

from service.settings import Settings


@pytest.mark.parametrize(
    ("host", "allowed", "answered", "not_answered"),
    [
        ("127.0.0.1", "auto", {"localhost", "127.0.0.1"}, {"*", "a.example"}),
        ("0.0.0.0", "auto", {"*"}, set()),
        ("0.0.0.0", "a.example b.example", {"a.example", "b.example", "127.0.0.1"}, {"*"}),
        ("192.0.2.1", "a.example", {"a.example", "192.0.2.1"}, {"*"}),
    ],
)
def test_names_it_answers_to(host: str, allowed: str, answered: set[str], not_answered: set[str]) -> None:
    """Those named, and always those by which commands on this machine reach it."""
    names = set(Settings(host=host, allowed_hosts=allowed).hosts)
    assert answered <= names
    assert not names & not_answered


@pytest.mark.parametrize(
    ("changes", "required"),
    [
        ({}, False),
        ({"host": "::1"}, False),
        ({"allowed_hosts": "localhost"}, False),
        ({"allowed_hosts": "127.0.0.1 pictures.example"}, True),
        ({"allowed_hosts": "*"}, True),
        ({"forwarded_allow_ips": "127.0.0.1"}, True),
        ({"host": "0.0.0.0"}, True),
        ({"host": "pictures.example"}, True),
        ({"allowed_hosts": "pictures.example", "forwarded_allow_ips": "127.0.0.1", "auth": "open"}, False),
        ({"auth": "required"}, True),
    ],
)
def test_who_needs_an_account(changes: dict[str, Any], required: bool) -> None:
    """Everybody, unless only this machine is to reach it. A proxy in front of a loopback address once left it open to
    all of the proxy's callers. What the operator says counts in any case."""
    assert Settings(**changes).login_required is required
