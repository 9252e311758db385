"""Consolidations: which stage a version has, what waits for one, and how one ended.

What exists was trained inside its tasks: versions of `artsy` are `consolidated`, and nothing waits. Those of strategies
that never consolidate, also the older forms of `artsy` that are stored under its name, are `learned`.

The defaults stay: while releases change, a worker of the earlier one still writes rows without these columns.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATUSES = (
    "'queued', 'running', 'cancelling', 'held', 'succeeded', 'failed', 'cancelled', 'superseded'"
)


def upgrade() -> None:
    _let_statuses_be(f"{STATUSES}, 'declined'")
    op.add_column("tasks", sa.Column("result", JSONB(none_as_null=True)))
    op.add_column(
        "versions",
        sa.Column("stage", sa.Text(), nullable=False, server_default=sa.text("'learned'")),
    )
    op.add_column(
        "versions",
        sa.Column(
            "unconsolidated", ARRAY(sa.Integer()), nullable=False, server_default=sa.text("'{}'")
        ),
    )
    op.create_check_constraint("stage", "versions", "stage IN ('learned', 'consolidated')")
    op.execute("ALTER TABLE versions DISABLE TRIGGER versions_never_change")
    op.execute(
        """
        UPDATE versions SET stage = 'consolidated' FROM learners
        WHERE learners.id = versions.learner_id AND learners.strategy = 'artsy'
            AND NOT jsonb_exists_any(
                versions.config, ARRAY['preset', 'shrinkage', 'covariance_prior']
            )
        """
    )
    op.execute("ALTER TABLE versions ENABLE TRIGGER versions_never_change")


def downgrade() -> None:
    # Their rows go, and what they made stays: the task of such a version is what the earlier release has for it.
    op.execute(
        "DELETE FROM tasks WHERE mode = 'consolidate' AND id NOT IN (SELECT task_id FROM versions)"
    )
    _let_statuses_be(STATUSES)
    op.drop_constraint(op.f("ck_versions_stage"), "versions")
    op.drop_column("versions", "unconsolidated")
    op.drop_column("versions", "stage")
    op.drop_column("tasks", "result")


def _let_statuses_be(statuses: str) -> None:
    op.drop_constraint(op.f("ck_tasks_status"), "tasks")
    op.create_check_constraint("status", "tasks", f"status IN ({statuses})")
