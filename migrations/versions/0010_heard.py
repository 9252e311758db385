"""What others wait for is notified by the database itself: whoever writes a row cannot forget it.

A notification goes out with the commit, once a transaction, and is lost if nobody listens: see
`registry/postgres/listener.py`. Heartbeats, progress and the last use of a key notify nobody.

Revision: 0010, after 0009.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SERVING, TASKS = "filopodia_serving", "filopodia_tasks"

TRIGGERS = {
    "aliases": ("INSERT OR UPDATE OR DELETE", "", SERVING),
    "versions": ("UPDATE OF erased_at", "", SERVING),
    "classes": ("INSERT OR UPDATE OR DELETE", "", SERVING),
    "keys": (
        "INSERT OR DELETE OR UPDATE OF name, role, learner_ids, quotas, expires_at, revoked_at",
        "",
        SERVING,
    ),
    "ended_sessions": ("INSERT", "", SERVING),
    "tasks": (
        "UPDATE OF status, not_before",
        # Whoever takes a task up frees none.
        "WHEN ((OLD.status <> NEW.status AND NEW.status NOT IN ('running', 'cancelling')) "
        "OR OLD.not_before IS DISTINCT FROM NEW.not_before)",
        TASKS,
    ),
}


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION notify_listeners() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify(TG_ARGV[0], '');
            RETURN NULL;
        END $$
        """
    )
    for table, (events, condition, channel) in TRIGGERS.items():
        _notify(f"{table}_are_heard", table, events, condition, channel)
    _notify("new_tasks_are_heard", "tasks", "INSERT", "", TASKS)


def downgrade() -> None:
    op.execute("DROP TRIGGER new_tasks_are_heard ON tasks")
    for table in TRIGGERS:
        op.execute(f"DROP TRIGGER {table}_are_heard ON {table}")
    op.execute("DROP FUNCTION notify_listeners")


def _notify(name: str, table: str, events: str, condition: str, channel: str) -> None:
    op.execute(
        f"CREATE TRIGGER {name} AFTER {events} ON {table} FOR EACH ROW {condition} "
        f"EXECUTE FUNCTION notify_listeners('{channel}')"
    )
