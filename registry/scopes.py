"""The learner scope of a key: sessions in which only some learners' rows exist.

The scope is kept where rows are read, not where routes are written: every statement of such a session gets a condition
on every table it names, joins and subqueries included. What belongs to another learner is not there, so whoever asks
for it hears what everybody hears who asks for what does not exist.
"""

from collections.abc import Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, TextClause, event, false, select
from sqlalchemy.orm import ORMExecuteState, Session, sessionmaker, with_loader_criteria

from registry.tables import (
    AccuracyRow,
    AliasRow,
    AuditRow,
    ClassRow,
    DeliveryRow,
    EndedSessionRow,
    EventRow,
    FeedbackRow,
    KeyRow,
    LearnerRow,
    LoginLinkRow,
    PredictionImageRow,
    PredictionJobImageRow,
    PredictionJobRow,
    PredictionRow,
    ReviewRow,
    Row,
    SampleRow,
    SubscriptionRow,
    TaskRow,
    VersionRow,
    WorkerRow,
)

EVERY_LEARNER: Mapping[str, Any] = MappingProxyType({"every_learner": True})
"""Execution options of a query that has to know what all learners refer to, such as whether a blob can be deleted. What
it finds must not be answered."""

HIDDEN: tuple[type[Row], ...] = (
    AuditRow,
    DeliveryRow,
    EndedSessionRow,
    KeyRow,
    LoginLinkRow,
    SubscriptionRow,
    WorkerRow,
)
"""Rows that are about the whole installation."""


def limited_to(
    sessions: sessionmaker[Session], learner_ids: Collection[str]
) -> sessionmaker[Session]:
    """Return a factory of sessions in which the rows of all other learners do not exist.

    Makes a class, so keep it. What a session adds is not checked: it has to find the learner first.
    """
    limited = sessionmaker(class_=sessions.class_, **sessions.kw)
    criteria = [
        with_loader_criteria(row, condition, include_aliases=True)
        for row, condition in conditions(learner_ids).items()
    ]
    event.listen(limited, "do_orm_execute", partial(_limit, criteria))
    return limited


def conditions(learner_ids: Collection[str]) -> dict[type[Row], ColumnElement[bool]]:
    """Return, for every kind of row, which ones belong to these learners."""
    ids = sorted(learner_ids)
    of_learners = (
        TaskRow,
        VersionRow,
        AliasRow,
        AccuracyRow,
        PredictionRow,
        PredictionJobRow,
        ReviewRow,
        ClassRow,
    )
    tasks = select(TaskRow.id).where(TaskRow.learner_id.in_(ids))
    predictions = select(PredictionRow.id).where(PredictionRow.learner_id.in_(ids))
    jobs = select(PredictionJobRow.id).where(PredictionJobRow.learner_id.in_(ids))
    return {
        LearnerRow: LearnerRow.id.in_(ids),
        **{row: row.learner_id.in_(ids) for row in of_learners},
        **{row: row.task_id.in_(tasks) for row in (SampleRow, EventRow)},
        **{row: row.prediction_id.in_(predictions) for row in (PredictionImageRow, FeedbackRow)},
        PredictionJobImageRow: PredictionJobImageRow.job_id.in_(jobs),
        **{row: false() for row in HIDDEN},
    }


def _limit(criteria: list[Any], state: ORMExecuteState) -> None:
    if state.execution_options.get("every_learner", False):
        return
    if state.is_orm_statement:
        if state.is_select or state.is_update or state.is_delete:
            state.statement = state.statement.options(*criteria)
        return
    # Advisory locks and the like name no table. What does, and cannot be limited, must not run.
    is_text = isinstance(state.statement, TextClause)
    if is_text or (state.is_select and state.statement.get_final_froms()):  # type: ignore[attr-defined]
        raise RuntimeError("A session with a learner scope was given SQL that it cannot limit.")
