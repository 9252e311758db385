"""What the pages show, read from the registry. Read-only; nothing here knows HTML."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from registry import (
    accuracy,
    classes,
    corrections,
    keys,
    learners,
    tasks,
    unlearning,
    versions,
    workers,
)
from registry.accuracy import AccuracyHistory
from registry.errors import ConflictError, NothingWouldRemainError, UnknownContentError
from registry.measures import Measure, difference
from registry.paging import Page
from registry.pictures import held_out
from registry.postgres.database import Session
from registry.statuses import UNFINISHED, TaskStatus
from registry.tables import LearnerRow, TaskRow, VersionRow
from registry.versions import NewAccuracy
from service.dashboard.consolidation_view import active
from service.dashboard.gallery import pictures
from service.dashboard.plots import MOST_NAMES
from service.dashboard.synapse_view import routing_of
from service.dashboard.view_models import (
    Finding,
    Gone,
    LearnerCard,
    LearnerPage,
    SampleView,
    TaskChange,
    TaskView,
    VersionView,
    WorkerView,
    sample_view,
)
from service.wording import listed

LEARNERS_SHOWN = 24
TASKS_SHOWN = 50
VERSIONS_SHOWN = 12
SAMPLES_SHOWN = 24
SPARK_WIDTH, SPARK_HEIGHT = 100.0, 36.0
CHIPS_SHOWN = 60
"""Classes on a learner's page; the gallery has them all."""


def learner_cards(session: Session, cursor: str | None) -> tuple[list[LearnerCard], str | None]:
    """Return a page of learners, and the cursor of the next one."""
    page = learners.list_learners(session, limit=LEARNERS_SHOWN, cursor=cursor)
    return [_card(session, learner) for learner in page.items], page.next_cursor


def learner_page(session: Session, name: str, versions_cursor: str | None = None) -> LearnerPage:
    """Return everything on a learner's page.

    Raises:
        LearnerNotFoundError: If there is none of this name.
        InvalidCursorError: If the cursor is not one of ours.
    """
    learner = learners.get_learner(session, name)
    table = learners.class_table(session, learner)
    newest_tasks = tasks.list_tasks(session, learner_name=name, limit=TASKS_SHOWN)
    newest = versions.list_versions(
        session, learner.id, limit=VERSIONS_SHOWN, cursor=versions_cursor
    )
    history = accuracy.history(session, learner.id)
    is_head_live = learners.live_version(session, learner.id) == learner.head_version
    card = _card(session, learner, history if is_head_live else None)
    served = (
        versions.get_version(session, learner.id, card.live_version) if card.live_version else None
    )
    first_labels = [info.label for info in table[:CHIPS_SHOWN]]
    return LearnerPage(
        card=card,
        history=history,
        changes=_changes(history),
        tasks=_task_views(session, newest_tasks.items),
        class_groups=[
            (index, list(group))
            for index, group in groupby(
                sorted(table[:CHIPS_SHOWN], key=lambda item: item.task_index),
                key=lambda item: item.task_index,
            )
        ],
        versions=[_version_view(version) for version in newest.items],
        older_versions=newest.next_cursor,
        routing=routing_of(session, served) if served else None,
        pictures=pictures(session, learner.id, first_labels, each=1),
    )


def task_list(session: Session, cursor: str | None) -> tuple[list[TaskView], str | None]:
    """Return a page of all tasks, newest first, and the cursor of the next one."""
    page: Page[TaskRow] = tasks.list_tasks(session, limit=TASKS_SHOWN, cursor=cursor)
    return _task_views(session, page.items), page.next_cursor


def worker_list(session: Session) -> list[WorkerView]:
    """Return the workers seen within a day, by name."""
    return [
        WorkerView(
            id=seen.row.id,
            state=seen.state,
            device=seen.row.device,
            host=seen.row.host,
            learning=", ".join(
                f"{learner}: {listed(task.classes) or f'task {task.index}'}"
                for task, learner in seen.learning
            ),
            seen_at=seen.row.seen_at,
        )
        for seen in workers.list_workers(session)
    ]


def active_tasks(session: Session, learner_name: str | None) -> list[TaskView]:
    """Return the tasks that wait or run, oldest first; of one learner, or of all.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    page = tasks.list_tasks(
        session, learner_name=learner_name, statuses=UNFINISHED, limit=TASKS_SHOWN
    )
    return _task_views(session, page.items[::-1])


def held_tasks(session: Session, learner_name: str | None) -> list[TaskView]:
    """Return the tasks that wait for a person's decision, oldest first; of one learner, or of all.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    page = tasks.list_tasks(
        session, learner_name=learner_name, statuses=(TaskStatus.HELD,), limit=TASKS_SHOWN
    )
    return _task_views(session, page.items[::-1])


def moving(session: Session, learner_name: str | None) -> list[dict[str, Any]]:
    """Return what of tasks and consolidations that wait or run moves on a page; of one learner, or of all.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    shown = ("id", "status", "phase", "fraction", "note")
    found = [
        {key: getattr(task, key) for key in shown} for task in active_tasks(session, learner_name)
    ]
    for one in active(session, learner_name, limit=TASKS_SHOWN):
        found.append({key: getattr(one, key) for key in shown[:-1]} | {"note": one.standing})
    return found


def known_tasks(session: Session, learner_name: str | None) -> dict[str, str]:
    """Return id and status of what waits or runs: a page that follows it compares. As `moving`."""
    return {task["id"]: task["status"] for task in moving(session, learner_name)}


def held_out_samples(session: Session, learner_name: str) -> list[SampleView]:
    """Return some held-out images of what the live version knows, evenly over its classes.

    Raises:
        LearnerNotFoundError: If there is none of this name.
    """
    learner = learners.get_learner(session, learner_name)
    shown = classes.shown(session, learner.id)
    samples = [
        sample_view(picture, shown.name(picture.label))
        for picture in held_out(session, learner.id, limit=SAMPLES_SHOWN)
    ]
    return sorted(samples, key=lambda sample: sample.label)


def _changes(history: AccuracyHistory) -> list[TaskChange]:
    matrix = history.measures.matrix
    if len(history.tasks) <= MOST_NAMES or not matrix:
        return []
    found = [
        TaskChange(task, learned, now, difference(now, learned))
        for task, learned, now in (
            (task, matrix[history.learned_at[column]][column], matrix[-1][column])
            for column, task in enumerate(history.tasks)
        )
        if now is not None
    ]
    return sorted(found, key=lambda change: (change.now.value, change.task))


def _card(
    session: Session, learner: LearnerRow, history: AccuracyHistory | None = None
) -> LearnerCard:
    """Return a learner's card; its history up to the live version is read if it is not given."""
    live = learners.live_version(session, learner.id)
    if history is None:
        history = accuracy.history(session, learner.id, live)
    served = versions.get_version(session, learner.id, live) if live else None
    return LearnerCard(
        name=learner.name,
        strategy=learner.strategy,
        backbone=learner.backbone,
        created_at=learner.created_at,
        live_version=live,
        head_version=learner.head_version,
        n_classes=len(served.classes) if served else 0,
        n_tasks=history.n_known,
        last=history.measures.last,
        average=history.measures.average,
        forgetting=history.measures.forgetting,
        passes=history.passes[-1] if history.passes else None,
        spark=_spark([seen.value if seen else None for seen in history.measures.seen]),
        active=active_tasks(session, learner.name),
    )


def _task_views(session: Session, rows: Sequence[TaskRow]) -> list[TaskView]:
    names = learners.names(session, {row.learner_id for row in rows})
    return [task_view(session, row, names[row.learner_id]) for row in rows]


def task_view(session: Session, row: TaskRow, learner: str) -> TaskView:
    """Return a task of a learner as pages show it."""
    position = tasks.position(session, row)
    phase = str(row.progress.get("phase", row.status))
    if row.status in (TaskStatus.QUEUED, TaskStatus.CANCELLING):
        phase = "waiting" if row.status == TaskStatus.QUEUED else "cancelling"
    took = row.finished_at - row.started_at if row.finished_at and row.started_at else None
    return TaskView(
        id=row.id,
        learner=learner,
        index=row.index,
        name=row.name,
        is_unlearning=row.mode == unlearning.MODE,
        is_correction=row.mode == corrections.MODE,
        status=row.status,
        classes=row.classes,
        n_train=row.n_train,
        n_eval=row.n_eval,
        n_known=row.n_known,
        n_duplicates=row.n_duplicates,
        version=row.version,
        error=row.error,
        phase=phase,
        fraction=float(row.progress.get("fraction", 0.0)),
        note=f"number {position} in the queue" if position else _note(row.progress),
        seconds=None if took is None else took.total_seconds(),
        ended_at=row.finished_at,
        findings=[Finding(str(item["code"]), str(item["detail"])) for item in row.findings],
        is_learned=row.pending_version is not None,
        would_be=_would_be(row.pending_version),
        erases=_erases(session, row),
        gone=_gone(session, row),
    )


def _erases(session: Session, row: TaskRow) -> list[int]:
    if row.mode != unlearning.MODE or row.status != TaskStatus.HELD:
        return []
    learner = learners.get_learner_by_id(session, row.learner_id)
    asked = {"tasks": row.options["tasks"], "classes": row.options["classes"]}
    try:
        return unlearning.preview_unlearning(session, learner, **asked).versions
    except (ConflictError, UnknownContentError, NothingWouldRemainError):
        return []  # the learner has moved on: it cannot be published


def _gone(session: Session, row: TaskRow) -> Gone | None:
    if row.mode != unlearning.MODE or row.version is None:
        return None
    told = versions.get_version(session, row.learner_id, row.version).metrics.get("unlearning", {})
    counted = (row.result or {}).get("gone", {})
    return Gone(
        tasks=row.options["tasks"],
        classes=row.options["classes"],
        by=keys.names_of(session, [row.key_id]).get(row.key_id or "", ""),
        versions=counted.get("versions"),
        n_images=counted.get("images"),
        residue=told.get("residue", ""),
    )


def _would_be(pending: dict[str, Any] | None) -> list[tuple[int, Measure]]:
    cells = [NewAccuracy(**cell) for cell in pending["accuracies"]] if pending else []
    measured = [(cell.task_index, cell.measure()) for cell in cells]
    return [(index, measure) for index, measure in measured if measure is not None]


def _note(progress: dict[str, Any]) -> str:
    notes = []
    if progress.get("epoch") and progress.get("epochs"):
        notes.append(f"epoch {progress['epoch']} of {progress['epochs']}")
    if progress.get("eta_seconds") is not None:
        notes.append(f"{progress['eta_seconds']:.0f} s left")
    return ", ".join(notes)


def _version_view(row: VersionRow) -> VersionView:
    return VersionView(
        number=row.number,
        task_index=row.task_index,
        stage=row.stage,
        n_classes=len(row.classes),
        size_bytes=row.size_bytes,
        created_at=row.created_at,
        is_erased=row.erased_at is not None,
    )


def _spark(values: Sequence[float | None]) -> str:
    """Return polyline points for a small chart from 0 to 1, so that those of several learners can be compared."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    step = SPARK_WIDTH / (len(known) - 1)
    return " ".join(
        f"{i * step:.1f},{2 + (1 - value) * (SPARK_HEIGHT - 4):.1f}"
        for i, value in enumerate(known)
    )
