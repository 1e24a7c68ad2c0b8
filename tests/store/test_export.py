"""Exports: every row, and nothing a spreadsheet would run."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store.export import COLUMNS, csv_lines, ndjson
from service.store.feedback import FeedbackRow

ROW = FeedbackRow(
    id=7,
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    owner=None,
    idempotency_key=None,
    predicted_class="cat",
    score=0.5,
    image_file_name="a.png",
)


async def rows(*given: FeedbackRow) -> AsyncIterator[FeedbackRow]:
    for row in given:
        yield row


async def cells(*given: FeedbackRow) -> list[dict[str, str]]:
    content = b"".join([line async for line in csv_lines(rows(*given))]).decode()
    return list(csv.DictReader(io.StringIO(content, newline=""), strict=True))


async def test_ndjson_is_one_object_per_line_with_utc_times() -> None:
    """Each line parses by itself and has every column."""
    lines = [line async for line in ndjson(rows(ROW, replace(ROW, comment="a\nb")))]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    first, second = map(orjson.loads, lines)
    assert set(first) == set(COLUMNS)
    assert first["created_at"] == "2026-01-02T03:04:05Z"
    assert second["comment"] == "a\nb"


async def test_csv_has_a_header_and_crlf_lines() -> None:
    """RFC 4180; an empty export is its header."""
    assert [line async for line in csv_lines(rows())] == [",".join(COLUMNS).encode() + b"\r\n"]
    (row,) = await cells(ROW)
    assert (row["id"], row["created_at"], row["image_kept"]) == ("7", "2026-01-02T03:04:05+00:00", "false")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_a_formula_gets_an_apostrophe(start: str) -> None:
    """T39: what a spreadsheet would run is shown as text."""
    (row,) = await cells(replace(ROW, comment=f"{start}cmd|' /C calc'!A0"))
    assert row["comment"] == f"'{start}cmd|' /C calc'!A0"


@pytest.mark.parametrize("number", ["-5", "+4.25", "12"])
async def test_a_number_stays_a_number(number: str) -> None:
    """A minus before digits alone is no formula."""
    (row,) = await cells(replace(ROW, comment=number))
    assert row["comment"] == number


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
async def test_any_text_survives_csv_and_starts_no_formula(text: str) -> None:
    """Quotes, commas and line ends come back as they were, but for the apostrophe."""
    (row,) = await cells(replace(ROW, comment=text))
    assert row["comment"].removeprefix("'") == text.removeprefix("'")
    number = row["comment"].removeprefix("-").removeprefix("+").replace(".", "").isdigit()
    assert number or not row["comment"].startswith(("=", "+", "-", "@", "\t", "\r"))
