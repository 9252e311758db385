"""Learners, and the aliases that name the version each one serves."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry import ancestry, classes
from registry.errors import (
    AliasMovedError,
    LearnerBusyError,
    LearnerExistsError,
    LearnerNotFoundError,
    VersionErasedError,
    VersionNotFoundError,
)
from registry.ids import new_id
from registry.paging import Page, decode_cursor, page_of
from registry.statuses import WITH_WORKER
from registry.tables import CONSOLIDATE, AliasRow, LearnerRow, SampleRow, TaskRow, VersionRow

LIVE = "live"
"""The alias that is served."""


@dataclass(frozen=True)
class ClassInfo:
    """A class a learner knows: the task that introduced it, and how many images of it are kept."""

    label: str
    task_index: int
    n_train: int
    n_eval: int
    name: str
    """What it is called; its label unless an operator has renamed it."""
    is_hidden: bool
    """Whether predictions never answer it."""
    min_score: float | None = None
    """Score below which an answer of it counts as not known; None for none."""


def create_learner(
    session: Session,
    name: str,
    *,
    strategy: str,
    backbone: str,
    config: dict[str, Any],
    halved_to: int | None,
    metadata: dict[str, Any] | None = None,
) -> LearnerRow:
    """Add a learner that knows nothing yet.

    Args:
        session: Database session.
        name: Public name.
        strategy: Name of its strategy.
        backbone: Name of its backbone.
        config: Of its strategy, complete.
        halved_to: What its images become; see `LearnerRow`.
        metadata: The user's own notes.

    Raises:
        LearnerExistsError: If the name is taken.
    """
    statement = (
        insert(LearnerRow)
        .values(
            id=new_id("lrn"),
            name=name,
            strategy=strategy,
            backbone=backbone,
            config=config,
            metadata_=metadata or {},
            halved_to=halved_to,
            head_version=0,
            last_task_index=0,
        )
        .on_conflict_do_nothing(index_elements=[LearnerRow.name])
        .returning(LearnerRow)
    )
    learner = session.scalars(statement).one_or_none()
    if learner is None:
        raise LearnerExistsError(name)
    return learner


def get_learner(session: Session, name: str, *, lock: bool = False) -> LearnerRow:
    """Return the learner of this name.

    Args:
        session: Database session.
        name: Public name.
        lock: Hold the row until the transaction ends: whoever changes tasks or versions does.

    Raises:
        LearnerNotFoundError: If there is none.
    """
    return _find(session, LearnerRow.name, name, lock=lock)


def get_learner_by_id(session: Session, learner_id: str, *, lock: bool = False) -> LearnerRow:
    """Return the learner with this id; `lock` as in `get_learner`.

    Raises:
        LearnerNotFoundError: If there is none.
    """
    return _find(session, LearnerRow.id, learner_id, lock=lock)


def list_learners(
    session: Session, *, limit: int = 50, cursor: str | None = None
) -> Page[LearnerRow]:
    """Return a page of learners by name.

    Raises:
        InvalidCursorError: If the cursor is not one of ours.
    """
    query = select(LearnerRow).order_by(LearnerRow.name).limit(limit + 1)
    if cursor is not None:
        query = query.where(LearnerRow.name > decode_cursor(cursor, 1)[0])
    return page_of(list(session.scalars(query)), limit, lambda learner: (learner.name,))


def existing(session: Session, asked: Collection[str]) -> frozenset[str]:
    """Return those of some names that a learner has."""
    query = select(LearnerRow.name).where(LearnerRow.name.in_(asked))
    return frozenset(session.scalars(query))


def names(session: Session, learner_ids: Collection[str]) -> dict[str, str]:
    """Return the names of some learners by their ids; of those that there are."""
    query = select(LearnerRow.id, LearnerRow.name).where(LearnerRow.id.in_(learner_ids))
    return {row.id: row.name for row in session.execute(query)}


def update_metadata(session: Session, name: str, metadata: dict[str, Any]) -> LearnerRow:
    """Replace the user's notes on a learner.

    Raises:
        LearnerNotFoundError: If there is none of this name.
    """
    learner = get_learner(session, name, lock=True)
    learner.metadata_ = metadata
    session.flush()
    return learner


def delete_learner(session: Session, name: str) -> None:
    """Remove a learner with its tasks, samples, versions and predictions. Its blobs stay until they are collected.

    Raises:
        LearnerNotFoundError: If there is none of this name.
        LearnerBusyError: If one of its tasks is running. A consolidation is not: nobody waits for it, and the worker
            that has it finds it gone.
    """
    learner = get_learner(session, name, lock=True)
    running = select(TaskRow.id).where(
        TaskRow.learner_id == learner.id,
        TaskRow.status.in_(WITH_WORKER),
        TaskRow.mode != CONSOLIDATE,
    )
    if session.scalars(running.limit(1)).first() is not None:
        raise LearnerBusyError
    session.execute(delete(LearnerRow).where(LearnerRow.id == learner.id))


def get_alias(session: Session, learner_id: str, name: str = LIVE) -> AliasRow | None:
    """Return an alias of a learner, or None before its first version."""
    return session.get(AliasRow, (learner_id, name), populate_existing=True)


def set_alias(
    session: Session,
    learner_id: str,
    version: int,
    *,
    name: str = LIVE,
    expected: int | None = None,
) -> AliasRow:
    """Let an alias name another version of the learner. The service serves it within its polling interval.

    Args:
        session: Database session.
        learner_id: Id of an existing learner.
        version: Number of one of its versions.
        name: The alias.
        expected: Version it must name now (0: none), or None to move it whatever it names.

    Raises:
        LearnerNotFoundError: If there is no such learner.
        VersionNotFoundError: If the learner has no such version.
        VersionErasedError: If it was erased.
        AliasMovedError: If the alias does not name `expected`.
    """
    get_learner_by_id(session, learner_id, lock=True)
    query = select(VersionRow.erased_at).where(
        VersionRow.learner_id == learner_id, VersionRow.number == version
    )
    known = session.execute(query).one_or_none()
    if known is None:
        raise VersionNotFoundError(learner_id, version)
    if known.erased_at is not None:
        raise VersionErasedError(version)
    alias = get_alias(session, learner_id, name)
    current = alias.version if alias else 0
    if expected is not None and expected != current:
        raise AliasMovedError(name, expected, current)
    if alias is None:
        alias = AliasRow(learner_id=learner_id, name=name)
        session.add(alias)
    alias.version = version
    session.flush()
    session.refresh(alias)
    return alias


def live_version(session: Session, learner_id: str) -> int:
    """Return the number of the version that is served, 0 if there is none yet."""
    query = select(AliasRow.version).where(AliasRow.learner_id == learner_id, AliasRow.name == LIVE)
    return session.scalars(query).one_or_none() or 0


def class_table(session: Session, learner: LearnerRow) -> list[ClassInfo]:
    """Return the classes of the live version in the order they were learned. A handful of queries."""
    live = live_version(session, learner.id)
    served = session.scalars(
        select(VersionRow.classes).where(
            VersionRow.learner_id == learner.id, VersionRow.number == live
        )
    ).one_or_none()
    if served is None:
        return []
    brought = ancestry.brought(session, learner.id, live)
    first_task: dict[str, int] = {}
    for task_index, labels in brought.items():
        for label in labels:
            first_task.setdefault(label, task_index)
    counts = {
        (label, split): n
        for label, split, n in session.execute(
            select(SampleRow.label, SampleRow.split, func.count())
            .join(TaskRow, TaskRow.id == SampleRow.task_id)
            .where(
                TaskRow.learner_id == learner.id,
                TaskRow.index.in_(brought),
                SampleRow.quarantine.is_(None),
            )
            .group_by(SampleRow.label, SampleRow.split)
        )
    }
    shown = classes.shown(session, learner.id)
    return [
        ClassInfo(
            label,
            first_task[label],
            counts.get((label, "train"), 0),
            counts.get((label, "eval"), 0),
            shown.name(label),
            label in shown.hidden,
            shown.min_scores.get(label),
        )
        for label in served
    ]


def _find(
    session: Session, column: InstrumentedAttribute[str], value: str, *, lock: bool
) -> LearnerRow:
    query = select(LearnerRow).where(column == value)
    if lock:
        # NO KEY UPDATE: does not hold up rows that merely refer to the learner, such as predictions.
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    learner = session.scalars(query).one_or_none()
    if learner is None:
        raise LearnerNotFoundError(value)
    return learner
