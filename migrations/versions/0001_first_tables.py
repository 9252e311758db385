"""First tables: learners, tasks, samples, versions, aliases, accuracies, predictions, events, keys.

Constraints take their names from the naming convention of `registry.tables`.

Revision: 0001, the first.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "learners",
    "tasks",
    "samples",
    "versions",
    "aliases",
    "accuracies",
    "predictions",
    "events",
    "keys",
    "idempotency_keys",
)
"""In an order in which each comes after those it refers to."""


def upgrade() -> None:
    _create_learners_and_tasks()
    _create_samples_and_events()
    _create_versions()
    _create_predictions()
    _create_keys()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_update")


def _create_learners_and_tasks() -> None:
    op.create_table(
        "learners",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("metadata", JSONB(), nullable=False),
        sa.Column("head_version", sa.Integer(), nullable=False),
        sa.Column("last_task_index", sa.Integer(), nullable=False),
        _now("created_at"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text(), primary_key=True),
        _reference("learner_id", "learners.id"),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("options", JSONB(), nullable=False),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("classes", ARRAY(sa.Text()), nullable=False),
        sa.Column("n_train", sa.Integer(), nullable=False),
        sa.Column("n_eval", sa.Integer(), nullable=False),
        sa.Column("rejected", JSONB(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("progress", JSONB(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("worker_id", sa.Text()),
        sa.Column("version", sa.Integer()),
        sa.Column("pending_version", JSONB()),
        sa.Column("error", JSONB()),
        _now("created_at"),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("learner_id", "index"),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'cancelling', 'held', 'succeeded', 'failed', 'cancelled')",
            name="status",
        ),
    )
    op.create_index("ix_tasks_status_created_at", "tasks", ["status", "created_at"])


def _create_samples_and_events() -> None:
    op.create_table(
        "samples",
        sa.Column("id", sa.Text(), primary_key=True),
        _reference("task_id", "tasks.id"),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("blob_sha256", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text()),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        _now("created_at"),
        sa.UniqueConstraint("task_id", "position"),
        sa.CheckConstraint("split IN ('train', 'eval')", name="split"),
    )
    op.create_index("ix_samples_blob_sha256", "samples", ["blob_sha256"])
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger(), sa.Identity(), primary_key=True),
        _reference("task_id", "tasks.id"),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), nullable=False),
        _now("created_at"),
    )
    op.create_index("ix_events_task_id_seq", "events", ["task_id", "seq"])


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("id", sa.Text(), primary_key=True),
        _reference("learner_id", "learners.id"),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent", sa.Integer()),
        _reference("task_id", "tasks.id", unique=True),
        sa.Column("task_index", sa.Integer(), nullable=False),
        sa.Column("config", JSONB(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("backbone_fingerprint", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("classes", ARRAY(sa.Text()), nullable=False),
        sa.Column("metrics", JSONB(), nullable=False),
        sa.Column("code_versions", JSONB(), nullable=False),
        _now("created_at"),
        sa.UniqueConstraint("learner_id", "number"),
    )
    # A published version never changes, whoever writes to the database.
    op.execute(
        """
        CREATE FUNCTION refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'rows of % never change', TG_TABLE_NAME;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER versions_never_change BEFORE UPDATE ON versions "
        "FOR EACH ROW EXECUTE FUNCTION refuse_update()"
    )
    op.create_table(
        "aliases",
        _reference("learner_id", "learners.id", primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        _now("updated_at"),
    )
    op.create_table(
        "accuracies",
        _reference("learner_id", "learners.id", primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("task_index", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("n_correct", sa.Integer(), nullable=False),
        sa.Column("n_routed", sa.Integer(), nullable=False),
        sa.Column("n_routed_right", sa.Integer(), nullable=False),
        sa.Column("passes", sa.Float(), nullable=False),
    )


def _create_predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.Text(), primary_key=True),
        _reference("learner_id", "learners.id"),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("results", JSONB(), nullable=False),
        sa.Column("labels", ARRAY(sa.Text()), nullable=False),
        sa.Column("has_unknown", sa.Boolean(), nullable=False),
        _now("created_at"),
    )
    op.create_index(
        "ix_predictions_learner_id_created_at", "predictions", ["learner_id", "created_at"]
    )
    op.create_index("ix_predictions_labels", "predictions", ["labels"], postgresql_using="gin")


def _create_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        _now("created_at"),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("role IN ('reader', 'predictor', 'trainer', 'admin')", name="role"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("status_code", sa.Integer()),
        sa.Column("headers", JSONB(), nullable=False),
        sa.Column("body", JSONB()),
        _now("created_at"),
    )


def _now(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _reference(name: str, target: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(
        name, sa.Text(), sa.ForeignKey(target, ondelete="CASCADE"), nullable=False, **options
    )
