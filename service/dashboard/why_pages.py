"""Why an answer: one image of a stored prediction, what decided its answer, and what that would be otherwise."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from registry import learners, predictions
from registry.errors import PredictionImageNotFoundError, RegistryError
from service.dashboard.pages import PageRoute, as_problem, page, picture
from service.dashboard.sentences import for_person
from service.dashboard.why_view import why_of
from service.dependencies import AppContext, ContextDep
from service.http.demands import demands
from service.http.disconnect import cancel_on_disconnect
from service.http.roles import PrincipalDep, requires
from service.problems import Problem
from service.schemas.base import MAX_INT, PublicId
from service.schemas.predictions import StoredPrediction
from service.use_cases.accounts import account_of_stored
from service.use_cases.heat import heat_of_stored
from service.use_cases.prediction_views import read_predictions, wait_stored

HEAT_S = 3600
"""How long a browser keeps a map: names and hidden classes may change."""
NOT_KEPT = "The image of this answer is not kept, so nothing can be asked of it again."
ERASED = "The version that answered held what was unlearned since, so it cannot be asked again. What it answered then:"

router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True)
class _Answered:
    """One result of a stored prediction."""

    stored: StoredPrediction
    result: dict[str, Any]
    has_image: bool


@router.get("/predictions/{prediction_id}/images/{index}/why", dependencies=[requires("predictor")])
@demands(predicts=True)
async def show_why(
    prediction_id: PublicId,
    index: Annotated[int, Path(ge=0, le=MAX_INT)],
    request: Request,
    context: ContextDep,
    viewer: PrincipalDep,
) -> Response:
    """Show why an image of a stored prediction was answered so, or what was answered where that cannot be told."""
    answered = await run_in_threadpool(_read, context, prediction_id, index)
    why, notice = None, None if answered.has_image else NOT_KEPT
    if answered.has_image:
        try:
            account = account_of_stored(context, viewer, prediction_id, index)
            why = why_of(await cancel_on_disconnect(request, account))
        except (Problem, RegistryError) as error:
            problem = as_problem(error)
            notice = _said(problem)
    return page(
        "prediction.html",
        viewer,
        section="learners",
        notice=notice,
        prediction=answered.stored,
        result=answered.result,
        index=index,
        has_image=answered.has_image,
        why=why,
    )


@router.get(
    "/predictions/{prediction_id}/images/{index}/heat.png", dependencies=[requires("predictor")]
)
@demands(predicts=True)
async def show_heat(
    prediction_id: PublicId,
    index: Annotated[int, Path(ge=0, le=MAX_INT)],
    request: Request,
    context: ContextDep,
    viewer: PrincipalDep,
) -> Response:
    """Return the image with its map over it."""
    drawing = partial(context.quotas.draw_images, request.scope)
    heat = heat_of_stored(context, viewer, prediction_id, index, drawing)
    return picture((await cancel_on_disconnect(request, heat)).png, max_age_s=HEAT_S)


def _read(context: AppContext, prediction_id: str, index: int) -> _Answered:
    wait_stored(context, prediction_id)
    with context.session_factory() as session:
        row = predictions.get_prediction(session, prediction_id)
        learner = learners.get_learner_by_id(session, row.learner_id)
        [stored] = read_predictions(session, learner.name, [row])
    found = [result for result in stored.results if result.get("index") == index]
    if not found or "label" not in found[0]:
        raise PredictionImageNotFoundError
    return _Answered(stored, found[0], index in stored.images)


def _said(problem: Problem) -> str:
    if problem.code == "version-erased":
        return ERASED
    if problem.code == "prediction-image-not-found":
        return NOT_KEPT
    return for_person(problem.code, problem.detail)
