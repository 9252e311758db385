"""Growing a learner: the file that each image came as, and what a task left out because it is known.

Revision: 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTS = ("n_known", "n_splits_kept")


def upgrade() -> None:
    op.add_column("samples", sa.Column("source_sha256", sa.Text()))
    op.create_index("ix_samples_source_sha256", "samples", ["source_sha256"])
    for column in COUNTS:
        op.add_column(
            "tasks", sa.Column(column, sa.Integer(), nullable=False, server_default=sa.text("0"))
        )
        op.alter_column("tasks", column, server_default=None)


def downgrade() -> None:
    for column in COUNTS:
        op.drop_column("tasks", column)
    op.drop_index("ix_samples_source_sha256")
    op.drop_column("samples", "source_sha256")
