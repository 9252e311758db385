"""Which revision a database's schema has, and which one this release needs."""

import functools

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import InterfaceError, OperationalError

from registry.errors import DatabaseUnavailableError, SchemaTooNewError
from registry.postgres.database import CONNECT_TIMEOUT_S, alembic_config, driver_url, migrate


def upgrade(url: str) -> tuple[str | None, str]:
    """Bring the schema up to date, and return its revision before and after.

    Raises:
        SchemaTooNewError: If a later release has migrated it.
        DatabaseUnavailableError: If the database does not answer.
    """
    engine = create_engine(
        driver_url(url), poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
    )
    try:
        with engine.connect() as connection:
            before = revision(connection)
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailableError from error
    if before is not None and not is_known(before):
        raise SchemaTooNewError(before)
    if before != head_revision():
        migrate(url)
    return before, head_revision()


def revision(connection: Connection) -> str | None:
    """Return the revision of the connection's schema; None if it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    """Return the revision that this release needs."""
    return _revisions()[0]


def is_known(name: str) -> bool:
    """Say whether this release knows a revision; it does not know those of later ones."""
    return name in _revisions()


@functools.cache
def _revisions() -> tuple[str, ...]:
    """Return all revisions, the newest first."""
    script = ScriptDirectory.from_config(alembic_config("postgresql://"))
    return tuple(script_revision.revision for script_revision in script.walk_revisions())
