"""How a learn process reaches the database, attempt after attempt."""

from sqlalchemy import text

from tests.waiting import wait_until
from worker.settings import WorkerSettings
from worker.transactions import Connections

MINE = text("select count(*) from pg_stat_activity where application_name = 'filopodia-learn'")


def test_each_attempt_connects_and_none_leaves_a_connection(
    session_factory, database_url, tmp_path
):
    connections = Connections(WorkerSettings(data_dir=tmp_path, database_url=database_url))
    compiled = set()

    def n_connected() -> int:
        with session_factory() as session:
            return int(session.scalar(MINE))

    for _ in range(2):
        with connections.opened() as sessions, sessions() as session:
            assert session.scalar(MINE) == 1
            compiled.add(id(session.get_bind()))
        wait_until(lambda: n_connected() == 0)
    assert len(compiled) == 1, "statements are compiled once an engine"
