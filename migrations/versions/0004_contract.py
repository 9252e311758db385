"""The rest of the HTTP contract: feedback, classes' names, findings and quarantine, scopes of keys, audit.

Revision: 0004, after 0003.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

EMPTY_LIST, EMPTY_OBJECT = sa.text("'[]'::jsonb"), sa.text("'{}'::jsonb")


def upgrade() -> None:
    _add_filled("tasks", "findings", EMPTY_LIST)
    _add_filled("tasks", "quarantined", EMPTY_LIST)
    _add_filled("tasks", "n_duplicates", sa.text("0"), sa.Integer())
    op.add_column("tasks", sa.Column("key_id", sa.Text()))
    op.create_index("ix_tasks_finished_at", "tasks", ["finished_at"])
    _add_filled("tasks", "n_feedback", sa.text("0"), sa.Integer())
    op.add_column("samples", sa.Column("quarantine", sa.Text()))
    op.add_column("keys", sa.Column("learner_ids", ARRAY(sa.Text())))
    _add_filled("keys", "quotas", EMPTY_OBJECT)
    op.add_column("keys", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.add_column("keys", sa.Column("last_used_at", sa.DateTime(timezone=True)))
    _create_feedback()
    op.create_table(
        "classes",
        _reference("learner_id", "learners.id", primary_key=True),
        sa.Column("label", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text()),
        sa.Column("is_hidden", sa.Boolean(), nullable=False),
        _now("updated_at"),
        sa.UniqueConstraint("learner_id", "name"),
    )
    _create_audit()


def downgrade() -> None:
    for table in ("audit", "classes", "feedback", "prediction_images"):
        op.drop_table(table)
    op.drop_index("ix_predictions_created_at", "predictions")
    op.drop_index("ix_tasks_finished_at")
    for table, column in (
        ("keys", "last_used_at"),
        ("keys", "expires_at"),
        ("keys", "quotas"),
        ("keys", "learner_ids"),
        ("samples", "quarantine"),
        ("tasks", "n_feedback"),
        ("tasks", "key_id"),
        ("tasks", "n_duplicates"),
        ("tasks", "quarantined"),
        ("tasks", "findings"),
    ):
        op.drop_column(table, column)


def _create_feedback() -> None:
    op.create_index("ix_predictions_created_at", "predictions", ["created_at"])
    op.create_table(
        "prediction_images",
        _reference("prediction_id", "predictions.id", primary_key=True),
        sa.Column("index", sa.Integer(), primary_key=True),
        sa.Column("blob_sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
    )
    op.create_index("ix_prediction_images_blob_sha256", "prediction_images", ["blob_sha256"])
    op.create_table(
        "feedback",
        _reference("prediction_id", "predictions.id", primary_key=True),
        sa.Column("index", sa.Integer(), primary_key=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), sa.ForeignKey("tasks.id", ondelete="SET NULL")),
        _now("created_at"),
    )
    op.create_index("ix_feedback_task_id", "feedback", ["task_id"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), sa.Identity(), primary_key=True),
        _now("created_at"),
        sa.Column("key_id", sa.Text()),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("learner", sa.Text()),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", JSONB(), nullable=False),
        sa.Column("request_id", sa.Text()),
    )
    op.create_index("ix_audit_key_id_seq", "audit", ["key_id", "seq"])
    op.create_index("ix_audit_learner_seq", "audit", ["learner", "seq"])
    op.execute(
        "CREATE TRIGGER audit_never_changes BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION refuse_update()"
    )


def _add_filled(
    table: str, column: str, value: sa.TextClause, kind: sa.types.TypeEngine[Any] | None = None
) -> None:
    """Add a column that must not be null, with a value for the rows that are there."""
    kind = kind or JSONB()
    op.add_column(table, sa.Column(column, kind, nullable=False, server_default=value))
    op.alter_column(table, column, server_default=None)


def _reference(name: str, target: str, *, primary_key: bool = False) -> sa.Column[Any]:
    return sa.Column(
        name,
        sa.Text(),
        sa.ForeignKey(target, ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def _now(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
