"""Feedback: users say what is really on the images of stored predictions, and a later task learns from it."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response, status

from registry import classes, feedback, learners, predictions
from registry.classes import Shown
from registry.errors import BlobMissingError, PredictionImageNotFoundError
from registry.feedback import Feedback
from service.dependencies import ActorDep, ContextDep, Cursor, Limit, link_next
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.routes.samples import image_response
from service.schemas.base import MAX_INT, LearnerName, Page, PublicId
from service.schemas.predictions import FeedbackCreate, FeedbackRead, StoredPrediction
from service.use_cases import feedback_changes
from service.use_cases.prediction_views import read_predictions, wait_stored

router = APIRouter(
    prefix="/v1",
    tags=["Predictions"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)
predictor = [requires("predictor")]

Index = Annotated[int, Path(ge=0, le=MAX_INT, description="Of the result")]


@router.post(
    "/predictions/{prediction_id}/feedback", response_model=StoredPrediction, dependencies=predictor
)
def give_feedback(
    prediction_id: PublicId,
    body: FeedbackCreate,
    context: ContextDep,
    principal: PrincipalDep,
    actor: ActorDep,
) -> StoredPrediction:
    """Say what is really on an image of a stored prediction.

    Nothing is learned yet: a task with the option `from_feedback` takes what is pending. Saying it again replaces the
    label, until a task has taken it; the feedback of a task that fails or is cancelled is pending again.

    - **404** `prediction-not-found`: it was asked for with `store=false`, or is gone
    - **409** `image-not-kept`; `feedback-taken`: a task has taken another label; `label-confusable`: the label differs
      from a class only in case, width or form
    - **422** `validation`: there is no usable result of this index, or the label is none
    """
    wait_stored(context, prediction_id)
    with context.session_factory.begin() as session:
        learner, row = feedback_changes.give_feedback(
            session, actor, prediction_id, body.index, body.label, key_id=principal.key_id
        )
        return read_predictions(session, learner.name, [row])[0]


@router.delete(
    "/predictions/{prediction_id}/feedback/{index}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=predictor,
)
def withdraw_feedback(
    prediction_id: PublicId, index: Index, context: ContextDep, actor: ActorDep
) -> None:
    """Take pending feedback back.

    - **404** `prediction-not-found`, `feedback-not-found`
    - **409** `feedback-taken`: a task learns, or has learned, from it
    """
    with context.session_factory.begin() as session:
        feedback_changes.withdraw_feedback(session, actor, prediction_id, index)


@router.get("/learners/{name}/feedback", response_model=Page[FeedbackRead])
def list_feedback(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    pending: bool | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[FeedbackRead]:
    """List the feedback on a learner's predictions, newest first.

    `pending=true` keeps what the next task may take, `pending=false` what a task has taken.
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        page = feedback.list_feedback(
            session, learner.id, pending=pending, limit=limit, cursor=cursor
        )
        shown = classes.shown(session, learner.id)
    link_next(request, response, page.next_cursor)
    return Page[FeedbackRead](
        items=[_read(item, shown) for item in page.items], next_cursor=page.next_cursor
    )


@router.get(
    "/predictions/{prediction_id}/images/{index}",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_prediction_image(prediction_id: PublicId, index: Index, context: ContextDep) -> Response:
    """Read the kept image of a result as it would be learned from: upright, RGB, without metadata, as PNG.

    - **404** `prediction-not-found`, `prediction-image-not-found`
    """
    wait_stored(context, prediction_id)
    with context.session_factory() as session:
        sha256 = predictions.get_image(session, prediction_id, index).blob_sha256
    try:
        return image_response(context.blobs.get(sha256), sha256)
    except BlobMissingError as error:
        raise PredictionImageNotFoundError from error


def _read(item: Feedback, shown: Shown) -> FeedbackRead:
    return FeedbackRead(
        prediction=item.prediction_id,
        index=item.index,
        label=shown.name(item.label),
        answered=shown.name(item.result["label"]),
        score=item.result["score"],
        version=item.version,
        filename=item.result.get("filename"),
        task=item.task_id,
        created_at=item.created_at,
    )
