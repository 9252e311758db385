"""The task table as a queue: claim, lease, heartbeat, and the writes of the worker that holds a task.

A claim raises the task's token. Every later write of that attempt names the token and is refused with `FencedError`
once another claim, a cancel or an end has made it stale, so a worker that slept through its lease can do no harm.
All times are the database's.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from registry import consolidations, turns
from registry.errors import FencedError
from registry.events import append_event
from registry.statuses import WITH_WORKER, TaskStatus
from registry.tables import CONSOLIDATE, INITIAL_PROGRESS, LearnerRow, TaskRow

MAX_ATTEMPTS = 5
"""Attempts after which a task is given up, so that one that kills its worker does not do so for ever."""

RETRY_DELAY_S, MAX_RETRY_DELAY_S = 5, 300
"""Wait after the first failed attempt, doubled after each further one, and its bound."""

ACCEPTED = "accepted"
"""Option `screening` of a task that a person wants learned in spite of its findings."""

NO_FREE_WORKER_S = 1.0
"""How long a task waits for a free worker before a consolidation is put down for it, whosesoever it is."""

HeartbeatAnswer = Literal["ok", "cancel", "lost", "yield"]


@dataclass(frozen=True)
class ClaimedTask:
    """A task that the caller may now learn, and the token that proves it."""

    id: str
    learner_id: str
    token: int
    attempt: int
    is_consolidation: bool = False
    """Whether it is put down for a task."""
    is_asked_for: bool = False
    """Of a consolidation: whether somebody asked for it, and so may wait for it."""


def claim_next(session: Session, worker_id: str, lease_s: float) -> ClaimedTask | None:
    """Take the oldest task that may be learned now, or else the oldest consolidation, or None.

    That is a queued task whose waiting time is over, or a running one whose worker let the lease run out; the first
    unfinished one of its learner, none of whose tasks is running. Several workers may call this at once. Commit soon:
    the learner's row stays locked until then.
    """
    settle_abandoned(session)
    candidate = session.execute(
        select(TaskRow.id, TaskRow.learner_id)
        .join(LearnerRow, LearnerRow.id == TaskRow.learner_id)
        .where(_claimable())
        .order_by(*_in_turn())
        .limit(1)
        .with_for_update(of=LearnerRow, key_share=True, skip_locked=True)
    ).one_or_none()
    return _take(session, candidate.id, worker_id, lease_s) if candidate else None


def claim(session: Session, task_id: str, worker_id: str, lease_s: float) -> ClaimedTask | None:
    """Take this task under the rules of `claim_next`, or None if it may not be learned now or does not exist."""
    settle_abandoned(session)
    learner = session.execute(
        select(LearnerRow.id)
        .join(TaskRow, LearnerRow.id == TaskRow.learner_id)
        .where(TaskRow.id == task_id)
        .with_for_update(of=LearnerRow, key_share=True, skip_locked=True)
    ).one_or_none()
    return _take(session, task_id, worker_id, lease_s) if learner else None


def due_to_ring(session: Session, every_s: float, *, limit: int) -> list[str]:
    """Return tasks that some worker may claim now and that were not rung for in the last `every_s`, in their turn.

    They count as rung for from now on: of several callers one gets each. Settles what `settle_abandoned` does.
    """
    settle_abandoned(session)
    due = (
        select(TaskRow.id)
        .where(
            _claimable(),
            or_(TaskRow.rung_at.is_(None), TaskRow.rung_at < _from_now(-every_s)),
        )
        .order_by(*_in_turn())
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    task_ids = list(session.scalars(due))
    session.execute(
        update(TaskRow)
        .where(TaskRow.id.in_(task_ids))
        .values(rung_at=func.now())
        .execution_options(synchronize_session=False)
    )
    return task_ids


def heartbeat(session: Session, task_id: str, token: int, lease_s: float) -> HeartbeatAnswer:
    """Extend the lease of an attempt.

    Returns:
        `ok`; `cancel` if the task is to be stopped; `lost` if the attempt is no longer current; `yield` if it is a
        consolidation that is to be put down, for a task or because its hours are over.
    """
    statement = (
        update(TaskRow)
        .where(TaskRow.id == task_id, TaskRow.token == token, TaskRow.status.in_(WITH_WORKER))
        .values(lease_until=_from_now(lease_s))
        .returning(TaskRow.status, TaskRow.mode, TaskRow.learner_id, turns.in_hours())
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        return "lost"
    status, mode, learner_id, may_run = row
    if status == TaskStatus.CANCELLING:
        return "cancel"
    if mode != CONSOLIDATE or (may_run and not _is_in_the_way(session, task_id, learner_id)):
        return "ok"
    return "yield"


def update_progress(session: Session, task_id: str, token: int, progress: dict[str, Any]) -> None:
    """Record how far an attempt is, for clients that watch.

    Args:
        session: Database session.
        task_id: Task of the attempt.
        token: Token of the attempt.
        progress: `{phase, fraction, epoch, epochs, eta_seconds}`.

    Raises:
        FencedError: If the attempt is no longer current.
    """
    task = lock_attempt(session, task_id, token)
    if task.progress["phase"] != progress["phase"]:
        append_event(session, task_id, "phase", {"phase": progress["phase"]})
    task.progress = progress
    session.flush()
    append_event(session, task_id, "progress", progress)


def note_findings(
    session: Session, task_id: str, token: int, findings: list[dict[str, Any]]
) -> None:
    """Keep what looked wrong with a task, in place of what an earlier attempt found.

    Raises:
        FencedError: If the attempt is no longer current.
    """
    task = lock_attempt(session, task_id, token)
    if findings != task.findings:
        task.findings = findings
        session.flush()
        append_event(session, task_id, "findings", {"findings": findings})


def hold_unlearned(session: Session, task_id: str, token: int, reason: str) -> None:
    """Hold a task before it is learned: it is `held` without a version, and a person decides.

    Held tasks block no other task of their learner.

    Args:
        session: Database session.
        task_id: Task of the attempt.
        token: Token of the attempt.
        reason: One sentence for that person.

    Raises:
        FencedError: If the attempt is no longer current, or the task is being cancelled.
    """
    task = lock_attempt(session, task_id, token, statuses={TaskStatus.RUNNING})
    task.status = TaskStatus.HELD
    task.error = {"code": "held", "detail": reason}
    task.lease_until = None
    session.flush()
    append_event(session, task.id, "end", {"status": TaskStatus.HELD})


def release_held(session: Session, task: TaskRow) -> None:
    """Queue a task that was held before it was learned, in its old place; its findings hold it no more."""
    task.options = {**task.options, "screening": ACCEPTED}
    task.attempt = 0
    task.error = task.not_before = None
    _back_to_queue(session, task)


def decline(session: Session, task_id: str, token: int, result: dict[str, Any]) -> None:
    """End a consolidation that is not published: nothing that is served changes, and its tasks go on waiting.

    Args:
        session: Database session.
        task_id: The consolidation.
        token: Token of the attempt.
        result: What was found, as JSON; its `reason` says in a sentence why.

    Raises:
        FencedError: If the attempt is no longer current, or is being cancelled.
    """
    task = lock_attempt(session, task_id, token, statuses={TaskStatus.RUNNING})
    task.status = TaskStatus.DECLINED
    task.result = result
    task.error = task.lease_until = None
    task.finished_at = func.now()
    session.flush()
    append_event(session, task.id, "declined", {"reason": result["reason"]})
    append_event(session, task.id, "end", {"status": TaskStatus.DECLINED})


def fail_task(session: Session, task_id: str, token: int, code: str, detail: str) -> None:
    """End an attempt and its task as failed. Nothing that is served changes.

    Raises:
        FencedError: If the attempt is no longer current.
    """
    _end_failed(session, lock_attempt(session, task_id, token), code, detail)


def requeue_task(
    session: Session,
    task_id: str,
    token: int,
    code: str,
    detail: str,
    delay_s: float | None = None,
) -> TaskStatus:
    """Queue a task again after an attempt that may go better next time.

    After the last attempt the task fails; one that is being cancelled is cancelled.

    Args:
        session: Database session.
        task_id: Task of the attempt.
        token: Token of the attempt.
        code: Failure code, kept as the task's `error`.
        detail: One sentence for the user.
        delay_s: Wait before the next attempt; default grows with the number of attempts.

    Returns:
        The task's status now.

    Raises:
        FencedError: If the attempt is no longer current.
    """
    task = lock_attempt(session, task_id, token)
    if task.status == TaskStatus.CANCELLING:
        _end_cancelled(session, task)
    elif task.attempt >= MAX_ATTEMPTS:
        _end_failed(session, task, code, detail)
    else:
        default_s = min(2 ** (task.attempt - 1) * RETRY_DELAY_S, MAX_RETRY_DELAY_S)
        task.not_before = _from_now(default_s if delay_s is None else delay_s)
        task.error = {"code": code, "detail": detail}
        _back_to_queue(session, task)
    return task.status


def give_back(session: Session, task_id: str, token: int) -> TaskStatus:
    """Return a task unlearned because its worker stops, or it is put down for another; the attempt does not count.

    Returns:
        The task's status now: `queued`, or `cancelled` if it was being cancelled.

    Raises:
        FencedError: If the attempt is no longer current.
    """
    task = lock_attempt(session, task_id, token)
    if task.status == TaskStatus.CANCELLING:
        _end_cancelled(session, task)
    else:
        task.attempt -= 1
        _back_to_queue(session, task)
    return task.status


def finish_cancelled(session: Session, task_id: str, token: int) -> None:
    """End an attempt whose learn process was stopped for a cancel.

    Raises:
        FencedError: If the attempt is no longer current.
    """
    _end_cancelled(session, lock_attempt(session, task_id, token))


def release_leases(session: Session, worker_id: str) -> int:
    """Let the leases of a worker's attempts run out now, and return how many there were.

    For a worker that starts and knows that all its predecessors of the same id are dead.
    """
    statement = (
        update(TaskRow)
        .where(TaskRow.worker_id == worker_id, TaskRow.status.in_(WITH_WORKER))
        .values(lease_until=_from_now(-1))
        .returning(TaskRow.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(statement).all())


def settle_abandoned(session: Session) -> None:
    """Settle tasks whose worker let the lease run out and that nobody may take over as they are.

    A task being cancelled is cancelled; one at its last attempt fails as `worker-lost`; one that another of its learner
    goes before is queued behind it, or each would wait for the other for ever.
    """
    is_last = TaskRow.attempt >= MAX_ATTEMPTS
    is_running = TaskRow.status == TaskStatus.RUNNING
    abandoned = select(TaskRow).where(
        TaskRow.lease_until < func.now(),
        or_(
            TaskRow.status == TaskStatus.CANCELLING,
            and_(is_running, or_(is_last, turns.is_blocked())),
        ),
    )
    for task in session.scalars(abandoned.with_for_update(skip_locked=True)):
        if task.status == TaskStatus.CANCELLING:
            _end_cancelled(session, task)
        elif task.attempt < MAX_ATTEMPTS:
            _back_to_queue(session, task)
        else:
            detail = (
                f"The worker disappeared in each of {task.attempt} attempts to learn this task."
            )
            _end_failed(session, task, "worker-lost", detail)


def lock_attempt(
    session: Session,
    task_id: str,
    token: int,
    statuses: Collection[TaskStatus] = WITH_WORKER,
) -> TaskRow:
    """Lock and return the row of a task that this attempt holds.

    Raises:
        FencedError: If the token is stale, or the task is in none of `statuses`.
    """
    query = (
        select(TaskRow)
        .where(TaskRow.id == task_id, TaskRow.token == token, TaskRow.status.in_(statuses))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    task = session.scalars(query).one_or_none()
    if task is None:
        raise FencedError(task_id, token)
    return task


def _claimable(*, but_for: str = "") -> ColumnElement[bool]:
    """Whether a row may be claimed now, or might if some other one were not with a worker."""
    is_due = or_(
        and_(
            TaskRow.status == TaskStatus.QUEUED,
            or_(TaskRow.not_before.is_(None), TaskRow.not_before <= func.now()),
            turns.in_hours(),
        ),
        and_(TaskRow.status == TaskStatus.RUNNING, TaskRow.lease_until < func.now()),
    )
    is_blocked = turns.is_blocked(but_for=but_for)
    return and_(is_due, TaskRow.attempt < MAX_ATTEMPTS, ~is_blocked)


def _in_turn() -> tuple[ColumnElement[Any], ...]:
    """Tasks go before consolidations, older ones before younger ones."""
    return TaskRow.mode == CONSOLIDATE, TaskRow.created_at.expression, TaskRow.id.expression


def _is_in_the_way(session: Session, task_id: str, learner_id: str) -> bool:
    """Whether a running consolidation is to be put down: a task waits for it, or for a worker.

    A task of its learner never waits longer than until this is asked. Those of others may find a free worker first.
    """
    since = func.greatest(TaskRow.created_at, func.coalesce(TaskRow.not_before, TaskRow.created_at))
    is_next = and_(
        TaskRow.mode != CONSOLIDATE,
        _claimable(but_for=task_id),
        or_(TaskRow.learner_id == learner_id, since < _from_now(-NO_FREE_WORKER_S)),
    )
    return session.scalars(select(TaskRow.id).where(is_next).limit(1)).first() is not None


def _take(session: Session, task_id: str, worker_id: str, lease_s: float) -> ClaimedTask | None:
    # A statement of its own, run after the learner's row is locked: it sees what others have committed meanwhile.
    query = select(TaskRow).where(TaskRow.id == task_id, _claimable()).with_for_update()
    task = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if task is None:
        return None
    task.status = TaskStatus.RUNNING
    task.token += 1
    task.attempt += 1
    task.worker_id = worker_id
    task.rung_at = None
    task.lease_until = _from_now(lease_s)
    task.started_at = task.started_at or func.now()
    if task.mode == CONSOLIDATE:
        consolidations.take_up(session, task)
    task.progress = {**INITIAL_PROGRESS, "phase": "preparing"}
    session.flush()
    append_event(session, task.id, "started", {"attempt": task.attempt})
    append_event(session, task.id, "phase", {"phase": "preparing"})
    return ClaimedTask(
        task.id,
        task.learner_id,
        task.token,
        task.attempt,
        is_consolidation=task.mode == CONSOLIDATE,
        is_asked_for=bool(task.options.get("by_hand")),
    )


def _back_to_queue(session: Session, task: TaskRow) -> None:
    task.status = TaskStatus.QUEUED
    task.lease_until = None
    task.rung_at = None
    task.progress = INITIAL_PROGRESS
    session.flush()
    append_event(session, task.id, "queued", {"attempt": task.attempt, "error": task.error})


def _end_failed(session: Session, task: TaskRow, code: str, detail: str) -> None:
    task.status = TaskStatus.FAILED
    task.error = {"code": code, "detail": detail}
    task.finished_at = func.now()
    task.lease_until = None
    session.flush()
    append_event(session, task.id, "failed", {"code": code, "detail": detail})
    append_event(session, task.id, "end", {"status": TaskStatus.FAILED})


def _end_cancelled(session: Session, task: TaskRow) -> None:
    task.status = TaskStatus.CANCELLED
    task.finished_at = func.now()
    task.lease_until = None
    session.flush()
    append_event(session, task.id, "cancelled", {})
    append_event(session, task.id, "end", {"status": TaskStatus.CANCELLED})


def _from_now(seconds: float) -> ColumnElement[Any]:
    return func.now() + timedelta(seconds=seconds)
