"""Others' words on a terminal, which obeys some characters: they could change colours, the title, or what stands there
already."""

import re

_OBEYED = re.compile("[\0-\t\v-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but the line's end, what turns the direction of writing, and what has no UTF-8."""


def printable(text: str) -> str:
    """The text with each such character replaced by the mark for one that cannot be shown."""
    return _OBEYED.sub("\ufffd", text)
