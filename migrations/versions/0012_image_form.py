"""What a learner's images become. Learners from before keep the form that they were taught in.

Revision: 0012, after 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("learners", sa.Column("halved_to", sa.Integer()))


def downgrade() -> None:
    op.drop_column("learners", "halved_to")
