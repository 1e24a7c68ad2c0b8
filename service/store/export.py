"""Rows -> a file to download: NDJSON, or CSV that a spreadsheet can open without running what clients wrote."""

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import astuple, fields

import orjson

from service.store.feedback import FeedbackRow

COLUMNS = tuple(field.name for field in fields(FeedbackRow))
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""owasp.org/www-community/attacks/CSV_Injection"""


async def ndjson(rows: AsyncIterator[FeedbackRow]) -> AsyncIterator[bytes]:
    """One JSON object per line, UTF-8, times in UTC."""
    async for row in rows:
        yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


async def csv_lines(rows: AsyncIterator[FeedbackRow]) -> AsyncIterator[bytes]:
    """RFC 4180 with a header line, UTF-8. Text that a spreadsheet would take for a formula gets an apostrophe."""
    yield csv_line(COLUMNS)
    async for row in rows:
        yield csv_line(tuple(map(csv_cell, astuple(row))))


def csv_line(cells: tuple[object, ...]) -> bytes:
    """One line, ended."""
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def csv_cell(value: object) -> object:
    """A value as a cell that no spreadsheet runs."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
