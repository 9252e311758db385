"""Backup and restore: each is what shows that the other works, and the doctor that both do."""

import hashlib
import io
import json
import stat
import tarfile
import threading

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, select, text

from registry import audit, learners, queue
from registry.blobs.store import LocalBlobStore
from registry.errors import (
    BackupDamagedError,
    BackupError,
    BackupIncompleteError,
    RestoreRefusedError,
    SchemaTooNewError,
    StorageFullError,
)
from registry.postgres.database import alembic_config, driver_url, make_engine, make_session_factory
from registry.tables import EventRow, SampleRow, TaskRow
from registry.upkeep.backup import TABLES, back_up
from registry.upkeep.restore import SCRATCH, check_backup, restore
from tests.factories import make_learner, make_task, publish_task, put_artifact
from tests.registry.upkeep.inspected import sick


def rows_of(url):
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        found = {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in TABLES
        }
    engine.dispose()
    return found


def test_restores_every_row_and_blob_elsewhere(
    database_url, blobs, file, fresh, fresh_blobs, filled, tmp_path
):
    running, cancelling = filled
    made = back_up(database_url, blobs, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.partial")) == []
    with tarfile.open(file) as tar:
        assert tar.getnames()[0] == "backup.json"
        assert tar.getnames()[-1] == "sums.json"
        assert sum(name.startswith("blobs/") for name in tar.getnames()) == made.n_blobs
    assert made.size_bytes == file.stat().st_size

    restored = restore(fresh, fresh_blobs, check_backup(file))
    assert restored.rows == made.rows
    assert restored.rows["tasks"] == 4
    assert restored.n_requeued == 1
    before, after = rows_of(database_url), rows_of(fresh)
    for name in before.keys() - {"tasks", "events", "audit"}:
        assert after[name] == before[name]
    assert {info.sha256 for info in fresh_blobs.listing()} == {
        info.sha256 for info in blobs.listing()
    }
    assert sick(fresh, fresh_blobs, tmp_path) == {}

    factory = make_session_factory(make_engine(fresh, application_name="tests"))
    with factory.begin() as session:
        task = session.get(TaskRow, running)
        assert (task.status, task.lease_until, task.worker_id) == ("queued", None, None)
        assert (task.token, task.attempt) == (2, 0)
        assert session.get(TaskRow, cancelling).status == "cancelled"
        assert queue.claim(session, running, "w", 30).token == 3
        numbers = list(session.scalars(select(EventRow.seq)))
        assert len(numbers) == len(set(numbers))
        audit.record(session, None, "key.revoke", subject="after")
        log = audit.list_audit(session).items
        actions = ["key.revoke", "installation.restore", "key.create"]
        assert [row.action for row in log] == actions
        assert log[1].subject == restored.created_at
        assert [row for row in after["audit"] if row in before["audit"]] == before["audit"] != []
    factory.kw["bind"].dispose()


def test_a_backup_of_a_restored_installation_is_the_same(
    database_url, blobs, file, fresh, fresh_blobs, filled, tmp_path
):
    back_up(database_url, blobs, file)
    restore(fresh, fresh_blobs, check_backup(file))
    back_up(fresh, fresh_blobs, tmp_path / "again.tar")
    restore(fresh, fresh_blobs, check_backup(tmp_path / "again.tar"), replace_all=True)
    before = rows_of(fresh)
    restore(fresh, fresh_blobs, check_backup(tmp_path / "again.tar"), replace_all=True)
    after = rows_of(fresh)
    assert before.keys() == after.keys()
    for name in before.keys() - {"tasks", "audit"}:
        assert after[name] == before[name]


def test_a_backup_under_load_is_of_one_moment(
    database_url, session_factory, blobs, file, fresh, fresh_blobs, filled, tmp_path
):
    stopping = threading.Event()
    failures = []

    def work():
        try:
            while not stopping.is_set():
                with session_factory.begin() as session:
                    name = f"learner {len(learners.list_learners(session, limit=1000).items)}"
                    make_learner(session, name)
                    task = make_task(session, blobs, name, classes=(name,), n_train=1, n_eval=0)
                with session_factory.begin() as session:
                    task = session.get(TaskRow, task.id)
                    manifest = put_artifact(blobs, b"shared", task.id.encode())
                    publish_task(session, task, manifest_sha256=manifest)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        counts = []
        for _ in range(4):
            made = back_up(database_url, blobs, file)
            restore(fresh, fresh_blobs, check_backup(file), replace_all=True)
            assert sick(fresh, fresh_blobs, tmp_path) == {}
            counts.append(made.rows["versions"])
    finally:
        stopping.set()
        worker.join()
    assert failures == []
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_a_missing_or_damaged_blob_is_named_and_nothing_is_written(
    database_url, session_factory, blobs, file, fresh, fresh_blobs, filled, tmp_path
):
    with session_factory() as session:
        image, other = sorted(set(session.scalars(select(SampleRow.blob_sha256))))[:2]
    blobs.delete(image)
    (blobs.root / "sha256" / other[:2] / other[2:]).write_bytes(b"x")
    file.write_bytes(b"the backup of yesterday")
    with pytest.raises(BackupIncompleteError) as caught:
        back_up(database_url, blobs, file)
    assert caught.value.hashes == [image, other]
    assert file.read_bytes() == b"the backup of yesterday"
    assert back_up(database_url, blobs, file, allow_incomplete=True).missing == [image, other]
    assert restore(fresh, fresh_blobs, check_backup(file)).missing == [image, other]
    assert "2 blobs are missing" in sick(fresh, fresh_blobs, tmp_path)["blobs"][1]


def test_a_file_that_cannot_be_written_is_said_so(database_url, blobs, tmp_path, filled):
    for name in ("", "no/such/folder/all.tar"):
        with pytest.raises(BackupError, match="cannot be written"):
            back_up(database_url, blobs, tmp_path / name)


def test_a_full_disk_leaves_the_old_backup(database_url, blobs, file, filled, monkeypatch):
    file.write_bytes(b"the backup of yesterday")
    monkeypatch.setattr("registry.upkeep.backup_file.os.fsync", no_space)
    with pytest.raises(BackupError, match="No space left"):
        back_up(database_url, blobs, file)
    assert file.read_bytes() == b"the backup of yesterday"
    assert list(file.parent.glob("*.partial")) == []


def no_space(descriptor):
    raise OSError(28, "No space left on device")


def test_refuses_an_installation_with_learners_unless_told(
    database_url, session_factory, blobs, file, filled, tmp_path
):
    back_up(database_url, blobs, file)
    before = rows_of(database_url)
    with pytest.raises(RestoreRefusedError, match="2 learners"):
        restore(database_url, blobs, check_backup(file))
    assert rows_of(database_url) == before
    with session_factory.begin() as session:
        make_learner(session, "new")
    restore(database_url, blobs, check_backup(file), replace_all=True)
    after = rows_of(database_url)
    assert after["learners"] == before["learners"]
    assert sick(database_url, blobs, tmp_path) == {}


def test_an_attempt_from_before_a_restore_never_passes_for_a_new_one(
    database_url, session_factory, blobs, file, filled
):
    running, _ = filled
    back_up(database_url, blobs, file)
    with session_factory.begin() as session:
        task = session.get(TaskRow, running)
        for _ in range(3):
            queue.give_back(session, running, task.token)
            claimed = queue.claim(session, running, "w", 30)
    restore(database_url, blobs, check_backup(file), replace_all=True)
    with session_factory.begin() as session:
        assert queue.claim(session, running, "w", 30).token > claimed.token


def test_repairs_damaged_blobs(database_url, blobs, file, filled, tmp_path):
    back_up(database_url, blobs, file)
    for info in list(blobs.listing()):
        path = blobs.root / "sha256" / info.sha256[:2] / info.sha256[2:]
        path.write_bytes(bytes(info.size))
    assert sick(database_url, blobs, tmp_path)["blobs"][0] == "fail"
    restore(database_url, blobs, check_backup(file), replace_all=True)
    assert sick(database_url, blobs, tmp_path) == {}


def test_what_a_killed_restore_left_behind_does_not_matter(
    database_url, blobs, file, filled, fresh, tmp_path
):
    back_up(database_url, blobs, file)
    engine = create_engine(driver_url(fresh))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {SCRATCH}"))
        connection.execute(text(f"CREATE TABLE {SCRATCH}.learners (half_done text)"))
    engine.dispose()
    restore(fresh, blobs, check_backup(file))
    assert sick(fresh, blobs, tmp_path) == {}


def test_refuses_while_a_service_runs(database_url, blobs, file, filled, fresh):
    back_up(database_url, blobs, file)
    engine = make_engine(fresh, application_name="filopodia-service")
    with engine.connect(), pytest.raises(RestoreRefusedError, match="stop them all"):
        restore(fresh, blobs, check_backup(file))
    engine.dispose()


def test_refuses_when_there_is_too_little_space(database_url, blobs, file, filled, fresh):
    back_up(database_url, blobs, file)
    with pytest.raises(StorageFullError):
        restore(fresh, blobs, check_backup(file), floor_bytes=1 << 60)


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


def write_tar(path, members, *, sums=None):
    sums = sums or {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    members = {**members, "sums.json": json.dumps({"members": sums, "missing": []}).encode()}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


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


def members_of(file):
    with tarfile.open(file) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.name != "sums.json"}


def change_head(members, **changes):
    head = json.loads(members["backup.json"]) | changes
    return members | {"backup.json": json.dumps(head).encode()}


def a_table_less(members):
    return {name: data for name, data in members.items() if name != "tables/keys.copy"}


def another_column(members):
    head = json.loads(members["backup.json"])
    head["tables"]["keys"]["columns"][0] = "id\") FROM PROGRAM 'true'; --"
    return members | {"backup.json": json.dumps(head).encode()}


def a_row_less(members):
    data = members["tables/learners.copy"].splitlines(keepends=True)
    return members | {"tables/learners.copy": data[0]}


def an_orphan(members):
    return members | {"tables/learners.copy": b""}


def not_rows(members):
    return members | {"tables/keys.copy": b"nonsense\n"}


FORGERIES = [
    (lambda members: members | {"blobs/" + "0" * 64: b"not its bytes"}, "blobs/0000"),
    (lambda members: members | {"../evil": b"x"}, "evil"),
    (lambda members: members | {"/etc/passwd": b"x"}, "no backup of ours"),
    (lambda members: members | {"tables/pg_authid.copy": b""}, "tables"),
    (a_table_less, "tables"),
    (another_column, "columns"),
    (a_row_less, "rows"),
    (an_orphan, "rows"),
    (not_rows, "keys cannot be read"),
    (lambda members: change_head(members, tables=[]), "backup.json"),
    (lambda members: change_head(members, format_version="1"), "format"),
    (lambda members: change_head(members, format_version=2), "later release"),
    (lambda members: change_head(members, revision="9999"), "9999"),
    (lambda members: {"tables/keys.copy": b"", **members}, "does not come first"),
    (lambda members: members | {"backup.json": b"[" * 100_000}, "not JSON"),
]


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


def entry(name, type=tarfile.REGTYPE, size=0, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = type, size, linkname
    return info.tobuf(tarfile.GNU_FORMAT)


ODD = [
    entry("blobs/" + "0" * 64, tarfile.SYMTYPE, linkname="/etc/passwd"),
    entry("blobs/" + "0" * 64, tarfile.LNKTYPE, linkname="backup.json"),
    entry("blobs/" + "0" * 64, tarfile.CHRTYPE),
    entry("blobs/" + "0" * 64, size=1 << 60),
    entry("sums.json", size=1 << 40),
    entry("x", tarfile.XHDTYPE, size=1 << 40),
    entry("x", tarfile.GNUTYPE_LONGNAME, size=1 << 40),
    b"\xff" * 512,
    b"",
]


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


def test_a_learner_made_meanwhile_is_not_overwritten(
    database_url, session_factory, blobs, file, filled, fresh, fresh_blobs
):
    back_up(database_url, blobs, file)

    class BusyStore(LocalBlobStore):
        def require_space(self, size_bytes, *, floor_bytes):
            engine = make_engine(fresh, application_name="tests")
            with make_session_factory(engine).begin() as session:
                make_learner(session, "meanwhile")
            engine.dispose()

    with pytest.raises(RestoreRefusedError, match="meanwhile"):
        restore(fresh, BusyStore(fresh_blobs.root), check_backup(file))
    assert [row[1] for row in rows_of(fresh)["learners"]] == ["meanwhile"]
