"""What follows from the settings that were given."""

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
