"""Fixtures for all tests: a real PostgreSQL, a blob store in a temporary folder, the tiny backbone."""

import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, text
from sqlalchemy.orm import Session, sessionmaker

from registry.blobs.store import LocalBlobStore
from registry.postgres.database import make_engine, make_session_factory, migrate
from registry.postgres.embedded import EmbeddedPostgres
from registry.tables import (
    AuditRow,
    EndedSessionRow,
    IdempotencyRow,
    KeyRow,
    LearnerRow,
    LoginLinkRow,
    SubscriptionRow,
    WorkerRow,
)
from tests.isolation import Isolation
from tests.redis_server import RedisServer


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests from one another's leftovers."""
    config.pluginmanager.register(Isolation(), "isolation")


@pytest.fixture(scope="session", autouse=True)
def no_proxies() -> Iterator[None]:
    """Everything that tests ask is on this machine, which the proxies of a developer's environment cannot reach."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_width() -> Iterator[None]:
    """Tables are as wide as what they are printed on, not as the terminal that pytest-xdist tells its processes of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test run. Not below pytest's own folder, which is closed to the server's user."""
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder,
        EmbeddedPostgres(Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def engine(postgres: EmbeddedPostgres) -> Iterator[Engine]:
    """An engine on the migrated database of this test run."""
    migrate(postgres.url)
    engine = make_engine(postgres.url, application_name="tests", statement_timeout_s=10)
    yield engine
    engine.dispose()


@pytest.fixture
def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions on an empty database."""
    factory = make_session_factory(engine)
    with factory.begin() as session:
        # Everything else hangs on a learner.
        for table in (
            LearnerRow,
            SubscriptionRow,
            KeyRow,
            IdempotencyRow,
            WorkerRow,
            EndedSessionRow,
            LoginLinkRow,
        ):
            session.execute(delete(table))
        # Out of its trigger's sight, which lets nobody else do so.
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(delete(AuditRow))
    return factory


@pytest.fixture
def session(session_factory: sessionmaker[Session]) -> Iterator[Session]:
    """An open session on an empty database; commit to let other connections see what it did."""
    with session_factory() as session:
        yield session


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, session_factory: sessionmaker[Session]) -> str:
    """URL of the empty database, for processes that connect by themselves."""
    return postgres.url


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test alone."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    """An empty blob store."""
    return LocalBlobStore(tmp_path / "blobs")


@pytest.fixture(scope="session")
def tiny_backbone() -> Any:
    """The small random backbone for tests. Torch is loaded only when a test asks for it."""
    return importlib.import_module("models.backbone").load_backbone("tiny")
