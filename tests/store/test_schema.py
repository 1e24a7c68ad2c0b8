"""Migrations: they make what the code expects, once, and never touch what is not theirs."""

import asyncio
import importlib
import pkgutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from service import store
from service.errors import StoreUnusable
from service.store import feedback
from service.store.database import Database
from service.store.schema import metadata


async def test_the_migrations_make_the_tables_the_code_uses(tmp_path: Path) -> None:
    """Alembic finds no difference between a migrated database and the tables in the code."""
    for module in pkgutil.iter_modules(store.__path__):
        importlib.import_module(f"service.store.{module.name}")

    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    async def job(connection: AsyncConnection) -> list[Any]:
        return await connection.run_sync(differences)

    async with Database(tmp_path / "glimt.db") as db:
        assert await db.write(job) == []


async def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    """A second start migrates nothing and finds the rows of the first."""
    draft = feedback.FeedbackDraft(predicted_class="cat", score=0.5, image_file_name="a.png")
    for expected in (1, 2):
        async with Database(tmp_path / "glimt.db") as db:
            notes = feedback.FeedbackStore(db)
            await notes.add(draft, owner=None, idempotency_key=None)
            assert len(await notes.list(None)) == expected


USUAL_START = """
import sys
from pathlib import Path
import service.app
from service.store.database import Database
Database(Path(sys.argv[1])).prepare()
assert not {"alembic", "mako"} & sys.modules.keys()
"""


async def test_a_usual_start_needs_no_alembic(tmp_path: Path) -> None:
    """Nothing is to be migrated: its 7 MB stay out of the process, and the newest revision is known without it."""
    async with Database(tmp_path / "glimt.db"):
        pass
    command = [sys.executable, "-c", USUAL_START, str(tmp_path / "glimt.db")]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)


async def test_migrating_does_not_block_the_loop(tmp_path: Path) -> None:
    """While the first start migrates, the loop goes on turning: a hundred turns need no end of the migration."""
    opening = asyncio.ensure_future(Database(tmp_path / "glimt.db").__aenter__())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not opening.done()
    await (await opening).__aexit__(None, None, None)


async def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """Tables but none of ours: no table of ours is put beside them."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (id)")
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match="another program"):
        async with Database(path):
            pass
    assert path.read_bytes() == before
