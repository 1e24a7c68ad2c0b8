"""T17 and T18: the database is locked by another process, or is not what it should be."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from service.errors import StoreBusy, StoreUnusable
from service.store.database import Database
from service.store.feedback import FeedbackDraft, FeedbackStore

CAT = FeedbackDraft(predicted_class="cat", score=0.5, image_file_name="a.png", feedback="no")

HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
connection.close()
"""


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD_LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield  # leaving closes stdin, which ends the other process, and waits for it


async def filled(path: Path, rows: int) -> None:
    async with Database(path) as db:
        store = FeedbackStore(db)
        await asyncio.gather(*(store.add(CAT, owner=None, idempotency_key=None) for _ in range(rows)))


async def test_a_locked_database_is_busy_after_the_timeout_and_recovers(tmp_path: Path) -> None:
    """T17: everyone waiting gets StoreBusy (503) after one busy timeout, reads go on, and later writes succeed."""
    async with Database(tmp_path / "glimt.db", busy_timeout_ms=200, max_batch=2) as db:
        store = FeedbackStore(db)
        await store.add(CAT, owner=None, idempotency_key=None)
        with locked_by_another_process(tmp_path / "glimt.db"):
            started = time.monotonic()
            adds = (store.add(CAT, owner=None, idempotency_key=None) for _ in range(10))
            results = await asyncio.gather(*adds, return_exceptions=True)
            waited_s = time.monotonic() - started
            assert [type(result) for result in results] == [StoreBusy] * 10
            assert 0.2 <= waited_s < 0.8, "five batches of two must share one timeout, not add five up"
            assert len(await store.list(None)) == 1
        await store.add(CAT, owner=None, idempotency_key=None)
        assert len(await store.list(None)) == 2


async def test_a_start_beside_a_locked_database_works_when_nothing_is_to_migrate(tmp_path: Path) -> None:
    """A restart does not need the write lock, so another process's long transaction does not prevent it."""
    await filled(tmp_path / "glimt.db", 1)
    with locked_by_another_process(tmp_path / "glimt.db"):
        async with Database(tmp_path / "glimt.db", busy_timeout_ms=100) as db:
            assert len(await FeedbackStore(db).list(None)) == 1


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def refused(path: Path, words: str) -> None:
    before = content_of(path)
    with pytest.raises(StoreUnusable, match=words) as caught:
        async with Database(path):
            pass
    assert str(path) in caught.value.detail
    assert content_of(path) == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    """T18: somebody's text file is not overwritten; the message names it and the way out."""
    path = tmp_path / "glimt.db"
    path.write_bytes(b"my thesis, the only copy\n" * 100)
    await refused(path, "not a database.*left as it is")


@pytest.mark.parametrize("offset", [0, 100, 4096 + 3])
async def test_flipped_bytes_are_found_at_the_start(tmp_path: Path, offset: int) -> None:
    """T18: damage in the file header, the schema page or a table page: refused, not one byte changed."""
    path = tmp_path / "glimt.db"
    await filled(path, 200)
    content = bytearray(path.read_bytes())
    for place in range(offset, offset + 8):
        content[place] ^= 0xFF
    path.write_bytes(content)
    await refused(path, "cannot be used|damaged")


async def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    """T18: half a database is not a smaller database."""
    path = tmp_path / "glimt.db"
    await filled(path, 200)
    os.truncate(path, path.stat().st_size // 2)
    await refused(path, "cannot be used|damaged")


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """T18: after a downgrade of the program the data of the newer one is not touched."""
    path = tmp_path / "glimt.db"
    await filled(path, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    await refused(path, "9999.*newer Glimt")


async def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    """T18's other side: a missing or empty file holds nothing to lose, so the service starts with it."""
    (tmp_path / "glimt.db").touch()
    await filled(tmp_path / "glimt.db", 1)


async def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    """A start error that names the path, not a stack trace."""
    (tmp_path / "glimt.db").mkdir()
    with pytest.raises(StoreUnusable, match=r"glimt\.db"):
        async with Database(tmp_path / "glimt.db"):
            pass
