"""What a version answers to training images that it leaves out in turn, beside what it answers to held-out ones.

The defaults stay: while releases change, a worker of the earlier one still writes rows without these columns.

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COUNTS = ("n_cross_validated", "n_cross_validated_correct")


def upgrade() -> None:
    for column in COUNTS:
        op.add_column(
            "accuracies",
            sa.Column(column, sa.Integer(), nullable=False, server_default=sa.text("0")),
        )


def downgrade() -> None:
    for column in COUNTS:
        op.drop_column("accuracies", column)
