"""What a learner's training images say of each other."""

from typing import Annotated

from fastapi import APIRouter, Query

from registry import classes, learners
from service.dependencies import ContextDep, Limit
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.labels import KnownLabel
from service.schemas.base import LearnerName
from service.schemas.insights import InsightsRead
from service.use_cases import image_insights
from service.use_cases.class_changes import find_class
from service.use_cases.insight_views import read_insights

WAIT_S = 5.0
"""How long an answer waits for what is being found out; clients ask again."""

router = APIRouter(
    prefix="/v1", tags=["Learners"], route_class=StrictRoute, dependencies=[requires("reader")]
)


@router.get("/learners/{name}/insights", response_model=InsightsRead)
def read_image_insights(
    name: LearnerName,
    context: ContextDep,
    label: Annotated[KnownLabel | None, Query(description="Label or name of a class")] = None,
    limit: Limit = 50,
) -> InsightsRead:
    """Tell which of a learner's training images hurt, and which are alike.

    Each image is asked about as if it had never been taught. `suspects` are those whose label looks wrong, `pulls`
    those without which others would be answered rightly. Nothing is trained and nothing changes; `POST
    .../corrections` moves or removes images. What was removed or deleted is not named. `limit` is of each list.

    - **404** `learner-not-found`, `class-not-found`
    - **409** `cannot-look-into`: the strategy cannot; `nothing-learned`
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        known = None if label is None else find_class(session, learner, label).label
        shown = classes.shown(session, learner.id)
    found = image_insights.find(context, learner, wait_s=WAIT_S, label=known, limit=limit)
    return read_insights(found, learner.head_version, shown)
