import hashlib

from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import Session

from registry.postgres.database import driver_url
from registry.tables import SampleRow, VersionRow
from registry.upkeep.backup import back_up
from registry.upkeep.inspection import inspect_rows
from registry.upkeep.restore import check_backup, restore
from tests.registry.upkeep.inspected import sick


def test_the_doctor_finds_a_missing_and_a_flipped_blob(
    database_url, session_factory, blobs, filled, tmp_path
):
    assert sick(database_url, blobs, tmp_path) == {}
    with session_factory() as session:
        image = session.scalars(select(SampleRow.blob_sha256)).first()
        manifest = session.scalars(select(VersionRow.manifest_sha256)).one()
    tensors = hashlib.sha256(b"one").hexdigest()
    path = blobs.root / "sha256" / tensors[:2] / tensors[2:]
    path.write_bytes(b"onf")
    checks = sick(database_url, blobs, tmp_path)
    assert checks.keys() == {"blobs", "artifacts"}
    assert "1 damaged" in checks["blobs"][1]
    assert tensors in checks["artifacts"][1]
    assert sick(database_url, blobs, tmp_path, is_deep=False) == {}
    path.write_bytes(b"on")
    assert sick(database_url, blobs, tmp_path, is_deep=False).keys() == {"artifacts"}
    path.write_bytes(b"one")
    blobs.delete(image)
    checks = sick(database_url, blobs, tmp_path, is_deep=False)
    assert checks.keys() == {"blobs"}
    assert "1 blobs are missing" in checks["blobs"][1]
    blobs.delete(manifest)
    checks = sick(database_url, blobs, tmp_path)
    assert "2 blobs are missing" in checks["blobs"][1]
    assert manifest in checks["artifacts"][1]


DISAGREEMENTS = [
    ("UPDATE aliases SET version = 7", "aliases", "fail"),
    ("DELETE FROM versions", "versions", "fail"),
    ("UPDATE learners SET head_version = 9", "versions", "fail"),
    ("UPDATE tasks SET version = 5 WHERE status = 'succeeded'", "tasks", "fail"),
    ("UPDATE tasks SET status = 'failed' WHERE status = 'succeeded'", "tasks", "fail"),
    ("UPDATE tasks SET status = 'succeeded' WHERE status = 'queued'", "tasks", "fail"),
    ("UPDATE tasks SET lease_until = now() - interval '1 h'", "running tasks", "warn"),
    ("UPDATE tasks SET created_at = now() - interval '1 h'", "workers", "warn"),
    ("UPDATE alembic_version SET version_num = '0001'", "migrations", "fail"),
]


def test_the_doctor_finds_rows_that_disagree(fresh, database_url, blobs, filled, tmp_path):
    back_up(database_url, blobs, tmp_path / "all.tar")
    restore(fresh, blobs, check_backup(tmp_path / "all.tar"))
    engine = create_engine(driver_url(fresh))
    with engine.connect() as connection, Session(connection) as session:
        session.execute(
            text(
                "UPDATE tasks SET status = 'running', lease_until = now() WHERE classes = '{crane,ibis}'"
            )
        )
        for statement, name, state in DISAGREEMENTS:
            with session.begin_nested() as savepoint:
                session.execute(text(statement))
                found = {check.name: check.state for check in inspect_rows(session)}
                savepoint.rollback()
            assert found[name] == state
        assert {check.state for check in inspect_rows(session)} == {"ok"}
        session.rollback()
    engine.dispose()


def test_the_doctor_finds_what_does_not_answer(database_url, blobs, tmp_path):
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    assert sick(nowhere, blobs, tmp_path, redis_url="redis://127.0.0.1:1").keys() == {
        "database",
        "redis",
    }
    checks = sick(database_url, blobs, tmp_path, min_free_bytes=1 << 60)
    assert checks["disk of data"][0] == "fail"
