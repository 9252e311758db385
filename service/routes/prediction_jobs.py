"""Prediction jobs: many images, uploaded or stored, predicted behind all requests."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response, status
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool

from registry import classes, learners, prediction_jobs
from service.characters import is_encoding
from service.dependencies import ActorDep, ContextDep, Cursor, Limit, link_next
from service.http.accept import choose, require
from service.http.bodies import limit_body
from service.http.demands import demands, task_bytes
from service.http.idempotency import body_digest
from service.http.openapi import JOB_ANSWER, JOB_BODY
from service.http.roles import PrincipalDep, requires
from service.http.strict_route import StrictRoute
from service.intake.unlabelled import brings_images
from service.problems import FieldError, Problem
from service.routes.samples import image_response
from service.schemas.base import MAX_INT, LearnerName, Page, PublicId
from service.schemas.prediction_jobs import JobResult, PredictionJobCreate, PredictionJobRead
from service.schemas.predictions import Trace
from service.strict_json import media_type, parse_json
from service.use_cases import job_views
from service.use_cases import prediction_jobs as jobs
from service.validation import field_errors

router = APIRouter(
    prefix="/v1",
    tags=["Predictions"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)
predictor = [requires("predictor")]

FORMATS = {"json": "application/json", "jsonl": "application/x-ndjson", "csv": "text/csv"}
Label = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.post(
    "/learners/{name}/prediction-jobs",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=PredictionJobRead,
    dependencies=predictor,
    openapi_extra=JOB_BODY,
)
@demands(max_bytes=task_bytes, is_spooled=True, is_idempotent=True)
async def create_prediction_job(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    principal: PrincipalDep,
    top_k: Annotated[int, Query(ge=1, le=1000)] = 5,
    trace: Trace = "none",
    version: Annotated[int | None, Query(ge=1, le=MAX_INT)] = None,
    encoding: Annotated[str | None, StringConstraints(max_length=20), Query()] = None,
) -> Response:
    """Predict many images, sent or stored, behind all requests.

    Images are sent as files `images` of a form, or as an archive: zip or tar (plain, gzip, xz or bzip2), as the body or
    as the one file of a form. Folders in it mean nothing, images are called by their paths. Or JSON says which stored
    images: `{"predictions": {"known": false}}` asks again about images kept with predictions, `{"samples": {}}` about
    those of tasks, `{"images": [{"prediction": "prd_..."}]}` about a list; each answer then stands beside what was
    answered, or taught. With `version` that shows what another version would change.

    All images are answered by one version, the live one of this moment unless `version` asks for another. Requests go
    first. Poll `GET /v1/prediction-jobs/{id}?wait=30`, and read `GET /v1/prediction-jobs/{id}/results`, also while it
    runs. A service that stops goes on with the job when it is back. Jobs that have ended are deleted as old
    predictions are.

    - **404** `learner-not-found`, `version-not-found`
    - **409** `nothing-learned`, `version-erased`; `nothing-to-predict`: no stored image is as asked
    - **413** `too-many-images`; **422** `missing-image`: no image is usable; `archive-rejected`
    - **429** `rate-limited`: too many jobs of the key wait or run
    - **503** `overloaded`: too many uploads at once; **507** `insufficient-storage`
    """
    if encoding is not None and not is_encoding(encoding):
        detail = "This is no encoding that names of files have."
        raise Problem("validation", errors=(FieldError("/encoding", detail),))
    if brings_images(request):
        answer = await jobs.post_upload(
            context,
            actor,
            principal,
            name,
            request,
            version=version,
            top_k=top_k,
            trace=trace,
            encoding=encoding,
        )
    else:
        wanted, digest = await _read_wanted(request, context.settings.max_json_bytes)
        number = await run_in_threadpool(jobs.check_before, context, name, version, principal)
        asked = jobs.Asked(number, top_k, trace)
        answer = await run_in_threadpool(
            jobs.create_from_stored, context, actor, name, request, digest, wanted, asked
        )
    context.jobs.wake()
    return answer


async def _read_wanted(request: Request, max_bytes: int) -> tuple[PredictionJobCreate, str]:
    """Return which stored images a body asks for, and its fingerprint."""
    if media_type(request) != "application/json":
        raise Problem("unsupported-media-type")
    limit_body(request, max_bytes)
    body = await request.body()
    try:
        wanted = PredictionJobCreate.model_validate(parse_json(body))
    except ValidationError as error:
        raise Problem("validation", errors=field_errors(error.errors(), "")) from error
    return wanted, body_digest(request, body)


@router.get("/learners/{name}/prediction-jobs", response_model=Page[PredictionJobRead])
def list_prediction_jobs(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[PredictionJobRead]:
    """List a learner's prediction jobs, newest first."""
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        page = prediction_jobs.list_jobs(session, learner.id, limit=limit, cursor=cursor)
        items = [job_views.read_job(session, job, name) for job in page.items]
    link_next(request, response, page.next_cursor)
    return Page[PredictionJobRead](items=items, next_cursor=page.next_cursor)


@router.get("/prediction-jobs/{job_id}", response_model=PredictionJobRead)
async def get_prediction_job(
    job_id: PublicId,
    request: Request,
    context: ContextDep,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for its end")] = 0,
) -> PredictionJobRead:
    """Read a prediction job; with `wait`, as soon as it has ended or that many seconds are over."""
    return await job_views.wait_for_job(request, context, job_id, wait)


@router.post(
    "/prediction-jobs/{job_id}/cancel",
    response_model=PredictionJobRead,
    dependencies=predictor,
)
def cancel_prediction_job(
    job_id: PublicId, context: ContextDep, actor: ActorDep
) -> PredictionJobRead:
    """Stop a prediction job. What was answered stays.

    - **409** `prediction-job-ended`
    """
    return jobs.cancel(context, actor, job_id)


@router.delete(
    "/prediction-jobs/{job_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    dependencies=predictor,
)
def delete_prediction_job(job_id: PublicId, context: ContextDep, actor: ActorDep) -> Response:
    """Delete a prediction job with its results and the images that were sent with it. One that runs is stopped."""
    jobs.delete(context, actor, job_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


@router.get(
    "/prediction-jobs/{job_id}/results", response_model=Page[JobResult], responses=JOB_ANSWER
)
def list_prediction_job_results(
    job_id: PublicId,
    request: Request,
    response: Response,
    context: ContextDep,
    format: Annotated[Literal["json", "jsonl", "csv"] | None, Query()] = None,
    changed: bool | None = None,
    known: bool | None = None,
    label: Label = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """Read what the images of a prediction job came to, in order, as far as they have been answered.

    As pages; or all of it with `format=jsonl` (a line of JSON an image) or `format=csv`, or the same by `Accept`.
    `changed=true` keeps images that are answered otherwise than before, or than they are labelled, `known=false` those
    that look like no class, `label` those answered so.
    """
    accept = request.headers.get("accept", "")
    kind = FORMATS[format] if format else choose(accept, list(FORMATS.values()))
    require(accept, [kind or FORMATS["json"]])
    with context.session_factory() as session:
        row = prediction_jobs.get_job(session, job_id)
        shown = classes.shown(session, row.learner_id)
        filters: dict[str, Any] = {
            "changed": changed,
            "known": known,
            "label": None if label is None else classes.resolve(session, row.learner_id, label),
        }
        if kind not in (FORMATS["jsonl"], FORMATS["csv"]):
            page = prediction_jobs.list_images(
                session, job_id, **filters, limit=limit, cursor=cursor
            )
            items = [job_views.result_of(image, shown) for image in page.items]
            link_next(request, response, page.next_cursor)
            return Page[JobResult](items=items, next_cursor=page.next_cursor)
        job = job_views.read_job(session, row)
    is_csv = kind == FORMATS["csv"]
    lines = (job_views.as_csv if is_csv else job_views.as_jsonl)(context, job, filters)
    file = f"{job.learner}-{job.id}.{'csv' if is_csv else 'jsonl'}"
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return StreamingResponse(lines, media_type=kind, headers=headers)


@router.get(
    "/prediction-jobs/{job_id}/images/{index}",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
def get_prediction_job_image(
    job_id: PublicId, index: Annotated[int, Path(ge=0, le=MAX_INT)], context: ContextDep
) -> Response:
    """Read an image of a prediction job as it is predicted: upright, RGB, without metadata, as PNG.

    - **404** `prediction-job-image-not-found`: it could not be used, or was deleted, or is not kept
    """
    with context.session_factory() as session:
        sha256 = prediction_jobs.image_blob(session, job_id, index)
    return image_response(context.blobs.get(sha256), sha256)
