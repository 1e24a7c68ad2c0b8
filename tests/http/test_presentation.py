"""Words for figures and states."""

from datetime import UTC, datetime

import pytest

from service.http.presentation import day, moment, receipt
from service.inference.predictions import Receipt


@pytest.mark.parametrize(
    ("times", "line"),
    [
        (Receipt(6.2, 4.1, 210.4, 221.0, 8, "full", False), "decoded 6 ms · waited 4 ms · batch of 8 in 210 ms"),
        (Receipt(0.0, 0.0, 0.0, 0.3, 0, None, True), "seen before · answered from the cache in <1 ms"),
        (Receipt(6.2, 4.1, 24.0, 30.0, 1, "idle", True), "the same picture was under way · batch of 1 in 24 ms"),
    ],
)
def test_receipt(times: Receipt, line: str) -> None:
    """The receipt is one line, and honest about answers that cost nothing."""
    assert receipt(times) == line


def test_a_point_in_time() -> None:
    """A person reads minutes or the day, a machine seconds and the zone."""
    when = datetime(2026, 3, 1, 14, 5, 9, 123456, UTC)
    assert moment(when) == '<time datetime="2026-03-01T14:05:09+00:00">2026-03-01 14:05 UTC</time>'
    assert day(when) == '<time datetime="2026-03-01T14:05:09+00:00">2026-03-01</time>'
