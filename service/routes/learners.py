"""Learners: create, read, describe, delete; and the alias that is served."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response, status

from registry import learners
from service.dependencies import ActorDep, BodyDep, ContextDep, Cursor, Limit, link_next
from service.http.demands import demands
from service.http.idempotency import IdempotentRequest, body_digest
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.problems import Problem
from service.schemas.base import LearnerName, Page
from service.schemas.learners import (
    AliasRead,
    AliasWrite,
    LearnerCreate,
    LearnerRead,
    LearnerUpdate,
)
from service.use_cases import learner_changes, live_alias
from service.use_cases.learner_changes import metadata_etag
from service.use_cases.learner_views import read_learner

router = APIRouter(
    prefix="/v1/learners",
    tags=["Learners"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)

IfMatch = Annotated[str | None, Header(max_length=200)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=LearnerRead,
    dependencies=[requires("trainer", everywhere=True)],
)
@demands(is_idempotent=True)
def create_learner(
    body: LearnerCreate, raw: BodyDep, request: Request, context: ContextDep, actor: ActorDep
) -> Response:
    """Create a learner that knows nothing yet; post tasks to teach it.

    Strategy, backbone and configuration stay as they are for the learner's life; a task may override hyperparameters.

    - **409** `learner-exists`: the name is taken
    - **422** `unknown-strategy`, `unknown-backbone`, `invalid-config`
    """
    config = learner_changes.choose(
        body.strategy, body.config, body.backbone, weights=context.settings.backbone_weights
    )
    with IdempotentRequest.of(
        request, context.session_factory, body_digest(request, raw)
    ) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory.begin() as session:
            row = learner_changes.create_learner(
                session,
                actor,
                body.name,
                strategy=body.strategy,
                backbone=body.backbone,
                config=config,
                metadata=body.metadata,
            )
            read = read_learner(session, row, context.settings.schedule).model_dump(mode="json")
            headers = {"Location": f"/v1/learners/{body.name}"}
            return idempotent.answer(session, status.HTTP_201_CREATED, read, headers)


@router.get("", response_model=Page[LearnerRead])
def list_learners(
    request: Request,
    response: Response,
    context: ContextDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[LearnerRead]:
    """List learners by name."""
    with context.session_factory() as session:
        page = learners.list_learners(session, limit=limit, cursor=cursor)
        items = [read_learner(session, row, context.settings.schedule) for row in page.items]
    link_next(request, response, page.next_cursor)
    return Page[LearnerRead](items=items, next_cursor=page.next_cursor)


@router.get("/{name}", response_model=LearnerRead)
def get_learner(name: LearnerName, response: Response, context: ContextDep) -> LearnerRead:
    """Read a learner. The `ETag` stands for its metadata; send it as `If-Match` to change them."""
    with context.session_factory() as session:
        row = learners.get_learner(session, name)
        response.headers["ETag"] = metadata_etag(row)
        return read_learner(session, row, context.settings.schedule)


@router.patch("/{name}", response_model=LearnerRead, dependencies=[requires("trainer")])
def update_learner(
    name: LearnerName,
    body: LearnerUpdate,
    response: Response,
    context: ContextDep,
    actor: ActorDep,
    if_match: IfMatch = None,
) -> LearnerRead:
    """Replace the learner's metadata.

    - **412** `precondition-failed`: `If-Match` names older metadata
    """
    with context.session_factory.begin() as session:
        row = learner_changes.update_metadata(
            session, actor, name, body.metadata, if_match=if_match
        )
        response.headers["ETag"] = metadata_etag(row)
        return read_learner(session, row, context.settings.schedule)


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[requires("admin")])
def delete_learner(name: LearnerName, context: ContextDep, actor: ActorDep) -> None:
    """Delete a learner with its tasks, versions and predictions. Stored files are collected later.

    - **409** `learner-busy`: a task is running; cancel it first
    """
    with context.session_factory.begin() as session:
        learner_changes.delete_learner(session, actor, name)
    context.watcher.wake()


@router.get("/{name}/aliases/live", response_model=AliasRead)
def get_live_alias(name: LearnerName, response: Response, context: ContextDep) -> AliasRead:
    """Read which version is served; the `ETag` goes into `If-Match` to move it.

    - **409** `nothing-learned`: there is no version yet
    """
    with context.session_factory() as session:
        row = learners.get_learner(session, name)
        version = learners.live_version(session, row.id)
    if version == 0:
        raise Problem("nothing-learned")
    response.headers["ETag"] = f'"{version}"'
    return AliasRead(name=learners.LIVE, version=version, head_version=row.head_version)


@router.put("/{name}/aliases/live", response_model=AliasRead, dependencies=[requires("trainer")])
def move_live_alias(
    name: LearnerName,
    body: AliasWrite,
    response: Response,
    context: ContextDep,
    actor: ActorDep,
    if_match: IfMatch = None,
) -> AliasRead:
    """Serve another version: roll back or forward. Effective within seconds, without a gap; nothing is deleted.

    With `move_head` the next task builds on it too. Tasks whose versions do not lead to it become `superseded`, until
    the head is moved to a version that they lead to. Versions go on being numbered after the highest.

    - **404** `version-not-found`
    - **409** `version-erased`: it held what was unlearned since; `learner-busy`: with `move_head`, a task waits or runs
    - **412** `precondition-failed`: another version is served than `If-Match` names
    """
    expected = _version_of(if_match)
    with context.session_factory.begin() as session:
        head_version = live_alias.move(
            session, actor, name, body.version, expected=expected, move_head=body.move_head
        )
    context.watcher.wake()
    response.headers["ETag"] = f'"{body.version}"'
    return AliasRead(name=learners.LIVE, version=body.version, head_version=head_version)


def _version_of(if_match: str | None) -> int | None:
    if if_match in (None, "*"):
        return None
    number = str(if_match).strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Problem("precondition-failed")
    return int(number)
