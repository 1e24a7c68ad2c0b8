"""E-mail addresses: one spelling each, in words when they are none."""

import pytest

from service.accounts.emails import normalised, spelled
from service.errors import InvalidField


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("ada@example.org", "ada@example.org"),
        ("Ada@Example.ORG", "ada@example.org"),
        ("admin@localhost", "admin@localhost"),
        ("ada@corp.local", "ada@corp.local"),
        ("ada@b\u00fccher.example", "ada@b\u00fccher.example"),
        ("ada@bu\u0308cher.example", "ada@b\u00fccher.example"),
        ("Andr\u0065\u0301@example.org", "andr\u00e9@example.org"),
    ],
)
def test_one_address_has_one_spelling(typed: str, stored: str) -> None:
    """As it is stored, so it is found, however it was typed; also in networks that are closed."""
    assert normalised(typed) == stored
    assert spelled(f" {typed} ") == stored


@pytest.mark.parametrize("typed", ["", "ada", "@example.org", "ada@", "a b@example.org", "ada@exa mple.org", "ada@-.x"])
def test_what_is_no_address_is_said(typed: str) -> None:
    """Naming the field."""
    with pytest.raises(InvalidField, match="email: "):
        normalised(typed)


def test_long_text_is_refused_before_it_is_spelled() -> None:
    """Once, 64 kB of combining marks took seconds of the event loop: to order them takes time in their square."""
    marks = "".join(mark * 5400 for mark in "\u0345\u0301\u0323\u0321\u0327\u0334")
    with pytest.raises(InvalidField, match="at most 254 are allowed"):
        normalised(f"a{marks}@x.org")
