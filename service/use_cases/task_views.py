"""Tasks as clients read them, and waiting for one to end."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from time import monotonic

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from registry import learners, tasks
from registry.postgres.database import Session, Sessions
from registry.statuses import ENDED, TaskStatus
from registry.tables import TaskRow
from service.dependencies import AppContext, link_next
from service.schemas.base import Page
from service.schemas.tasks import (
    FindingRead,
    LayoutRead,
    QuarantinedImage,
    RejectedImage,
    SampleCounts,
    TaskError,
    TaskProgress,
    TaskRead,
)
from service.use_cases.consolidations import read_consolidation


def read_task(session: Session, task: TaskRow, learner_name: str | None = None) -> TaskRead:
    """Return what a task reads like."""
    if learner_name is None:
        learner_name = learners.get_learner_by_id(session, task.learner_id).name
    return TaskRead(
        id=task.id,
        learner=learner_name,
        index=task.index,
        name=task.name,
        mode=task.mode,
        status=task.status,
        position=tasks.position(session, task),
        classes=task.classes,
        samples=SampleCounts(train=task.n_train, eval=task.n_eval),
        from_feedback=task.n_feedback,
        rejected=[RejectedImage.model_validate(image) for image in task.rejected],
        quarantined=[QuarantinedImage.model_validate(image) for image in task.quarantined],
        layout=None if task.layout is None else LayoutRead.model_validate(task.layout),
        duplicates=task.n_duplicates,
        known=task.n_known,
        splits_kept=task.n_splits_kept,
        findings=[FindingRead.model_validate(finding) for finding in task.findings],
        progress=TaskProgress.model_validate(task.progress),
        attempt=task.attempt,
        version=task.version,
        consolidation=read_consolidation(session, task),
        error=None if task.error is None else TaskError.model_validate(task.error),
        options=task.options,
        config=task.config,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
    )


def list_page(
    request: Request,
    response: Response,
    context: AppContext,
    learner: str | None,
    statuses: Collection[TaskStatus],
    mode: str | None,
    limit: int,
    cursor: str | None,
) -> Page[TaskRead]:
    """Return a page of tasks, newest first, and say in the answer's headers where the next one is.

    Raises:
        RegistryError: As `registry.tasks.list_tasks`.
    """
    with context.session_factory() as session:
        page = tasks.list_tasks(
            session, learner_name=learner, statuses=statuses, mode=mode, limit=limit, cursor=cursor
        )
        items = [read_task(session, task, learner) for task in page.items]
    link_next(request, response, page.next_cursor)
    return Page[TaskRead](items=items, next_cursor=page.next_cursor)


def find_task(sessions: Sessions, task_id: str) -> TaskRead:
    """Read one task.

    Raises:
        TaskNotFoundError: If there is none.
    """
    with sessions() as session:
        return read_task(session, tasks.get_task(session, task_id))


async def wait_for_task(
    request: Request, context: AppContext, task_id: str, wait_s: float
) -> TaskRead:
    """Return a task once it has ended, or as it is when the time is over.

    Raises:
        TaskNotFoundError: If there is none.
    """
    deadline = monotonic() + wait_s
    while True:
        task = await run_in_threadpool(find_task, context.session_factory, task_id)
        left_s = deadline - monotonic()
        is_over = context.stopping.is_set() or left_s <= 0
        if task.status in ENDED or is_over or await request.is_disconnected():
            return task
        with suppress(TimeoutError):
            await asyncio.wait_for(_until_ended(request, context, task_id), left_s)


async def _until_ended(request: Request, context: AppContext, task_id: str) -> None:
    """Wait until a task has ended, or is gone, or nobody needs to know any more."""
    while not (context.stopping.is_set() or await request.is_disconnected()):
        latest = await context.feed.next(task_id)
        if latest is None or latest.status in ENDED:
            return
