"""Alembic's entry: runs migrations in one transaction, one process at a time.

`registry.postgres.database.migrate` and the `alembic` command both come here; the latter takes the database from
`DATABASE_URL`.
"""

import os

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from registry.postgres.database import driver_url
from registry.tables import Row

LOCK = 0xF110_0001
"""Key of the advisory lock: without it parallel upgrades fail, because each sees the old schema."""


def run() -> None:
    """Upgrade or downgrade the database of this run. Waits while another process does."""
    url = context.config.attributes.get("url") or driver_url(os.environ["DATABASE_URL"])
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 3})
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        # A running service must not stand still behind a migration that waits for a lock.
        connection.execute(text("SET LOCAL lock_timeout = '2s'"))
        context.configure(
            connection=connection, target_metadata=Row.metadata, compare_server_default=True
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
