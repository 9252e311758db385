import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from registry.errors import DatabaseUnavailableError
from registry.postgres.database import (
    REST_S,
    driver_url,
    make_engine,
    make_session_factory,
    migrate,
)
from registry.postgres.embedded import EmbeddedPostgres
from tests.processes import children
from tests.waiting import is_within, wait_until, within

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def test_driver_url_keeps_everything_else():
    assert driver_url("postgresql://u:p@h:1/d?x=1") == "postgresql+psycopg://u:p@h:1/d?x=1"


def test_sets_time_zone_and_timeouts(database_url):
    engine = make_engine(database_url, application_name="probe", statement_timeout_s=1.5)
    with engine.connect() as connection:
        shown = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in ("timezone", "statement_timeout", "lock_timeout", "application_name")
        }
    engine.dispose()
    assert shown == {
        "timezone": "UTC",
        "statement_timeout": "1500ms",
        "lock_timeout": "2s",
        "application_name": "probe",
    }


def test_a_database_that_is_down_is_unavailable():
    engine = make_engine(NOWHERE, application_name="tests")
    with pytest.raises(DatabaseUnavailableError), engine.connect():
        pass
    with pytest.raises(DatabaseUnavailableError):
        migrate(NOWHERE)


def test_a_slow_statement_is_cut_off(database_url):
    engine = make_engine(database_url, application_name="tests", statement_timeout_s=0.1)
    with (
        pytest.raises(DatabaseUnavailableError),
        make_session_factory(engine).begin() as session,
    ):
        # Longer than any test may take.
        session.execute(text("SELECT pg_sleep(100000)"))
    engine.dispose()


def test_a_database_that_is_too_busy_is_unavailable(database_url):
    engine = make_engine(database_url, application_name="tests")
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(engine.connect())
        with pytest.raises(DatabaseUnavailableError):
            engine.connect()
    engine.dispose()


def test_a_wrong_statement_is_our_fault(session):
    with pytest.raises(ProgrammingError):
        session.execute(text("SELECT nonsense"))


def test_reconnects_after_the_server_cut_the_connection(database_url, session):
    engine = make_engine(database_url, application_name="victim")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    session.execute(
        text(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
            "WHERE application_name = 'victim'"
        )
    )
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_does_not_load_torch_or_a_web_framework():
    code = (
        "import sys, registry.postgres.database, registry.versions, registry.accuracy, registry.postgres.embedded;"
        "print([name for name in ('torch', 'fastapi', 'celery') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_a_frozen_server_is_given_up():
    with (
        tempfile.TemporaryDirectory(prefix="filopodia-test-") as folder,
        EmbeddedPostgres(Path(folder)) as server,
    ):
        engine = make_engine(server.url, application_name="tests", statement_timeout_s=1)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        group = [*children(server.pid), server.pid]
        for pid in group:
            os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailableError), engine.connect() as connection:
                connection.execute(text("SELECT 1"))
            # The ping of a pooled connection, then the attempt at a new one.
            took_s = time.monotonic() - started
            assert took_s > 1
            assert is_within(took_s, 7)
            # Each would take as long again if it were tried.
            with within(0.5):
                for _ in range(20):
                    with pytest.raises(DatabaseUnavailableError), engine.connect():
                        pass
        finally:
            for pid in group:
                os.kill(pid, signal.SIGCONT)
        time.sleep(REST_S)
        wait_until(lambda: answers(engine))
        engine.dispose()


def answers(engine):
    with suppress(DatabaseUnavailableError), engine.connect() as connection:
        return connection.scalar(text("SELECT 1")) == 1


def test_a_pool_in_full_use_counts_as_a_database_that_is_away(postgres, monkeypatch):
    monkeypatch.setattr("registry.postgres.database.POOL_TIMEOUT_S", 0.1)
    engine = make_engine(postgres.url, application_name="tests")
    with ExitStack() as lent:
        for _ in range(engine.pool.size() * 2):
            lent.enter_context(engine.connect())
        with pytest.raises(DatabaseUnavailableError):
            engine.connect()
    engine.dispose()
