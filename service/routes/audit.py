"""The audit log: who changed what."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime

from registry import audit
from service.dependencies import ContextDep, Cursor, Limit, link_next
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import LearnerName, Page
from service.schemas.operations import AuditRead

router = APIRouter(
    prefix="/v1/audit",
    tags=["Operating"],
    route_class=StrictRoute,
    dependencies=[requires("admin")],
)

Action = Annotated[str, Query(max_length=60, pattern=r"^[a-z.-]+$")]
KeyId = Annotated[str, Query(pattern="^[0-9a-f]{12}$")]


@router.get("", response_model=Page[AuditRead])
def list_audit(
    request: Request,
    response: Response,
    context: ContextDep,
    key: KeyId | None = None,
    learner: LearnerName | None = None,
    action: Action | None = None,
    since: AwareDatetime | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AuditRead]:
    """List what was changed and by whom, newest first. Entries are written with the change, and never altered.

    `key` keeps what one key did, `learner` what was done to the learner of a name, `action` one kind of change such as
    `learner.delete`. Predictions, and what a worker does for a task, are no entries.
    """
    with context.session_factory() as session:
        page = audit.list_audit(
            session,
            key_id=key,
            learner=learner,
            action=action,
            since=since,
            limit=limit,
            cursor=cursor,
        )
    link_next(request, response, page.next_cursor)
    items = [AuditRead.model_validate(row) for row in page.items]
    return Page[AuditRead](items=items, next_cursor=page.next_cursor)
