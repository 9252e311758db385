"""Prediction jobs in the browser: an archive predicted, stored images again, and what that changes."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Query, Request, Response
from starlette.responses import JSONResponse

from registry import classes, learners, prediction_jobs, versions
from registry.errors import ConflictError
from registry.postgres.database import Session
from registry.statuses import UNFINISHED
from service.dashboard.pages import DONE, PageRoute, page, picture, see
from service.dashboard.rendering import duration
from service.dashboard.sentences import sentence
from service.dependencies import ActorDep, AppContext, ContextDep, Cursor
from service.http.demands import demands, form_bytes, task_bytes
from service.http.roles import PrincipalDep, requires
from service.problems import Problem
from service.schemas.base import MAX_INT, LearnerName, PublicId
from service.schemas.prediction_jobs import (
    JobResult,
    PredictionJobCreate,
    PredictionJobRead,
    PredictionsWanted,
    SamplesWanted,
)
from service.use_cases import job_views
from service.use_cases import prediction_jobs as jobs

ON_A_PAGE = 24
"""Images shown at once."""
TOP_K = 5
LABELS_SHOWN = 24
Show = Literal["all", "changed", "unknown"]
FILTERS: dict[Show, dict[str, Any]] = {
    "all": {},
    "changed": {"changed": True},
    "unknown": {"known": False},
}
NumberForm = Annotated[int | None, Form(ge=1, le=MAX_INT)]
NumberQuery = Annotated[int | None, Query(ge=1, le=MAX_INT)]
Code = Annotated[str | None, Query(max_length=50)]

router = APIRouter(route_class=PageRoute)
predictor = [requires("predictor")]


@dataclass(frozen=True)
class JobView:
    """A job as a page shows it."""

    job: PredictionJobRead
    results: list[JobResult]
    next_cursor: str | None

    @property
    def is_active(self) -> bool:
        """Whether it waits or is being answered."""
        return self.job.status in UNFINISHED

    @property
    def compares(self) -> bool:
        """Whether something was said about its images before."""
        return self.job.source != "upload"


@router.get("/learners/{name}/jobs")
def show_jobs(
    name: LearnerName,
    context: ContextDep,
    viewer: PrincipalDep,
    cursor: Cursor = None,
    version: NumberQuery = None,
    problem: Code = None,
    done: Code = None,
) -> Response:
    """Show a learner's prediction jobs, and the forms that post one; `version` is chosen in them."""
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        found = prediction_jobs.list_jobs(session, learner.id, limit=20, cursor=cursor)
        listed = [job_views.read_job(session, job, name) for job in found.items]
        numbers = _served_numbers(session, learner.id)
        live = learners.live_version(session, learner.id)
    return page(
        "jobs.html",
        viewer,
        section="learners",
        notice=sentence(problem),
        done=DONE.get(done or ""),
        name=name,
        jobs=listed,
        next_cursor=found.next_cursor,
        versions=numbers,
        live=live,
        chosen=version if version in numbers else live,
        active={job.id: job.status for job in listed if job.status in UNFINISHED},
    )


@router.post("/learners/{name}/jobs", dependencies=predictor)
@demands(max_bytes=form_bytes, is_idempotent=True)
def predict_again(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    source: Annotated[Literal["predictions", "unknown", "samples"], Form()],
    version: NumberForm = None,
) -> Response:
    """Predict stored images once more, and go to the job's page."""
    wanted = {
        "predictions": PredictionJobCreate(predictions=PredictionsWanted()),
        "unknown": PredictionJobCreate(predictions=PredictionsWanted(known=False)),
        "samples": PredictionJobCreate(samples=SamplesWanted()),
    }[source]
    try:
        number = jobs.check_before(context, name, version, viewer)
        asked = jobs.Asked(number, TOP_K, "none")
        answer = jobs.create_from_stored(context, actor, name, request, "", wanted, asked)
    except ConflictError as conflict:
        return see(f"/admin/learners/{name}/jobs?problem={conflict.code}")
    return _begun(context, answer)


@router.post("/learners/{name}/jobs/upload", dependencies=predictor)
@demands(max_bytes=task_bytes, is_spooled=True, is_idempotent=True)
async def predict_upload(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    actor: ActorDep,
    viewer: PrincipalDep,
    version: NumberQuery = None,
) -> Response:
    """Predict an archive, or many images, and go to the job's page."""
    try:
        answer = await jobs.post_upload(
            context, actor, viewer, name, request, version=version, top_k=TOP_K, trace="none"
        )
    except Problem as problem:
        if problem.code == "rate-limited":
            raise  # its page says for how long
        return see(f"/admin/learners/{name}/jobs?problem={problem.code}")
    return _begun(context, answer)


@router.get("/jobs/{job_id}")
def show_job(
    job_id: PublicId,
    context: ContextDep,
    viewer: PrincipalDep,
    show: Annotated[Show | None, Query()] = None,
    cursor: Cursor = None,
    problem: Code = None,
) -> Response:
    """Show one job: how far it is, what was answered, and what that changes. What changes comes first, if anything."""
    with context.session_factory() as session:
        row = prediction_jobs.get_job(session, job_id)
        chosen: Show = show or ("changed" if row.n_changed else "all")
        found = prediction_jobs.list_images(
            session, job_id, **FILTERS[chosen], limit=ON_A_PAGE, cursor=cursor
        )
        shown = classes.shown(session, row.learner_id)
        results = [job_views.result_of(image, shown) for image in found.items]
        view = JobView(job_views.read_job(session, row), results, found.next_cursor)
    return page(
        "job.html",
        viewer,
        section="learners",
        notice=sentence(problem),
        view=view,
        job=view.job,
        show=chosen,
        cursor=cursor,
        most=LABELS_SHOWN,
        progress=_progress(view.job),
    )


@router.get("/jobs/{job_id}/live.json")
def follow_job(job_id: PublicId, context: ContextDep) -> Response:
    """Return how far a job is, for the page that follows it; nothing once it has ended."""
    job = job_views.find_job(context.session_factory, job_id)
    return JSONResponse({"tasks": [_progress(job)] if job.status in UNFINISHED else []})


@router.get("/jobs/{job_id}/images/{index}")
def show_image(
    job_id: PublicId, index: Annotated[int, Path(ge=0, le=MAX_INT)], context: ContextDep
) -> Response:
    """Return an image of a job."""
    with context.session_factory() as session:
        sha256 = prediction_jobs.image_blob(session, job_id, index)
    return picture(context.blobs.get(sha256), max_age_s=86_400)


@router.post("/jobs/{job_id}/cancel", dependencies=predictor)
def cancel_job(job_id: PublicId, context: ContextDep, actor: ActorDep) -> Response:
    """Stop a job, and go back to its page."""
    try:
        jobs.cancel(context, actor, job_id)
    except ConflictError as conflict:
        return see(f"/admin/jobs/{job_id}?problem={conflict.code}")
    return see(f"/admin/jobs/{job_id}")


@router.post("/jobs/{job_id}/delete", dependencies=predictor)
def delete_job(job_id: PublicId, context: ContextDep, actor: ActorDep) -> Response:
    """Delete a job, and go to the list that it was in."""
    learner = job_views.find_job(context.session_factory, job_id).learner
    jobs.delete(context, actor, job_id)
    return see(f"/admin/learners/{learner}/jobs?done=job-deleted")


def _served_numbers(session: Session, learner_id: str) -> list[int]:
    """Return the versions that can answer, newest first."""
    found = versions.list_versions(session, learner_id, limit=200).items
    return [version.number for version in found if version.erased_at is None]


def _progress(job: PredictionJobRead) -> dict[str, Any]:
    """Return what a page shows of how far a job is, in the form that it shows tasks in."""
    left = "" if job.eta_seconds is None else f", about {duration(job.eta_seconds)} left"
    return {
        "id": job.id,
        "status": str(job.status),
        "fraction": job.images.done / job.images.total,
        "phase": "waiting" if job.started_at is None else "predicting",
        "note": f"{job.images.done:,} of {job.images.total:,} images{left}",
    }


def _begun(context: AppContext, answer: Response) -> Response:
    context.jobs.wake()
    return see(f"/admin/jobs/{answer.headers['Location'].rpartition('/')[2]}")
