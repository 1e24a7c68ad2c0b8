"""Alembic runs this. It uses the connection and the transaction it is given, and leaves logging alone."""

from alembic import context

# SQLite can roll DDL back when the driver does not commit behind our back, and ours does not: all or nothing.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
