"""Who is told of what happens, and the messages to them.

Revision: 0017, after 0016.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

HEARD = """
CREATE TRIGGER deliveries_are_heard AFTER INSERT ON deliveries FOR EACH STATEMENT
EXECUTE FUNCTION notify_listeners('filopodia_deliveries')
"""


def upgrade() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("learner_id", sa.Text(), sa.ForeignKey("learners.id", ondelete="CASCADE")),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("events", ARRAY(sa.Text()), nullable=False),
        sa.Column("rule", JSONB(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("n_dropped", sa.Integer(), nullable=False),
        sa.Column("announced", JSONB(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True)),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column(
            "subscription_id",
            sa.Text(),
            sa.ForeignKey("subscriptions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("learner_id", sa.Text(), sa.ForeignKey("learners.id", ondelete="CASCADE")),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("spent", sa.Integer(), nullable=False),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("tries", JSONB(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("status IN ('waiting', 'delivered', 'given_up')", name="status"),
    )
    op.create_index(
        "ix_deliveries_due_at",
        "deliveries",
        ["due_at"],
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index("ix_deliveries_subscription_id_id", "deliveries", ["subscription_id", "id"])
    op.create_index("ix_deliveries_learner_id", "deliveries", ["learner_id"])
    op.execute(HEARD)


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("subscriptions")
