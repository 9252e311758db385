"""Why an image is answered as it is."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.dependencies import ContextDep
from service.http.demands import demands, image_bytes
from service.http.disconnect import cancel_on_disconnect
from service.http.openapi import PREDICTION_BODY
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.intake.prediction_requests import read_images
from service.problems import Problem
from service.schemas.accounts import AccountRead, HeatRead
from service.schemas.base import MAX_INT, LearnerName, PublicId
from service.use_cases.accounts import account_of_posted, account_of_stored
from service.use_cases.heat import heat_of_stored

router = APIRouter(
    prefix="/v1",
    tags=["Predictions"],
    route_class=StrictRoute,
    dependencies=[requires("predictor")],
)

Index = Annotated[int, Path(ge=0, le=MAX_INT)]


@router.get("/predictions/{prediction_id}/images/{index}/why", response_model=AccountRead)
@demands(predicts=True)
async def explain_stored(
    prediction_id: PublicId,
    index: Index,
    request: Request,
    context: ContextDep,
    principal: PrincipalDep,
) -> AccountRead:
    """Say why a stored prediction answered an image as it did.

    The version that answered is asked again, whichever is live now: so the numbers are the same but for rounding.
    `synapses` tell what the answer would be were each the other way round, `functional` what the functional
    sub-network alone answers, `heads` what each classifier says, and `sentences` all of it in plain words.

    - **404** `prediction-not-found`, `prediction-image-not-found`: no image is kept
    - **409** `version-erased`: the version held what was unlearned since
    - **503** `overloaded`: predictions go first; repeat after `Retry-After`
    """
    answer = account_of_stored(context, principal, prediction_id, index)
    return await cancel_on_disconnect(request, answer)


@router.get("/predictions/{prediction_id}/images/{index}/heat", response_model=HeatRead)
@demands(predicts=True)
async def map_stored(
    prediction_id: PublicId,
    index: Index,
    request: Request,
    context: ContextDep,
    principal: PrincipalDep,
) -> HeatRead:
    """Say which places of a stored prediction's image speak for its answer, and which against it.

    The image is covered at 81 overlapping places, and the version that answered is asked about each. That draws as many
    images from `predict_images_per_minute`.

    - **404** `prediction-not-found`, `prediction-image-not-found`: no image is kept
    - **409** `version-erased`: the version held what was unlearned since
    - **429** `rate-limited`; **503** `overloaded`: predictions go first; repeat after `Retry-After`
    """
    drawing = partial(context.quotas.draw_images, request.scope)
    heat = heat_of_stored(context, principal, prediction_id, index, drawing)
    return (await cancel_on_disconnect(request, heat)).read


@router.get(
    "/predictions/{prediction_id}/images/{index}/heat.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
@demands(predicts=True)
async def draw_stored(
    prediction_id: PublicId,
    index: Index,
    request: Request,
    context: ContextDep,
    principal: PrincipalDep,
) -> Response:
    """Draw which places speak for the answer over the image as the learner sees it: a PNG of 256 x 256 pixels.

    Orange places speak for the answer, blue ones against it, the stronger the surer. Problems are those of `heat`.
    """
    drawing = partial(context.quotas.draw_images, request.scope)
    heat = heat_of_stored(context, principal, prediction_id, index, drawing)
    png = (await cancel_on_disconnect(request, heat)).png
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.post("/learners/{name}/why", response_model=AccountRead, openapi_extra=PREDICTION_BODY)
@demands(max_bytes=image_bytes, predicts=True)
async def explain_posted(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    principal: PrincipalDep,
    version: Annotated[int | None, Query(ge=1, le=MAX_INT)] = None,
) -> AccountRead:
    """Say why an image is answered as it is: one image, sent as for a prediction; nothing is stored.

    - **409** `nothing-learned`; `version-erased`; `all-classes-hidden`
    - **413** `too-many-images`: more than one
    """
    files = await read_images(request, context.settings)
    if len(files) > 1:
        raise Problem("too-many-images", "Send one image.")
    answer = account_of_posted(context, principal, name, files[0], version)
    return await cancel_on_disconnect(request, answer)
