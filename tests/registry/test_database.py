import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from registry.database import driver_url, make_engine, make_session_factory, migrate
from registry.errors import DatabaseUnavailableError

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
    started = time.monotonic()
    with (
        pytest.raises(DatabaseUnavailableError),
        make_session_factory(engine).begin() as session,
    ):
        session.execute(text("SELECT pg_sleep(5)"))
    engine.dispose()
    assert time.monotonic() - started < 2


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
        "import sys, registry.database, registry.versions, registry.accuracy, registry.embedded;"
        "print([name for name in ('torch', 'fastapi', 'celery') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
