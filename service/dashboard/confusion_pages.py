"""Which classes a version confuses, and the images behind each cell."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from registry import classes
from service.dashboard.confusion_view import confusion_page
from service.dashboard.pages import PageRoute, page
from service.dependencies import ContextDep
from service.http.demands import demands
from service.http.disconnect import cancel_on_disconnect
from service.http.roles import PrincipalDep, requires
from service.labels import MAX_LABEL
from service.schemas.base import MAX_INT, LearnerName
from service.use_cases.confusion_views import find_confusions, read_images

MOST_TEXT = 8 * MAX_LABEL
Number = Annotated[int, Path(ge=1, le=MAX_INT)]
Class = Annotated[str, Query(max_length=MOST_TEXT, pattern=r"^[^\x00]*$")]

router = APIRouter(prefix="/learners/{name}/versions/{number}/confusion", route_class=PageRoute)


@router.get("")
def show_confusion(
    name: LearnerName,
    number: Number,
    context: ContextDep,
    viewer: PrincipalDep,
    label: Class = "",
) -> Response:
    """Show the most confused pairs and the matrix; with `label` those of one class."""
    with context.session_factory() as session:
        found = find_confusions(session, name, number)
        label = label.strip()
        wanted = classes.resolve(session, found.learner_id, label) if label else ""
    return page(
        "confusion.html",
        viewer,
        section="learners",
        name=name,
        number=number,
        shown=confusion_page(name, number, found, label, wanted),
    )


@router.get("/images", dependencies=[requires("predictor")])
@demands(predicts=True)
async def show_images(
    name: LearnerName,
    number: Number,
    request: Request,
    context: ContextDep,
    viewer: PrincipalDep,
    true: Class = "",
    answered: Class = "",
) -> Response:
    """Show the images of one class that the version answers as another."""
    images = read_images(context, viewer, name, number, true=true, answered=answered)
    found = await cancel_on_disconnect(request, images)
    return page("confused.html", viewer, section="learners", found=found)
