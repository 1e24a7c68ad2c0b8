"""Alembic, which runs `migrations`. Imported only when a database is not at the newest revision: it takes 7 MB."""

import logging

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from service.errors import StoreUnusable

_LOCK = 0x676C696D74
"""Key of the PostgreSQL advisory lock: two processes that start together must not both migrate. "glimt" in ASCII."""

log = logging.getLogger(__name__)


def is_current(connection: Connection, shown: str) -> bool:
    """Whether nothing is to be done. Raises StoreUnusable when this version cannot work with the database at all;
    `shown` names it."""
    scripts = ScriptDirectory.from_config(_config())
    found = set(MigrationContext.configure(connection).get_current_heads())
    known = {script.revision for script in scripts.walk_revisions()}
    if found - known:
        raise StoreUnusable(
            f"The database {shown} has schema {', '.join(sorted(found - known))}, which this version does not know: "
            "it was written by a newer Glimt. Start that version, or name another data folder."
        )
    if not found and set(inspect(connection).get_table_names()) - {"alembic_version"}:
        raise StoreUnusable(f"The database {shown} belongs to another program: name another data folder.")
    return found == set(scripts.get_heads())


def upgrade(connection: Connection, shown: str) -> None:
    """To the newest revision, in the connection's transaction. Raises StoreUnusable as `is_current`."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    if is_current(connection, shown):
        return  # another process was faster
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    log.info("the schema of %s is now %s", shown, ", ".join(ScriptDirectory.from_config(config).get_heads()))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "service.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
