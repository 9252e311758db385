"""Whether anything is wrong, and what to do next."""

from fastapi import APIRouter

from service.dependencies import ContextDep
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.schemas.operations import HealthRead
from service.use_cases.findings import GeneralHealth, check

router = APIRouter(
    prefix="/v1/health",
    tags=["Operating"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)


@router.get("", response_model=HealthRead)
def read_health(context: ContextDep, viewer: PrincipalDep) -> GeneralHealth:
    """Read whether anything needs a person, worst first, in words and with what to do next.

    It says what no single number does: a class or task that is answered worse than when it was learned by more than
    chance explains, tasks that failed or wait, a queue that is slower than usual, lost workers, a full disk, an old
    backup. A key that is limited to some learners reads what concerns those. For a load balancer, ask `/readyz`.
    """
    return check(context, viewer)
