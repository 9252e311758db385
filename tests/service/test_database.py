"""The database of a service: opened beside what else a start does."""

import stat

import psycopg
import pytest
from pydantic import SecretStr

from registry.errors import DatabaseUnavailableError, DataDirBusyError
from registry.postgres.embedded import EmbeddedPostgres
from service.database import Database
from service.settings import ServiceSettings


@pytest.fixture(scope="module")
def data_dir(postgres):
    """Where the server's user may go."""
    return postgres.data_dir / "opened"


def test_our_own_is_open_with_a_schema_and_a_key_and_closed_at_the_end(data_dir):
    with Database(ServiceSettings(data_dir=data_dir)) as database:
        opened = database.wait()
        assert opened.guard.is_alive()
        with psycopg.connect(opened.url) as connection:
            keys = "SELECT count(*) FROM keys"
            assert connection.execute(keys).fetchone() == (1,)
        key = data_dir / "admin.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        first = key.read_text()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()
    with Database(ServiceSettings(data_dir=data_dir)) as database:
        database.wait()
        assert key.read_text() == first, "there is one"


def test_a_start_that_ends_early_leaves_the_directory_free(data_dir):
    with Database(ServiceSettings(data_dir=data_dir)):
        pass
    with EmbeddedPostgres(data_dir):
        pass


def test_a_directory_in_use_is_told_before_anything_is_waited_for(postgres):
    with (
        pytest.raises(DataDirBusyError),
        Database(ServiceSettings(data_dir=postgres.data_dir)),
    ):
        pass


def test_one_that_is_not_ours_is_left_running(postgres, database_url, tmp_path):
    settings = ServiceSettings(data_dir=tmp_path, database_url=SecretStr(database_url))
    with Database(settings) as database:
        opened = database.wait()
        assert opened.guard is None
        assert opened.url == database_url
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_whoever_waits_is_told_what_is_wrong(tmp_path):
    url = SecretStr("postgresql://nobody@127.0.0.1:9/none")
    with Database(ServiceSettings(data_dir=tmp_path, database_url=url)) as database:
        for _ in range(2):
            with pytest.raises(DatabaseUnavailableError):
                database.wait()
