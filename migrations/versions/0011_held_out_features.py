"""What keeps the features of a task's held-out images. Those of tasks from before are made when they are next measured.

Revision: 0011, after 0010.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("held_out_features", sa.Text()))


def downgrade() -> None:
    op.drop_column("tasks", "held_out_features")
