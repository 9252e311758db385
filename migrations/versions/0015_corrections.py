"""What an image was sent with, where a correction has given it another label; and from which score a class is known.

Revision: 0015, after 0014.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("samples", sa.Column("taught_label", sa.Text()))
    op.add_column("classes", sa.Column("min_score", sa.Float()))


def downgrade() -> None:
    op.drop_column("classes", "min_score")
    op.drop_column("samples", "taught_label")
