import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError

from registry import audit
from registry.audit import Actor
from registry.tables import AuditRow


def test_an_entry_names_who_and_what(session):
    by = Actor("0123456789ab", "laptop", "req_1")
    details = {"version": {"before": 2, "after": 1}}
    audit.record(session, by, "alias.move", learner="birds", subject="live", details=details)
    audit.record(session, None, "key.create", subject="0123456789ab")
    local, moved = audit.list_audit(session).items
    assert (moved.key_id, moved.key_name, moved.request_id) == ("0123456789ab", "laptop", "req_1")
    assert (moved.learner, moved.subject, moved.details) == ("birds", "live", details)
    assert (local.key_id, local.key_name, local.details) == (None, "local", {})
    assert local.created_at.tzinfo is not None


@pytest.mark.parametrize("change", [update(AuditRow).values(action="nothing"), delete(AuditRow)])
def test_no_entry_is_altered_or_removed(session, change):
    audit.record(session, None, "key.create", subject="0123456789ab")
    session.commit()
    with pytest.raises(DBAPIError, match="rows of audit never change"):
        session.execute(change)


def test_an_entry_goes_with_a_change_that_is_rolled_back(session_factory):
    with session_factory() as session:
        audit.record(session, None, "key.create", subject="0123456789ab")
        assert len(audit.list_audit(session).items) == 1
        session.rollback()
        assert audit.list_audit(session).items == []
