"""The errors that clients meet."""

import re
from collections.abc import Iterator
from pathlib import Path

from service.errors import ClientGone, GlimtError, ImageError, StartError

README = Path(__file__).parents[1] / "README.md"
NOT_SENT = {ClientGone, ImageError, StartError}
"""Nobody is there to read it; only its kinds are raised; the command line's."""


def kinds(of: type[GlimtError]) -> Iterator[type[GlimtError]]:
    """It and all below it that are sent."""
    if of is not StartError:
        yield of
        for kind in of.__subclasses__():
            yield from kinds(kind)


def test_every_code_is_in_the_readme() -> None:
    """With its status, and nothing else is there."""
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \| (`[a-z_`, ]+`) \|", README.read_text(), re.M)
    told = {
        (int(status), code)
        for statuses, codes in rows
        for status, code in zip(statuses.split(", ") * 9, re.findall(r"`([a-z_]+)`", codes), strict=False)
    }
    assert told == {(kind.status, kind.code) for kind in kinds(GlimtError) if kind not in NOT_SENT}
