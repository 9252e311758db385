"""The state of the service: liveness, readiness, metrics, limits, and the pages of problems."""

from importlib.metadata import version

import torch
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from prometheus_client import CONTENT_TYPE_LATEST

from registry.keys import QUOTAS
from registry.log_lines import LOG_LINES
from service.dependencies import ContextDep
from service.http.demands import demands
from service.http.quotas import PREDICT_PIXELS
from service.http.roles import requires
from service.http.security import Principal
from service.http.strict_route import StrictRoute
from service.intake.formats import FORMATS
from service.problems import PROBLEMS, Problem
from service.routes.reference_pages import problem_page
from service.schemas.operations import (
    DoorbellState,
    Info,
    Limits,
    LoadedVersion,
    Part,
    Readiness,
)

VERSION = version("filopodia")

DOORBELL: dict[bool | None, DoorbellState] = {True: "up", False: "down", None: "none"}

router = APIRouter(tags=["Operating"], route_class=StrictRoute)


@router.get("/livez", response_model=dict[str, str])
@demands(is_public=True)
async def livez() -> dict[str, str]:
    """Answer as long as the process does."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
@demands(is_public=True)
async def readyz(request: Request, response: Response, context: ContextDep) -> Readiness:
    """Say whether predictions are answered: 503 if not. What else works is reported, and changes nothing about that."""
    health = context.health
    is_stopping = context.draining.is_set()
    is_ready = context.engine.is_alive and context.watcher.has_looked and not is_stopping
    response.status_code = 200 if is_ready else 503
    # Names of learners are not for strangers, nor for a key that is limited to others.
    principal: Principal | None = request.state.principal
    loaded = [LoadedVersion(learner=s.learner, version=s.version) for s in context.store.all_live()]
    failing = [LoadedVersion(learner=n, version=v) for n, v in context.watcher.failing().items()]
    return Readiness(
        status="ready" if is_ready else "stopping" if is_stopping else "starting",
        database="up" if context.watcher.is_database_up else "down",
        doorbell=DOORBELL[context.doorbell.is_up],
        loaded=[each for each in loaded if principal and principal.sees(each.learner)],
        failing=[each for each in failing if principal and principal.sees(each.learner)],
        worker=health.worker,
        # It names a setting with its value.
        worker_refusal=health.refusal if principal and principal.may("admin") else None,
        worker_restarts=health.worker_process.restarts if health.worker_process else 0,
        parts=[Part(name=t.name, state=t.state, failures=t.failures) for t in health.threads],
        log_lines_dropped=LOG_LINES.dropped,
    )


@router.get("/v1/info", response_model=Info)
@demands(is_public=True)
async def info(context: ContextDep) -> Info:
    """Read the version, the limits of requests, and the device."""
    settings = context.settings
    limits = Limits(
        task_images=settings.max_task_images,
        task_bytes=settings.max_task_bytes,
        task_json_bytes=settings.max_json_task_bytes,
        image_bytes=settings.max_image_bytes,
        image_pixels=settings.max_image_pixels,
        predict_images=settings.max_predict_images,
        predict_bytes=settings.max_predict_bytes,
        predict_pixels=settings.max_predict_pixels,
        json_bytes=settings.max_json_bytes,
        bundle_bytes=settings.max_bundle_bytes,
        min_images=settings.min_images,
        classes=settings.max_classes or None,
        **{name: context.quotas.default(name) for name in QUOTAS},
        predict_pixels_per_minute=context.quotas.default(PREDICT_PIXELS),
        image_formats=list(FORMATS),
        keep_prediction_images=settings.keep_prediction_images,
        keep_predictions_days=settings.keep_predictions_days,
    )
    return Info(name="filopodia", version=VERSION, api="v1", device=context.device, limits=limits)


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[requires("reader", everywhere=True)],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(context: ContextDep) -> Response:
    """Read the metrics in the Prometheus text format. Scrape with `authorization.credentials` of a reader key."""
    if torch.cuda.is_initialized():
        context.metrics.device_memory.set(torch.cuda.memory_allocated())
    return Response(context.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems/{code}", response_class=HTMLResponse)
@demands(is_public=True)
async def problem(code: str) -> HTMLResponse:
    """Read what a problem means and what to do."""
    kind = PROBLEMS.get(code)
    if kind is None:
        raise Problem("not-found")
    return HTMLResponse(problem_page(code, kind))
