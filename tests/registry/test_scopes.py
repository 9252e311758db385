"""Sessions with a learner scope: whatever is asked in them, the rows of other learners do not exist."""

import pytest
from sqlalchemy import delete, func, select, text, union, update
from sqlalchemy.orm import aliased

from registry.scopes import EVERY_LEARNER, limited_to
from registry.tables import EventRow, LearnerRow, SampleRow, TaskRow, WorkerRow
from tests.factories import make_learner, make_task


@pytest.fixture
def scoped(session_factory, blobs):
    """Sessions of a key for `fish`; there is also `birds`, each with a task."""
    with session_factory.begin() as session:
        ids = {name: make_learner(session, name).id for name in ("birds", "fish")}
        for name in ids:
            make_task(session, blobs, name, classes=(name,))
    return limited_to(session_factory, [ids["fish"]])


def test_every_shape_of_query_is_limited(scoped, session_factory):
    other = aliased(TaskRow)
    pending = select(TaskRow.id).where(TaskRow.status == "queued")
    queries = [
        select(func.count()).where(TaskRow.status == "queued"),
        select(func.count()).select_from(TaskRow),
        select(func.count(other.id)),
        select(func.count()).select_from(pending.subquery()),
        select(func.count()).select_from(pending.cte()),
        select(func.count()).select_from(union(pending, pending).subquery()),
        select(func.count(EventRow.seq)),
        select(func.count(LearnerRow.id)).where(LearnerRow.id.in_(select(TaskRow.learner_id))),
        select(func.count()).select_from(LearnerRow).join(TaskRow, TaskRow.learner_id == LearnerRow.id),
    ]  # fmt: skip
    with scoped() as session, session_factory() as whole:
        assert [session.scalars(query).one() for query in queries] == [1] * len(queries)
        assert [whole.scalars(query).one() for query in queries] == [2] * len(queries)
        assert session.scalars(queries[0], execution_options=EVERY_LEARNER).one() == 2


def test_a_row_is_not_found_by_its_id_either(scoped, session_factory):
    with session_factory() as whole:
        birds = whole.scalars(select(LearnerRow).where(LearnerRow.name == "birds")).one()
    with scoped() as session:
        assert session.get(LearnerRow, birds.id) is None
        assert session.get(WorkerRow, "anyone") is None


def test_nothing_else_is_changed_or_deleted(scoped, session_factory):
    with scoped.begin() as session:
        session.execute(update(TaskRow).values(name="mine"))
        session.execute(delete(SampleRow))
        session.execute(delete(EventRow))
    with session_factory() as whole:
        query = select(LearnerRow.name, TaskRow.name)
        names = whole.execute(query.join(TaskRow, TaskRow.learner_id == LearnerRow.id)).all()
        assert dict(names) == {"birds": None, "fish": "mine"}
        assert whole.scalars(select(func.count(EventRow.seq))).one() == 1
        assert set(whole.scalars(select(SampleRow.label))) == {"birds"}


@pytest.mark.parametrize(
    "statement", [text("SELECT name FROM learners"), select(LearnerRow.__table__.c.name)]
)
def test_what_cannot_be_limited_does_not_run(scoped, statement):
    with scoped() as session, pytest.raises(RuntimeError, match="cannot limit"):
        session.execute(statement)


def test_locks_can_be_taken(scoped):
    with scoped.begin() as session:
        session.execute(select(func.pg_advisory_xact_lock(1)))


def test_no_learner_at_all_is_none_and_not_all(scoped, session_factory):
    with limited_to(session_factory, [])() as session:
        assert session.scalars(select(LearnerRow)).all() == []
