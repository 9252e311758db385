import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from registry.errors import (
    DatabaseUnavailableError,
    DataDirBusyError,
    EmbeddedDatabaseError,
)
from registry.postgres.database import make_engine
from registry.postgres.embedded import EmbeddedPostgres
from tests.processes import is_alive
from tests.waiting import wait_until, within

STARTER = """
import sys, time
from pathlib import Path
from registry.postgres.embedded import EmbeddedPostgres
EmbeddedPostgres(Path(sys.argv[1])).start()
print("ready", flush=True)
time.sleep(100_000)
"""


def value(server: EmbeddedPostgres, query: str):
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def postmaster_pid(server: EmbeddedPostgres) -> int:
    return int((server.pgdata / "postmaster.pid").read_text().split()[0])


@pytest.fixture(scope="module")
def data_dir(postgres) -> Path:
    """A directory for the tests of this module, beside the test run's own server, where the server's user may go."""
    return postgres.data_dir / "other"


def test_is_durable_and_in_utc(postgres):
    settings = {
        name: value(postgres, f"SHOW {name}")
        for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums")
    }
    assert set(settings.values()) == {"on"}
    assert value(postgres, "SHOW timezone") == "UTC"
    assert value(postgres, "SHOW listen_addresses") == ""
    assert value(postgres, "SHOW server_version_num") >= "180000"


def test_keeps_rows_from_start_to_start_and_frees_the_directory(data_dir):
    with EmbeddedPostgres(data_dir) as server:
        value(server, "CREATE TABLE kept AS SELECT 7 AS n")
        pid = postmaster_pid(server)
    assert not is_alive(pid)
    server = EmbeddedPostgres(data_dir)
    server.start()
    assert value(server, "SELECT n FROM kept") == 7
    server.stop()
    server.stop()


def test_two_services_never_share_a_directory(postgres):
    with pytest.raises(DataDirBusyError, match="Another service uses"):
        EmbeddedPostgres(postgres.data_dir).start()
    assert value(postgres, "SELECT 1") == 1


def test_it_starts_beside_its_caller_and_outlives_the_thread_that_asked_for_it(data_dir):
    server = EmbeddedPostgres(data_dir)
    asking = threading.Thread(target=server.begin)
    asking.start()
    asking.join()
    with pytest.raises(DataDirBusyError):
        EmbeddedPostgres(data_dir).begin()
    server.wait()
    assert value(server, "SELECT 1") == 1
    server.stop()


@pytest.mark.parametrize("is_under_way", [False, True])
def test_a_first_start_that_is_given_up_leaves_nothing_running(postgres, is_under_way):
    folder = postgres.data_dir / f"given up {is_under_way}"
    server = EmbeddedPostgres(folder)
    server.begin()
    if is_under_way:
        wait_until((folder / "postgres.new").exists)
    server.stop()
    assert not (folder / "postgres").exists()
    with pytest.raises(EmbeddedDatabaseError, match="stopped while it started"):
        server.wait()
    with server:
        assert value(server, "SELECT 1") == 1


def test_a_first_start_that_was_cut_off_is_begun_anew_also_where_a_path_is_too_long_for_a_socket(
    postgres,
):
    deep = postgres.data_dir / ("x" * 120)
    half_made = deep / "postgres.new"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(deep) as server:
        assert value(server, "SELECT 1") == 1
        socket_dir = Path(make_url(server.url).query["host"])
        assert socket_dir != server.pgdata
    assert not socket_dir.exists()


def test_a_server_that_cannot_start_says_where_its_log_is(data_dir):
    with EmbeddedPostgres(data_dir) as server:
        pass
    (server.pgdata / "postgresql.conf").write_text("nonsense = ?\n")
    with pytest.raises(EmbeddedDatabaseError, match=r"postgres\.log"):
        server.start()
    # The failed start has freed the directory again.
    (server.pgdata / "postgresql.conf").write_text("")
    with server:
        assert value(server, "SELECT 1") == 1


@pytest.mark.parametrize("also_postmaster", [False, True])
def test_survives_kill_9_of_its_starter(data_dir, also_postmaster):
    command = [sys.executable, "-c", STARTER, str(data_dir)]
    starter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert starter.stdout.readline() == "ready\n"
    server = EmbeddedPostgres(data_dir)
    killed_pid = postmaster_pid(server)
    value(server, "CREATE TABLE IF NOT EXISTS survived AS SELECT 7 AS n")
    if also_postmaster:
        os.kill(killed_pid, signal.SIGKILL)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    with within(10), server:
        assert value(server, "SELECT n FROM survived") == 7
        assert postmaster_pid(server) != killed_pid


def test_a_server_that_dies_is_started_again_at_the_same_url(data_dir):
    with EmbeddedPostgres(data_dir) as server:
        engine = make_engine(server.url, application_name="tests")
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE survives AS SELECT 7 AS n"))
        os.kill(postmaster_pid(server), signal.SIGKILL)

        def survives():
            with suppress(DatabaseUnavailableError), engine.connect() as connection:
                return connection.scalar(text("SELECT n FROM survives")) == 7

        wait_until(survives)
        engine.dispose()
        pid = postmaster_pid(server)
    assert not is_alive(pid)


def test_a_stale_process_id_that_is_in_use_again_does_not_matter(data_dir):
    with EmbeddedPostgres(data_dir) as server:
        pid_file = (server.pgdata / "postmaster.pid").read_text()
    lines = pid_file.splitlines()
    lines[0] = str(os.getpid())
    (server.pgdata / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with server:
        assert value(server, "SELECT 1") == 1


@pytest.mark.parametrize("name", ["PGSERVICE", "PGOPTIONS", "PGHOST", "PGTZ", "PGSSLMODE"])
def test_variables_of_other_servers_do_not_reach_it(data_dir, monkeypatch, name):
    monkeypatch.setenv(name, "theirs")
    with EmbeddedPostgres(data_dir) as server:
        assert value(server, "SELECT 1") == 1
        assert name not in os.environ
