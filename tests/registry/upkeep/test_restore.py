"""What a restore takes, and what it refuses before it has changed anything."""

import json
import tarfile

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import Session

from registry import consolidations, learners, queue, tasks, versions
from registry.errors import (
    BackupDamagedError,
    BackupError,
    SchemaTooNewError,
)
from registry.postgres.database import alembic_config, driver_url
from registry.tables import CONSOLIDATE
from registry.upkeep.backup import TABLES, back_up
from registry.upkeep.restore import SCRATCH, check_backup, restore
from tests.factories import AT_ONCE, make_learner, make_task, publish_task, put_artifact
from tests.registry.upkeep.forged_backups import FORGERIES, ODD, members_of, write_tar
from tests.registry.upkeep.inspected import sick


@pytest.fixture
def old_backup(fresh, fresh_blobs, file, tmp_path):
    """A backup as the first release would have made it, of its first schema."""
    command.upgrade(alembic_config(fresh), "0001")
    engine = create_engine(driver_url(fresh))
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO learners VALUES "
                "('lrn_1', 'birds', 'simplecil', 'tiny', '{}', '{}', 0, 0, now())"
            )
        )
    columns = {}
    copied = {}
    with engine.connect() as connection:
        there = set(inspect(connection).get_table_names())
        for name in (table.name for table in TABLES if table.name in there):
            rows = connection.execute(text(f"SELECT * FROM {name}"))  # noqa: S608
            columns[name] = list(rows.keys())
            with (
                connection.connection.driver_connection.cursor() as cursor,
                cursor.copy(f"COPY {name} TO STDOUT") as copy,
            ):
                copied[name] = b"".join(bytes(data) for data in copy)
    engine.dispose()
    head = {
        "format_version": 1,
        "filopodia": "0.1.0",
        "revision": "0001",
        "tables": {
            name: {"columns": columns[name], "rows": copied[name].count(b"\n")} for name in copied
        },
    }
    members = {"backup.json": json.dumps(head).encode()}
    members |= {f"tables/{name}.copy": data for name, data in copied.items()}
    write_tar(file, members)
    assert "checkpoint" not in columns["tasks"]
    return file


def test_an_older_backup_is_migrated_up(old_backup, database_url, session_factory, blobs, tmp_path):
    restored = restore(database_url, blobs, check_backup(old_backup))
    assert restored.rows["learners"] == 1
    with session_factory() as session:
        assert learners.get_learner(session, "birds").id == "lrn_1"
    assert sick(database_url, blobs, tmp_path) == {}


def test_a_schema_of_another_release_is_refused(
    database_url, session_factory, blobs, file, filled, fresh, fresh_blobs, tmp_path
):
    back_up(database_url, blobs, file)
    command.upgrade(alembic_config(fresh), "0001")
    with pytest.raises(BackupError, match="run filopodia migrate first"):
        back_up(fresh, fresh_blobs, tmp_path / "other.tar")
    assert sick(fresh, fresh_blobs, tmp_path)["migrations"][0] == "fail"
    engine = create_engine(driver_url(fresh))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaTooNewError, match="9999"):
        restore(fresh, fresh_blobs, check_backup(file))
    assert "later release" in sick(fresh, fresh_blobs, tmp_path)["migrations"][1]


def test_a_tar_that_is_no_backup_changes_nothing(
    database_url, blobs, file, fresh, fresh_blobs, filled
):
    back_up(database_url, blobs, file)
    members = members_of(file)
    for change, message in FORGERIES:
        write_tar(file, change(members))
        with pytest.raises(BackupError, match=message):
            restore(fresh, fresh_blobs, check_backup(file))
        assert nothing_is_there(fresh)


def nothing_is_there(url):
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        schemas = set(connection.scalars(text("SELECT nspname FROM pg_namespace")))
        tables = set(connection.scalars(text("SELECT tablename FROM pg_tables")))
        is_empty = "learners" not in tables or not connection.scalar(
            text("SELECT count(*) FROM learners")
        )
    engine.dispose()
    return is_empty and SCRATCH not in schemas


def test_odd_members_are_refused(database_url, blobs, file, fresh, fresh_blobs, filled):
    back_up(database_url, blobs, file)
    whole = file.read_bytes()
    with tarfile.open(file) as tar:
        start = next(info.offset for info in tar if info.name == "sums.json")
    for extra in ODD:
        file.write_bytes(whole[:start] + extra)
        with pytest.raises(BackupDamagedError):
            restore(fresh, fresh_blobs, check_backup(file))
        assert nothing_is_there(fresh)


def test_every_flipped_byte_and_every_cut_is_noticed(
    database_url, blobs, file, fresh, fresh_blobs, session_factory
):
    with session_factory.begin() as session:
        make_learner(session)
    back_up(database_url, blobs, file)
    whole = file.read_bytes()
    with tarfile.open(file) as tar:
        # Padding and header fields such as the owner's name say nothing, and nobody reads them.
        inside = [
            position
            for info in tar
            for position in range(info.offset_data, info.offset_data + info.size)
        ]
    for position in inside[::23]:
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(BackupError):
            restore(fresh, fresh_blobs, check_backup(file))
    for length in range(0, inside[-1], 999):
        file.write_bytes(whole[:length])
        with pytest.raises(BackupDamagedError):
            restore(fresh, fresh_blobs, check_backup(file))
    for stranger in (b"", b"\x1f\x8b\x08 gzip", b"PK\x03\x04" + bytes(600), bytes(10240)):
        file.write_bytes(stranger)
        with pytest.raises(BackupDamagedError):
            restore(fresh, fresh_blobs, check_backup(file))
    with pytest.raises(BackupError, match="cannot be read"):
        restore(fresh, fresh_blobs, check_backup(file.parent / "none.tar"))


def test_consolidations_come_back_as_they_were_and_a_running_one_waits_again(
    database_url, session_factory, blobs, file, fresh, fresh_blobs, tmp_path
):
    with session_factory.begin() as session:
        make_learner(session)
        task = make_task(session, blobs, n_train=2, n_eval=1)
        publish_task(
            session,
            task,
            manifest_sha256=put_artifact(blobs, b"one"),
            unconsolidated=[1],
        )
        for is_declined in (True, False):
            waiting = consolidations.request(session, "birds", schedule=AT_ONCE)
            claimed = queue.claim(session, waiting.id, "w", 30)
            if is_declined:
                queue.decline(session, claimed.id, claimed.token, {"reason": "No better."})
        waiting.checkpoint = blobs.put(b"checkpoint")
    back_up(database_url, blobs, file)

    restored = restore(fresh, fresh_blobs, check_backup(file))

    assert restored.n_requeued == 1
    assert fresh_blobs.get(waiting.checkpoint) == b"checkpoint"
    engine = create_engine(driver_url(fresh))
    with engine.connect() as connection, Session(connection) as session:
        found = tasks.list_tasks(session, learner_name="birds", mode=CONSOLIDATE).items
        assert [(row.status, row.index) for row in found] == [("queued", -2), ("declined", -1)]
        assert found[1].result == {"reason": "No better."}
        assert (found[0].options["tasks"], found[0].attempt) == ([1], 0)
        version = versions.get_version(session, found[0].learner_id, 1)
        assert (version.stage, version.unconsolidated) == ("learned", [1])
    engine.dispose()
    assert sick(fresh, fresh_blobs, tmp_path) == {}
