"""Several workers: who they are, when a task was last rung for, and where an interrupted attempt goes on.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("rung_at", sa.DateTime(timezone=True)))
    op.add_column("tasks", sa.Column("checkpoint", sa.Text()))
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("stopped_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("kind IN ('local', 'celery')", name="kind"),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_column("tasks", "checkpoint")
    op.drop_column("tasks", "rung_at")
