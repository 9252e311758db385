"""Links that log a browser in, for who has a key already."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, status

from service.dependencies import ContextDep
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.schemas.operations import LoginLinkRead

router = APIRouter(
    prefix="/v1/login-links",
    tags=["Keys"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=LoginLinkRead)
def create_login_link(context: ContextDep, caller: PrincipalDep) -> LoginLinkRead:
    """Make a link that logs one browser in to the dashboard, with the key of this request.

    It works once, within ten minutes, at any service on the same database.
    """
    path = context.login_links.make(caller.key_id)
    expires_at = datetime.now(UTC) + timedelta(seconds=context.login_links.lifetime_s)
    return LoginLinkRead(path=path, expires_at=expires_at)
