"""Engine, session factory and migration of the registry's PostgreSQL."""

import importlib.util
import time
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psycopg
from alembic import command
from alembic.config import Config
from psycopg.abc import PQGen
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.orm import Session as Session  # for those who may not import SQLAlchemy
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from registry.errors import DatabaseUnavailableError

LOCK_TIMEOUT_S = 2
POOL_TIMEOUT_S = 3
IDLE_IN_TRANSACTION_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 3
FROZEN_AFTER_S = 1.0
"""How much longer than `statement_timeout` an answer may take: a server that keeps its time-outs is never so late."""
REST_S = 3.0
"""After a server was found frozen, how long nobody tries again: each try holds a thread for seconds."""

ResultT = TypeVar("ResultT")

Sessions = sessionmaker[Session]
"""What makes sessions: `with sessions() as session`, or `with sessions.begin() as session` to commit at the end."""

StatementError = SQLAlchemyError
"""What a statement ends with that the database refuses, such as a row of a learner that was deleted meanwhile; a
database that does not answer is a `DatabaseUnavailableError`."""


class Breaker:
    """Opens when the server is found frozen, so that callers fail at once instead of queueing up behind it."""

    def __init__(self) -> None:
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether nobody should try now."""
        return time.monotonic() < self._open_until

    def trip(self) -> None:
        """Open for `REST_S`."""
        self._open_until = time.monotonic() + REST_S


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that gives up on a server that is frozen: stopped, or behind a network that drops all packets.

    Such a server keeps no `statement_timeout`, and its kernel goes on acknowledging, so that neither keep-alives nor
    `tcp_user_timeout` notice. A connection given up is closed.
    """

    patience_s: ClassVar[float]
    breaker: ClassVar[Breaker]

    def wait(
        self, gen: PQGen[ResultT], interval: float = 0.1, timeout: float | None = None
    ) -> ResultT:
        """Wait for the server's answer, for `patience_s` at most unless told otherwise.

        Raises:
            psycopg.OperationalError: If none comes in time.
        """
        patience_s = self.patience_s if timeout is None else timeout
        started = time.monotonic()
        try:
            return super().wait(gen, interval, patience_s)
        except psycopg.OperationalError:
            if timeout is None and time.monotonic() - started >= patience_s:
                self.breaker.trip()
                self.close()
            raise


class BoundedPool(QueuePool):
    """A pool whose callers see one error for a database that is down, too busy, or frozen."""

    breaker: ClassVar[Breaker]

    def connect(self) -> PoolProxiedConnection:
        """Lend a connection.

        Raises:
            DatabaseUnavailableError: If none comes back in time.
        """
        if self.breaker.is_open:
            raise DatabaseUnavailableError
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
    shows as `DatabaseUnavailableError`, so that callers need not know SQLAlchemy's errors. So does one that is frozen:
    within `statement_timeout_s` and a second, and at once for the seconds after.

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
    breaker = Breaker()
    patience_s = statement_timeout_s + FROZEN_AFTER_S
    connection_class: type[BoundedConnection] = type(
        "BoundedConnection", (BoundedConnection,), {"patience_s": patience_s, "breaker": breaker}
    )
    engine = create_engine(
        driver_url(url),
        poolclass=type("BoundedPool", (BoundedPool,), {"breaker": breaker}),
        pool_size=5,
        max_overflow=5,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "keepalives_idle": 30,
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        },
    )
    event.listen(engine, "handle_error", _translate)

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        try:
            return connection_class.connect(*arguments, **options)
        except psycopg.errors.ConnectionTimeout:
            breaker.trip()
            raise

    return engine


def make_session_factory(engine: Engine) -> Sessions:
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
