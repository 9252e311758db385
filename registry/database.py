"""Engine, session factory and migration of the registry's PostgreSQL."""

import importlib.util
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from registry.errors import DatabaseUnavailableError

LOCK_TIMEOUT_S = 2
POOL_TIMEOUT_S = 3
IDLE_IN_TRANSACTION_TIMEOUT_S = 60


class BoundedPool(QueuePool):
    """A pool whose callers see one error for a database that is down and for one that is too busy."""

    def connect(self) -> PoolProxiedConnection:
        """Lend a connection.

        Raises:
            DatabaseUnavailableError: If none comes back in time.
        """
        try:
            return super().connect()
        except TimeoutError as error:
            raise DatabaseUnavailableError from error


def driver_url(url: str) -> str:
    """Return `url` with the driver we use: `postgresql://` becomes `postgresql+psycopg://`."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def make_engine(url: str, *, application_name: str, statement_timeout_s: float = 5.0) -> Engine:
    """Make an engine with the timeouts that keep one slow statement from holding up the rest.

    Connects to nothing yet. A database that is down, refuses, or cancels a statement because it took too long
    shows as `DatabaseUnavailableError`, so that callers need not know SQLAlchemy's errors.

    Args:
        url: `postgresql://...`, any driver.
        application_name: Shown in `pg_stat_activity`.
        statement_timeout_s: Longest a statement may run.
    """
    options = {
        "timezone": "UTC",
        "statement_timeout": f"{round(statement_timeout_s * 1000)}ms",
        "lock_timeout": f"{LOCK_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S}s",
    }
    engine = create_engine(
        driver_url(url),
        poolclass=BoundedPool,
        pool_size=5,
        max_overflow=5,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 3,
            "keepalives_idle": 30,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    )
    event.listen(engine, "handle_error", _translate)
    return engine


def make_session_factory(engine: Engine) -> sessionmaker[Session]:
    """Make sessions that keep loaded rows usable after the commit.

    Use `with session_factory.begin() as session:` at the edge; functions of the registry never commit.
    """
    return sessionmaker(engine, expire_on_commit=False)


def migrate(url: str) -> None:
    """Bring the schema up to date. Safe to run at every start and from several processes at once.

    Raises:
        DatabaseUnavailableError: If the database does not answer.
    """
    try:
        command.upgrade(alembic_config(url), "head")
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailableError from error


def alembic_config(url: str) -> Config:
    """Return the Alembic configuration of the installed `migrations` package for one database."""
    spec = importlib.util.find_spec("migrations.env")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The package migrations is not installed with the service.")
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent))
    config.attributes["url"] = driver_url(url)
    return config


def _translate(context: ExceptionContext) -> DatabaseUnavailableError | None:
    # The pool's own ping must see the original error: it reconnects by itself.
    is_outage = isinstance(context.sqlalchemy_exception, (OperationalError, InterfaceError))
    return DatabaseUnavailableError() if is_outage and not context.is_pre_ping else None
