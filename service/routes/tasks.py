"""Tasks: learn new classes, watch, cancel, retry."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response, status
from fastapi.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from registry import tasks, versions
from service.dependencies import ActorDep, ContextDep, Cursor, Limit, link_next
from service.http.accept import choose
from service.http.demands import demands, task_bytes
from service.http.openapi import TASK_BODY
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import LearnerName, Page, PublicId
from service.schemas.tasks import EventRead, Mode, Status, TaskQuery, TaskRead
from service.use_cases import task_creation
from service.use_cases.event_stream import read_events, stream_events
from service.use_cases.task_changes import change_task
from service.use_cases.task_views import find_task, list_page, read_task, wait_for_task

MAX_SEQ = 2**63 - 1

router = APIRouter(
    prefix="/v1", tags=["Tasks"], route_class=StrictRoute, dependencies=[requires("reader")]
)
trainer = [requires("trainer")]


@router.post(
    "/learners/{name}/tasks",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    dependencies=trainer,
    openapi_extra=TASK_BODY,
)
@demands(max_bytes=task_bytes, is_spooled=True, is_idempotent=True)
async def create_task(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    query: Annotated[TaskQuery, Query()],
) -> Response:
    """Teach a learner new classes from labelled images.

    Three forms. `multipart/form-data`: files `images`, with `labels` (one an image in the same order, or one for all),
    a JSON part `manifest` (`{"a.jpg": {"label": "heron", "split": "train"}}`), or filenames `label/file.jpg`; the
    options as a JSON part `options`. An archive, zip or tar (plain, gzip, xz or bzip2), as the body or as the one file
    of a form: folders `label/file`, or `train/label/file` and `test/label/file`, wrapped in others or not, or a table
    `labels.csv` beside the images; the options as query parameters. JSON with base64 images.

    `layout` of the answer says how folders were read and what was left out. Where they allow more than one reading
    nothing is learned: `layout-unclear` says what was found.

    With the option `from_feedback` the task learns from pending feedback too, or from that alone: send no image then.
    Feedback that does not fit stays pending; `from_feedback` of the answer says how many pieces were taken.

    With the mode `extend` the same folder may come again and again: images that the learner has of the same class, or
    is about to learn, are left out and counted in `known`, and an image stays on the side of the split it once had. A
    known class may bring a single image. Copies of an image within the request are learned once, and counted in
    `duplicates`.

    Every image is decoded and checked before the answer. Images of one colour are kept but not used (`quarantined`);
    one that comes under two labels, or that the learner has under another label already, is refused. A batch that looks
    poisoned is held before it is learned, with the reasons in `findings`; the option `screening` can turn that into a
    mere mention.

    The task is queued then: poll `GET /v1/tasks/{id}?wait=30`, or follow its events. What is served does not change
    until the task has succeeded.

    - **403** `quota-exceeded`: the learner would have too many classes
    - **404** `learner-not-found`
    - **409** `label-known`, `label-confusable`, `label-conflict`, `stale-head`; with `extend` also `nothing-new`: the
      learner has all of the images; with `from_feedback` also `no-feedback`, `feedback-changed`
    - **422** `images-rejected`: some images are unusable; `errors` names each. `too-few-images`, `missing-image`,
      `layout-unclear`, `archive-rejected`, `label-invalid`, `invalid-config`
    - **429** `rate-limited`: more than the key may post in 24 hours
    - **503** `overloaded`: too many uploads at once; **507** `insufficient-storage`
    """
    return await task_creation.post_upload(
        context, actor, request.state.principal, name, request, query
    )


@router.get("/learners/{name}/tasks", response_model=Page[TaskRead])
def list_learner_tasks(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    status: Annotated[list[Status], Query()] = [],  # noqa: B006 (FastAPI copies it)
    mode: Mode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TaskRead]:
    """List a learner's tasks, newest first; consolidations only with `mode=consolidate`."""
    return list_page(request, response, context, name, status, mode, limit, cursor)


@router.get("/tasks", response_model=Page[TaskRead])
def list_tasks(
    request: Request,
    response: Response,
    context: ContextDep,
    status: Annotated[list[Status], Query()] = [],  # noqa: B006 (FastAPI copies it)
    mode: Mode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[TaskRead]:
    """List the tasks of all learners, newest first; `status` may be repeated.

    Consolidations are there only with `mode=consolidate`.
    """
    return list_page(request, response, context, None, status, mode, limit, cursor)


@router.get("/tasks/{task_id}", response_model=TaskRead)
async def get_task(
    task_id: PublicId,
    request: Request,
    context: ContextDep,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end")] = 0,
) -> TaskRead:
    """Read a task; with `wait`, as soon as it has ended or that many seconds are over."""
    return await wait_for_task(request, context, task_id, wait)


@router.post(
    "/tasks/{task_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    dependencies=trainer,
)
def cancel_task(task_id: PublicId, context: ContextDep, actor: ActorDep) -> TaskRead:
    """Cancel a task: at once while it waits, within seconds while it runs. What is served does not change.

    - **409** `task-ended`
    """
    with context.session_factory.begin() as session:
        row = change_task(session, actor, "task.cancel", task_id, tasks.request_cancel)
        task = read_task(session, row)
    context.doorbell.wake()
    return task


@router.post(
    "/tasks/{task_id}/retry",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    dependencies=trainer,
)
def retry_task(task_id: PublicId, context: ContextDep, actor: ActorDep) -> TaskRead:
    """Queue a failed or cancelled task again, with its images and options.

    - **409** `task-not-retryable`: it is in another status, or its images were deleted
    - **422** `unknown-content`, `nothing-would-remain`: what it was to unlearn is not there to unlearn any more
    """
    with context.session_factory.begin() as session:
        row = change_task(session, actor, "task.retry", task_id, tasks.retry_task)
        task = read_task(session, row)
    context.doorbell.wake()
    return task


@router.post("/tasks/{task_id}/publish", response_model=TaskRead, dependencies=trainer)
def publish_task(task_id: PublicId, context: ContextDep, actor: ActorDep) -> TaskRead:
    """Publish a held task after all, though it forgets too much or its images look wrong.

    One that was held before it was learned has no version yet: it is `queued` then, learned on top of what the learner
    knows by that time, and not held for its findings again. To discard a held task, cancel it.

    - **409** `task-not-held`; `stale-head`: another version was published meanwhile; `task-not-retryable`: it was not
      learned yet, and its images were deleted
    """
    with context.session_factory.begin() as session:
        publish = partial(versions.publish_held, schedule=context.settings.schedule)
        change_task(session, actor, "task.publish", task_id, publish)
    context.watcher.wake()
    context.doorbell.wake()
    return find_task(context.session_factory, task_id)


async def _event_stream(
    task_id: PublicId,
    context: ContextDep,
    accept: Annotated[str, Header(max_length=500)] = "",
    last_event_id: Annotated[int, Header(ge=0, le=MAX_SEQ)] = 0,
) -> AsyncIterator[bytes] | None:
    """Return the stream, or None when the client wants JSON."""
    if choose(accept, ("text/event-stream", "application/json")) == "application/json":
        return None
    await run_in_threadpool(read_events, context.session_factory, task_id, last_event_id, 1)
    return stream_events(context, task_id, last_event_id)


@router.get(
    "/tasks/{task_id}/events",
    response_model=Page[EventRead],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def list_events(
    task_id: PublicId,
    request: Request,
    response: Response,
    context: ContextDep,
    stream: Annotated[AsyncIterator[bytes] | None, Depends(_event_stream)],
    cursor: Annotated[
        int, Query(ge=0, le=MAX_SEQ, description="`next_cursor` of the page before")
    ] = 0,
    limit: Limit = 50,
) -> Any:
    """Follow a task as server-sent events.

    They are `queued started phase progress findings evaluated published declined failed cancelled end`.

    A stream ends when the task has ended, and resumes after `Last-Event-ID`. With `Accept: application/json` the same
    as a page; there `cursor` is the sequence number of the last event of the page before.
    """
    if stream is not None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return EventSourceResponse(stream, headers=headers)
    items, _ = read_events(context.session_factory, task_id, cursor, limit)
    next_cursor = str(items[-1].seq) if len(items) == limit else None
    link_next(request, response, next_cursor)
    return Page[EventRead](items=items, next_cursor=next_cursor)
