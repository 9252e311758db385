import json
import re
import subprocess
import sys

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from registry.postgres.database import alembic_config, driver_url, migrate
from registry.tables import Row
from tests.databases import make_empty_database


@pytest.fixture
def empty_database(postgres):
    """URL of a database without tables."""
    return make_empty_database(postgres, "migrated")


@pytest.fixture
def connection(empty_database):
    engine = create_engine(driver_url(empty_database))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def tables(connection):
    connection.rollback()
    return set(inspect(connection).get_table_names())


def test_up_down_up(empty_database, connection):
    migrate(empty_database)
    assert tables(connection) == {*Row.metadata.tables, "alembic_version"}
    command.downgrade(alembic_config(empty_database), "base")
    assert tables(connection) == {"alembic_version"}
    migrate(empty_database)
    assert tables(connection) == {*Row.metadata.tables, "alembic_version"}


def test_migrated_schema_equals_the_rows(empty_database, connection):
    migrate(empty_database)
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    assert compare_metadata(context, Row.metadata) == []
    inspector = inspect(connection)
    for name, table in Row.metadata.tables.items():
        # What Alembic's comparison leaves out.
        expected = {check.name for check in table.constraints if check.name.startswith("ck_")}
        assert {check["name"] for check in inspector.get_check_constraints(name)} == expected
        assert inspector.get_pk_constraint(name)["name"] == table.primary_key.name


def words(check):
    """Return what a check lists: the database writes it otherwise than the rows do, but with the same words."""
    return sorted(re.findall(r"'([^']*)'", str(check)))


def test_migrated_checks_list_the_same_values(empty_database, connection):
    migrate(empty_database)
    found = inspect(connection)
    listed = 0
    for name, table in Row.metadata.tables.items():
        migrated = {check["name"]: check["sqltext"] for check in found.get_check_constraints(name)}
        for check in table.constraints:
            if isinstance(check, CheckConstraint):
                assert words(migrated[check.name]) == words(check.sqltext), check.name
                listed += bool(words(check.sqltext))
    assert listed >= 2


def test_several_processes_may_migrate_at_once(empty_database, connection):
    code = f"from registry.postgres.database import migrate; migrate({empty_database!r})"
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert tables(connection) >= set(Row.metadata.tables)


def test_a_second_run_changes_nothing(empty_database, connection):
    migrate(empty_database)
    connection.execute(
        text(
            "INSERT INTO keys (id, name, role, secret_sha256, quotas) "
            "VALUES ('k', 'n', 'admin', 'x', '{}')"
        )
    )
    connection.commit()
    migrate(empty_database)
    assert connection.scalar(text("SELECT count(*) FROM keys")) == 1


def test_versions_from_before_unlearning_know_their_line(empty_database, connection):
    config = alembic_config(empty_database)
    command.upgrade(config, "0002")
    connection.execute(
        text("INSERT INTO learners VALUES ('l', 'l', 's', 'b', '{}', '{}', 3, 4, now())")
    )
    # The head was never moved back before, but the first version may be any task's.
    for number, parent, index in ((1, None, 2), (2, 1, 3), (3, 2, 4)):
        values = {"id": f"t{number}", "number": number, "parent": parent, "index": index}
        connection.execute(
            text(
                "INSERT INTO tasks (id, learner_id, index, mode, options, config, seed, classes, n_train, n_eval, "
                "rejected, status, progress, attempt, token, version) VALUES (:id, 'l', :index, 'new_classes', '{}', "
                "'{}', 0, '{}', 1, 0, '[]', 'succeeded', '{}', 1, 1, :number)"
            ),
            values,
        )
        connection.execute(
            text(
                "INSERT INTO versions VALUES (:id, 'l', :number, :parent, :id, :index, '{}', 0, 'f', 'm', 1, '{}', "
                "'{}', '{}', now())"
            ),
            values,
        )
    connection.commit()
    migrate(empty_database)
    found = connection.execute(text("SELECT tasks FROM versions ORDER BY number")).scalars().all()
    assert found == [[2], [2, 3], [2, 3, 4]]
    with pytest.raises(DBAPIError, match="never change"):
        connection.execute(text("UPDATE versions SET tasks = '{1}'"))
    connection.rollback()
    connection.execute(text("UPDATE versions SET manifest_sha256 = NULL, erased_at = now()"))
    connection.commit()
    # What was erased cannot be served by an older release.
    with pytest.raises(DBAPIError, match="manifest_sha256"):
        command.downgrade(config, "0002")


def test_images_from_before_growth_stay_as_they_are(empty_database, connection):
    config = alembic_config(empty_database)
    command.upgrade(config, "0004")
    connection.execute(
        text("INSERT INTO learners VALUES ('l', 'l', 's', 'b', '{}', '{}', 1, 1, now())")
    )
    connection.execute(
        text(
            "INSERT INTO tasks (id, learner_id, index, mode, options, config, seed, classes, n_train, n_eval, "
            "rejected, status, progress, attempt, token, findings, quarantined, n_duplicates, n_feedback) VALUES "
            "('t', 'l', 1, 'new_classes', '{}', '{}', 0, '{heron}', 1, 0, '[]', 'succeeded', '{}', 1, 1, '[]', '[]', "
            "2, 0)"
        )
    )
    connection.execute(
        text("INSERT INTO samples VALUES ('s', 't', 0, 'heron', 'train', 'b', NULL, 8, 8, now())")
    )
    connection.commit()
    for revision in ("head", "0004", "head"):
        move = command.downgrade if revision == "0004" else command.upgrade
        connection.commit()
        move(config, revision)
    found = connection.execute(text("SELECT n_duplicates, n_known, n_splits_kept FROM tasks")).one()
    assert tuple(found) == (2, 0, 0)
    sample = connection.execute(text("SELECT blob_sha256, source_sha256 FROM samples")).one()
    assert tuple(sample) == ("b", None)


def test_accuracies_from_before_cross_validation_were_held_out(empty_database, connection):
    config = alembic_config(empty_database)
    command.upgrade(config, "0007")
    connection.execute(
        text("INSERT INTO learners VALUES ('l', 'l', 's', 'b', '{}', '{}', 1, 1, now())")
    )
    old = text("INSERT INTO accuracies VALUES ('l', :version, 1, 10, 9, 0, 0, 1.0)")
    connection.execute(old, {"version": 1})
    connection.commit()
    for revision in ("head", "0007", "head"):
        move = command.downgrade if revision == "0007" else command.upgrade
        connection.commit()
        move(config, revision)
    # A worker of the earlier release still writes.
    connection.execute(old, {"version": 2})
    counts = "SELECT n, n_correct, n_cross_validated, n_cross_validated_correct FROM accuracies"
    assert [tuple(row) for row in connection.execute(text(counts))] == [(10, 9, 0, 0)] * 2


def test_versions_from_before_consolidations_have_their_stage(empty_database, connection):
    config = alembic_config(empty_database)
    command.upgrade(config, "0008")
    # The default then, what was the default before under the same name, one of its presets, and another strategy.
    made = {
        "now": ("artsy", '{"epochs": 1}'),
        "gaussian": ("artsy", '{"epochs": 1, "shrinkage": 0.1}'),
        "preset": ("artsy", '{"preset": "paper"}'),
        "other": ("finetune", "{}"),
    }
    old_task = text(
        "INSERT INTO tasks (id, learner_id, index, mode, options, config, seed, classes, n_train, n_eval, rejected, "
        "status, progress, attempt, token, version, findings, quarantined, n_duplicates, n_known, n_splits_kept, "
        "n_feedback) VALUES (:id, :learner, :index, 'new_classes', '{}', '{}', 0, '{heron}', 1, 0, '[]', 'succeeded', "
        "'{}', 1, 1, :index, '[]', '[]', 0, 0, 0, 0)"
    )
    old_version = text(
        "INSERT INTO versions (id, learner_id, number, task_id, task_index, config, seed, backbone_fingerprint, "
        "manifest_sha256, size_bytes, classes, metrics, code_versions, created_at, tasks) VALUES (:id, :learner, "
        ":index, :id, :index, CAST(:config AS jsonb), 0, 'f', 'm', 1, '{heron}', '{}', '{}', now(), '{1}')"
    )
    for name, (strategy, version_config) in made.items():
        values = {"id": f"t{name}", "learner": name, "index": 1}
        connection.execute(
            text("INSERT INTO learners VALUES (:n, :n, :s, 'b', '{}', '{}', 1, 1, now())"),
            {"n": name, "s": strategy},
        )
        connection.execute(old_task, values)
        connection.execute(old_version, {**values, "config": version_config})
    connection.commit()
    for revision in ("head", "0008", "head"):
        move = command.downgrade if revision == "0008" else command.upgrade
        connection.commit()
        move(config, revision)
    # A worker of the earlier release still writes.
    values = {"id": "later", "learner": "now", "index": 2}
    connection.execute(old_task, values)
    connection.execute(old_version, {**values, "config": "{}"})
    found = connection.execute(text("SELECT task_id, stage, unconsolidated FROM versions"))
    assert {row.task_id: (row.stage, row.unconsolidated) for row in found} == {
        "tnow": ("consolidated", []),
        "tgaussian": ("learned", []),
        "tpreset": ("learned", []),
        "tother": ("learned", []),
        "later": ("learned", []),
    }
    assert connection.scalar(text("SELECT count(result) FROM tasks")) == 0
    with pytest.raises(DBAPIError, match="never change"):
        connection.execute(text("UPDATE versions SET stage = 'learned'"))
    connection.rollback()
    connection.execute(text("UPDATE tasks SET status = 'declined' WHERE id = 'tnow'"))


def test_going_back_to_a_release_without_consolidations(empty_database, connection):
    config = alembic_config(empty_database)
    migrate(empty_database)
    connection.execute(
        text("INSERT INTO learners VALUES ('l', 'l', 'artsy', 'b', '{}', '{}', 1, 1, now())")
    )
    for index, status in ((-1, "declined"), (-2, "queued"), (1, "succeeded")):
        connection.execute(
            text(
                "INSERT INTO tasks (id, learner_id, index, mode, options, config, seed, classes, n_train, n_eval, "
                "rejected, status, progress, attempt, token, findings, quarantined, n_duplicates, n_known, "
                "n_splits_kept, n_feedback, created_at) VALUES (:id, 'l', :index, :mode, '{}', '{}', 0, '{}', 1, 0, "
                "'[]', :status, '{}', 1, 1, '[]', '[]', 0, 0, 0, 0, now())"
            ),
            {
                "id": f"t{index}",
                "index": index,
                "status": status,
                "mode": "consolidate" if index < 0 else "new_classes",
            },
        )
    connection.commit()
    command.downgrade(config, "0008")
    assert list(connection.execute(text("SELECT index FROM tasks")).scalars()) == [1]


def test_images_that_were_kept_before_reviews_are_reviewed_too(empty_database, connection):
    command.upgrade(alembic_config(empty_database), "0014")
    results = [
        {"label": "heron", "score": 0.5, "novelty": 0.2, "known": True,
         "top": [{"label": "heron", "score": 0.5}, {"label": "stork", "score": 0.4}]},
        {"problem": {"code": "image-empty"}},
        {"label": "egret", "score": 0.9, "novelty": 0.97, "known": False, "filename": "a.png"},
        {"label": "heron", "score": 0.98, "novelty": 0.1, "known": True,
         "route": {"without": {"label": "stork", "score": 0.5}}},
    ]  # fmt: skip
    connection.execute(
        text(
            "INSERT INTO learners (id, name, strategy, backbone, config, metadata, head_version, last_task_index) "
            "VALUES ('lrn_1', 'birds', 'simplecil', 'tiny', '{}', '{}', 0, 0)"
        )
    )
    connection.execute(
        text(
            "INSERT INTO predictions (id, learner_id, version, results, labels, has_unknown) "
            "VALUES ('prd_1', 'lrn_1', 3, :results, '{heron}', true)"
        ),
        {"results": json.dumps(results)},
    )
    for index in (0, 2, 3):
        connection.execute(
            text("INSERT INTO prediction_images VALUES ('prd_1', :index, 'x', 9, 8)"),
            {"index": index},
        )
    connection.execute(
        text("INSERT INTO feedback (prediction_id, index, label, key_id) VALUES ('prd_1', 3, 'owl', 'k')")
    )  # fmt: skip
    connection.commit()
    command.upgrade(alembic_config(empty_database), "0016")
    rows = connection.execute(text("SELECT * FROM reviews ORDER BY index")).mappings().all()
    told = [(row["label"], round(row["usefulness"], 6), row["settled"]) for row in rows]
    assert told == [("heron", 0.9, None), ("egret", 0.97, None), ("heron", 0.8, "said")]
    assert [len(row["top"]) for row in rows] == [2, 1, 1]
    assert [row["without"] for row in rows] == [None, None, "stork"]
    assert [row["filename"] for row in rows] == [None, "a.png", None]
    assert {(row["version"], row["small"], row["features"]) for row in rows} == {(3, None, None)}
