"""Whether the images that a learner is asked about look different than before."""

from fastapi import APIRouter

from service.dependencies import ContextDep
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import LearnerName
from service.schemas.drift import DriftRead
from service.use_cases.drift_views import read_drift

router = APIRouter(
    prefix="/v1/learners/{name}/drift",
    tags=["Predictions"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)


@router.get("", response_model=DriftRead)
def get_drift(name: LearnerName, context: ContextDep) -> DriftRead:
    """Read what was answered on each of the last 28 days, and what is different of late.

    The last 1, 3 and 7 whole days are compared with the 21 before them: the share of unknown images, the novelty and
    the shares of the classes. What is told is more than chance explains among all these looks, and at least 10 points.
    It is read from stored predictions, so days of which they are deleted are empty.
    """
    with context.session_factory() as session:
        return read_drift(session, name)
