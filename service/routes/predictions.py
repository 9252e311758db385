"""Predictions: answered from memory, stored behind the request's back."""

from collections.abc import Sequence
from time import perf_counter
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime

from registry import classes, learners, predictions
from registry.ids import new_id
from service.dependencies import ContextDep, Cursor, Limit, link_next
from service.http.demands import demands, image_bytes
from service.http.disconnect import cancel_on_disconnect
from service.http.openapi import PREDICTION_BODY
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.inference.answers import named, request_features, request_results, require_shown
from service.inference.engine import Scores
from service.intake.prediction_requests import (
    read_images,
)
from service.schemas.base import MAX_INT, LearnerName, Page, PublicId
from service.schemas.predictions import PredictionRead, StoredPrediction, Trace
from service.use_cases.predicting import answer_images, to_store
from service.use_cases.prediction_views import READ_OWN_WRITES_S, read_predictions, wait_stored
from service.use_cases.serving import choose_snapshot

router = APIRouter(
    prefix="/v1",
    tags=["Predictions"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)

Number = Annotated[int | None, Query(ge=1, le=MAX_INT)]


@router.post(
    "/learners/{name}/predictions",
    response_model=PredictionRead,
    responses={207: {"model": PredictionRead, "description": "Some images are unusable"}},
    dependencies=[requires("predictor")],
    openapi_extra=PREDICTION_BODY,
)
@demands(max_bytes=image_bytes, predicts=True)
async def predict(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    principal: PrincipalDep,
    top_k: Annotated[int, Query(ge=1, le=1000)] = 5,
    trace: Trace = "summary",
    version: Number = None,
    min_version: Number = None,
    store: bool = True,
) -> Response:
    """Say what is on one or more images.

    Send a raw `image/*` body, `multipart/form-data` with files `images`, or JSON with base64. All images of a request
    are answered by one version, the live one unless `version` asks for another; `min_version` waits until at least
    that one is served. `route` says which synapses were functional.

    - **207** when some of several images are unusable: those entries carry `problem`
    - **409** `nothing-learned`: no version yet; `version-not-served`: `min_version` was not reached in time;
      `version-erased`: the one asked for held what was unlearned since; `all-classes-hidden`
    - **413** `too-many-pixels`: by their headers, decoding the images is more work than `predict_pixels` of `/v1/info`
    - **429** `rate-limited`: more images than the key may send in a minute, or more work of decoding
    - **503** `overloaded`: the wait would be, or has become, too long; repeat after `Retry-After`
    """
    started = perf_counter()
    snapshot = await choose_snapshot(
        context, name, version=version, min_version=min_version, owner=principal.key_id
    )
    shown = context.store.shown(snapshot.learner_id)
    require_shown(snapshot, shown.hidden)
    files = await read_images(request, context.settings)
    context.quotas.draw_images(request.scope, len(files))
    keeps = context.writer.keeps if store else None
    decoded, parts, decode_s = await cancel_on_disconnect(
        request, answer_images(context, principal, snapshot, files, keeps)
    )
    for part in parts:
        tasks = snapshot.strategy.synapse_tasks_
        context.metrics.observe_scores(name, tasks, part.functional, int(part.passes.sum()))
    names = [file.filename for file in files]
    results = request_results(
        snapshot,
        names,
        decoded.outcomes,
        parts,
        top_k=top_k,
        trace=trace,
        hidden=shown.hidden,
        min_scores=shown.min_scores,
    )
    prediction_id = new_id("prd")
    if store:
        images = {
            i: decoded_file.image
            for i, decoded_file in enumerate(decoded.outcomes)
            if decoded_file.image
        }
        features = request_features(decoded.outcomes, parts)
        context.writer.put(to_store(prediction_id, snapshot, results), images, features)
    body = {
        "id": prediction_id,
        "learner": name,
        "version": snapshot.version,
        "results": named(results, shown),
        "timing_ms": _timing(parts, decode_s=decode_s, total_s=perf_counter() - started),
    }
    is_partial = any(outcome.problem for outcome in decoded.outcomes)
    return JSONResponse(body, 207 if is_partial else 200)


@router.get("/learners/{name}/predictions", response_model=Page[StoredPrediction])
def list_predictions(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    label: Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")] = None,
    known: bool | None = None,
    since: AwareDatetime | None = None,
    feedback: bool | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[StoredPrediction]:
    """List stored predictions of a learner, newest first.

    `label` keeps requests with an image of that label, `known=false` those with an image that looked like no class,
    `feedback=true` those with feedback. They are deleted after `keep_predictions_days` of `/v1/info`, except for those
    with feedback that is still to be learned.
    """
    context.writer.wait_written(READ_OWN_WRITES_S)
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        page = predictions.list_predictions(
            session,
            learner.id,
            label=None if label is None else classes.resolve(session, learner.id, label),
            known=known,
            since=since,
            feedback=feedback,
            limit=limit,
            cursor=cursor,
        )
        items = read_predictions(session, name, page.items)
    link_next(request, response, page.next_cursor)
    return Page[StoredPrediction](items=items, next_cursor=page.next_cursor)


@router.get("/predictions/{prediction_id}", response_model=StoredPrediction)
def get_prediction(prediction_id: PublicId, context: ContextDep) -> StoredPrediction:
    """Read one stored prediction.

    - **404** `prediction-not-found`: it was asked for with `store=false`, or its learner is gone
    """
    wait_stored(context, prediction_id)
    with context.session_factory() as session:
        row = predictions.get_prediction(session, prediction_id)
        learner = learners.get_learner_by_id(session, row.learner_id)
        return read_predictions(session, learner.name, [row])[0]


def _timing(parts: Sequence[Scores], *, decode_s: float, total_s: float) -> dict[str, float]:
    milliseconds = {
        "decode": decode_s,
        "queue": max((part.queue_s for part in parts), default=0.0),
        "infer": max((part.infer_s for part in parts), default=0.0),
        "total": total_s,
    }
    timing: dict[str, float] = {k: round(1000 * v, 2) for k, v in milliseconds.items()}
    timing["batch"] = max((part.batch_images for part in parts), default=0)
    return timing
