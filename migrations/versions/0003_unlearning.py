"""Unlearning and moving the head: which tasks a version knows, versions that were erased, tasks that were superseded.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATUSES = "'queued', 'running', 'cancelling', 'held', 'succeeded', 'failed', 'cancelled'"


def upgrade() -> None:
    _let_statuses_be(f"{STATUSES}, 'superseded'")
    op.execute("DROP TRIGGER versions_never_change ON versions")
    op.add_column("versions", sa.Column("erased_at", sa.DateTime(timezone=True)))
    op.alter_column("versions", "manifest_sha256", nullable=True)
    op.add_column("versions", sa.Column("tasks", ARRAY(sa.Integer())))
    # Until now every version knew the tasks of all versions it was built on.
    op.execute(
        """
        WITH RECURSIVE line AS (
            SELECT learner_id, number AS version, number, parent, task_index FROM versions
            UNION ALL
            SELECT line.learner_id, line.version, older.number, older.parent, older.task_index
            FROM line JOIN versions AS older
                ON older.learner_id = line.learner_id AND older.number = line.parent
        )
        UPDATE versions SET tasks = (
            SELECT array_agg(line.task_index ORDER BY line.number) FROM line
            WHERE line.learner_id = versions.learner_id AND line.version = versions.number
        )
        """
    )
    op.alter_column("versions", "tasks", nullable=False)
    op.create_check_constraint(
        "erased", "versions", "(manifest_sha256 IS NULL) = (erased_at IS NOT NULL)"
    )
    op.execute(
        """
        CREATE FUNCTION refuse_version_update() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- To be erased is the one thing that can happen to a version, and only once.
            IF OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL
                AND to_jsonb(NEW) - 'erased_at' - 'manifest_sha256'
                  = to_jsonb(OLD) - 'erased_at' - 'manifest_sha256'
            THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'rows of % never change', TG_TABLE_NAME;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER versions_never_change BEFORE UPDATE ON versions "
        "FOR EACH ROW EXECUTE FUNCTION refuse_version_update()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER versions_never_change ON versions")
    op.execute("DROP FUNCTION refuse_version_update")
    op.drop_constraint(op.f("ck_versions_erased"), "versions")
    op.drop_column("versions", "tasks")
    # Fails where a version was erased: what the older release would serve is gone.
    op.alter_column("versions", "manifest_sha256", nullable=False)
    op.drop_column("versions", "erased_at")
    op.execute(
        "CREATE TRIGGER versions_never_change BEFORE UPDATE ON versions "
        "FOR EACH ROW EXECUTE FUNCTION refuse_update()"
    )
    op.execute("UPDATE tasks SET status = 'succeeded' WHERE status = 'superseded'")
    _let_statuses_be(STATUSES)


def _let_statuses_be(statuses: str) -> None:
    op.drop_constraint(op.f("ck_tasks_status"), "tasks")
    op.create_check_constraint("status", "tasks", f"status IN ({statuses})")
