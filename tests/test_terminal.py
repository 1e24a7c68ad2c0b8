"""Others' words on a terminal."""

import pytest

from service.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\ufffd[31mred"),
        ("\x1b]0;pwned\x07", "\ufffd]0;pwned\ufffd"),
        ("\x9b31m \x85", "\ufffd31m \ufffd"),
        ("over\rwritten\b\x7f\0", "over\ufffdwritten\ufffd\ufffd\ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("\udcff.png", "\ufffd.png"),
    ],
)
def test_what_a_terminal_obeys_is_not_printed(text: str, shown: str) -> None:
    """A service's answer reached the terminal as it was, with what sets colours and the title of the window."""
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text", ["two\nlines", "\u5c71\u7530\u3000\u592a\u90ce", "\u0646\u0645\u06cc\u200c", "\U0001f469\u200d\U0001f680"]
)
def test_what_people_write_stays(text: str) -> None:
    """Lines, wide spaces, joiners of letters and pictures."""
    assert printable(text) == text
