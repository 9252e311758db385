"""Backup and restore: each is what shows that the other works, and the doctor that both do."""

import stat
import tarfile
import threading

import pytest
from sqlalchemy import create_engine, select, text

from registry import audit, deliveries, learners, queue, subscriptions
from registry.blobs.store import LocalBlobStore
from registry.errors import (
    BackupError,
    BackupIncompleteError,
    RestoreRefusedError,
    StorageFullError,
)
from registry.postgres.database import driver_url, make_engine, make_session_factory
from registry.tables import EventRow, SampleRow, TaskRow
from registry.upkeep.backup import TABLES, back_up
from registry.upkeep.restore import SCRATCH, check_backup, restore
from tests.factories import (
    make_learner,
    make_subscription,
    make_task,
    publish_task,
    put_artifact,
)
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
    saved = back_up(database_url, blobs, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.partial")) == []
    with tarfile.open(file) as tar:
        assert tar.getnames()[0] == "backup.json"
        assert tar.getnames()[-1] == "sums.json"
        assert sum(name.startswith("blobs/") for name in tar.getnames()) == saved.n_blobs
    assert saved.size_bytes == file.stat().st_size

    restored = restore(fresh, fresh_blobs, check_backup(file))
    assert restored.rows == saved.rows
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
        # The installation that was backed up notes it; what the backup holds is from before.
        *kept, noted = before["audit"]
        assert "backup.make" in noted
        assert file.name in noted
        assert [row for row in after["audit"] if row in before["audit"]] == kept != []
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
            saved = back_up(database_url, blobs, file)
            restore(fresh, fresh_blobs, check_backup(file), replace_all=True)
            assert sick(fresh, fresh_blobs, tmp_path) == {}
            counts.append(saved.rows["versions"])
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


def test_subscriptions_come_back_and_their_messages_are_not_sent_once_more(
    database_url, session_factory, blobs, file, filled
):
    with session_factory.begin() as session:
        subscription = make_subscription(session, "prediction.made")
        deliveries.add_test(session, subscription)
        subscription_id, secret = subscription.id, subscription.secret
    back_up(database_url, blobs, file)
    restore(database_url, blobs, check_backup(file), replace_all=True)
    with session_factory.begin() as session:
        assert subscriptions.get(session, subscription_id).secret == secret
        assert deliveries.counts(session) == {}
        assert deliveries.claim(session, 60) is None


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
