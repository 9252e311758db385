"""The page of all images of a learner whose label looks wrong."""

from fastapi import APIRouter, Response

from registry import learners
from service.dashboard import insight_view
from service.dashboard.pages import PageRoute, page
from service.dependencies import ContextDep
from service.http.roles import PrincipalDep
from service.schemas.base import LearnerName
from service.use_cases.corrections import can_correct

MOST = 60
"""Images on the page; those that are settled make room for others."""

router = APIRouter(prefix="/learners/{name}/suspects", route_class=PageRoute)


@router.get("")
def show_suspects(name: LearnerName, context: ContextDep, viewer: PrincipalDep) -> Response:
    """Show the images of all classes whose label looks wrong."""
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
    insights = insight_view.look(context, learner, None, limit=MOST)
    return page(
        "suspects.html",
        viewer,
        section="learners",
        name=name,
        insights=insights,
        can_correct=can_correct(learner),
    )
