"""Which classes a version confuses, and the images behind that."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from service.dependencies import ContextDep
from service.http.demands import demands
from service.http.disconnect import cancel_on_disconnect
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.schemas.base import MAX_INT, LearnerName
from service.schemas.confusions import ConfusedImages, ConfusedPairs
from service.use_cases.confusion_views import read_images, read_pairs

router = APIRouter(
    prefix="/v1/learners/{name}/versions/{number}/confusion",
    tags=["Versions"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)

Number = Annotated[int, Path(ge=1, le=MAX_INT)]
Class = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.get("/pairs", response_model=ConfusedPairs)
def list_pairs(
    name: LearnerName,
    number: Number,
    context: ContextDep,
    label: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> ConfusedPairs:
    """List the pairs of classes that a version confuses, the most images first; with `label` those of one class.

    They are counted over images that were held out or left out in turn, and over those of its predictions that people
    have named since (`n_said`).
    """
    with context.session_factory() as session:
        return read_pairs(session, name, number, label=label, limit=limit)


@router.get("/images", response_model=ConfusedImages, dependencies=[requires("predictor")])
@demands(predicts=True)
async def list_images(
    name: LearnerName,
    number: Number,
    request: Request,
    context: ContextDep,
    principal: PrincipalDep,
    true: Class,
    answered: Class,
) -> ConfusedImages:
    """List the images of class `true` that a version answers as `answered`, with their scores.

    The held-out images of the class are asked again, by their kept features where there are any. `answered` may be the
    same class: these are the ones that it answers right.

    - **404** `version-not-found`
    - **409** `version-erased`: the version held what was unlearned since
    - **503** `overloaded`: predictions go first; repeat after `Retry-After`
    """
    images = read_images(context, principal, name, number, true=true, answered=answered)
    return await cancel_on_disconnect(request, images)
