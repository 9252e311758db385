"""How the folders of an upload were read, kept with its task.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("layout", JSONB()))


def downgrade() -> None:
    op.drop_column("tasks", "layout")
