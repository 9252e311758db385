"""The stored images of tasks."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from registry import classes, samples, tasks
from service.dependencies import ActorDep, ContextDep, Cursor, Limit, link_next
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import Page, PublicId
from service.schemas.tasks import SampleRead, SamplesDropped
from service.use_cases import sample_changes

router = APIRouter(
    prefix="/v1", tags=["Tasks"], route_class=StrictRoute, dependencies=[requires("reader")]
)


@router.get("/tasks/{task_id}/samples", response_model=Page[SampleRead])
def list_samples(
    task_id: PublicId,
    request: Request,
    response: Response,
    context: ContextDep,
    split: Literal["train", "eval"] | None = None,
    label: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[SampleRead]:
    """List a task's stored images in the order they were sent."""
    with context.session_factory() as session:
        task = tasks.get_task(session, task_id)
        if label is not None:
            label = classes.resolve(session, task.learner_id, label)
        page = samples.list_samples(
            session, task_id, split=split, label=label, limit=limit, cursor=cursor
        )
    link_next(request, response, page.next_cursor)
    items = [SampleRead.model_validate(row) for row in page.items]
    return Page[SampleRead](items=items, next_cursor=page.next_cursor)


@router.delete(
    "/tasks/{task_id}/samples",
    response_model=SamplesDropped,
    dependencies=[requires("trainer")],
)
def drop_samples(task_id: PublicId, context: ContextDep, actor: ActorDep) -> SamplesDropped:
    """Delete a task's images. Learning and predicting go on unharmed; the task can no longer be retried or evaluated.

    - **409** `learner-busy`: the task waits or runs, so its images are needed
    """
    return SamplesDropped(deleted=sample_changes.drop_samples(context, actor, task_id))


@router.get(
    "/samples/{sample_id}/image",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_sample_image(sample_id: PublicId, context: ContextDep) -> Response:
    """Read a stored image as it is learned from: upright, RGB, without metadata, as PNG."""
    image = samples.read_image(context.session_factory, context.blobs, sample_id)
    return image_response(image.png, image.sha256)


def image_response(png: bytes, sha256: str) -> Response:
    """Return a stored image such that a browser shows it, keeps it, and runs nothing of it."""
    headers = {
        "Cache-Control": "private, max-age=86400, immutable",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": "inline",
        "ETag": f'"{sha256}"',
    }
    return Response(png, media_type="image/png", headers=headers)
