"""The dashboard's pages. Their forms are in `actions`; further pages in `*_page` and `*_pages`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import JSONResponse

from registry import learners, samples
from service.assets import load_asset
from service.dashboard import (
    actions,
    audit_pages,
    class_image_pages,
    class_pages,
    confusion_pages,
    drift_pages,
    import_pages,
    insight_pages,
    job_pages,
    key_pages,
    new_learner_page,
    notification_pages,
    plots,
    prediction_page,
    review_pages,
    teach_pages,
    unlearn_pages,
    views,
    why_pages,
)
from service.dashboard.consolidation_view import newest, panel_of
from service.dashboard.health_view import health_view
from service.dashboard.pages import DONE, PageRoute, page, picture
from service.dashboard.sentences import sentence
from service.dashboard.synapse_view import Routing
from service.dashboard.version_page import version_page
from service.dependencies import ContextDep, Cursor
from service.http.demands import demands
from service.http.roles import PrincipalDep
from service.problems import Problem
from service.schemas.base import MAX_INT, LearnerName, PublicId
from service.use_cases import reviewing
from service.use_cases.condition import condition_of
from service.use_cases.findings import check

YEAR_S = 31_536_000

ProblemCode = Annotated[str | None, Query(max_length=50)]
"""What went wrong with the form that led here."""
DoneCode = Annotated[str | None, Query(max_length=50)]
"""What the form that led here has done."""

router = APIRouter(prefix="/admin", route_class=PageRoute, include_in_schema=False)
router.include_router(actions.router)
router.include_router(prediction_page.router)
router.include_router(new_learner_page.router)
router.include_router(teach_pages.router)
router.include_router(insight_pages.router)
router.include_router(class_pages.router)
router.include_router(class_image_pages.router)
router.include_router(import_pages.router)
router.include_router(unlearn_pages.router)
router.include_router(job_pages.router)
router.include_router(review_pages.router)
router.include_router(key_pages.router)
router.include_router(notification_pages.router)
router.include_router(audit_pages.router)
router.include_router(why_pages.router)
router.include_router(confusion_pages.router)
router.include_router(drift_pages.router)


@router.get("")
def show_learners(context: ContextDep, viewer: PrincipalDep, cursor: Cursor = None) -> Response:
    """Show all learners."""
    with context.session_factory() as session:
        cards, next_cursor = views.learner_cards(session, cursor)
        known = views.known_tasks(session, None)
        consolidations = newest(session, None)
    shown: dict[str, Any] = {
        "cards": cards,
        "next_cursor": next_cursor,
        "consolidations": consolidations,
        "known": known,
        "health": health_view(check(context, viewer)),
    }
    return page("learners.html", viewer, section="learners", **shown)


@router.get("/learners/{name}")
def show_learner(
    name: LearnerName,
    context: ContextDep,
    viewer: PrincipalDep,
    versions: Cursor = None,
    problem: ProblemCode = None,
    done: DoneCode = None,
) -> Response:
    """Show one learner: accuracy history, routing, tasks, classes, and a page of its versions."""
    with context.session_factory() as session:
        learner = views.learner_page(session, name, versions)
        held = views.held_tasks(session, name)
        consolidation = panel_of(session, name, context.settings.schedule)
        known = views.known_tasks(session, name)
        n_waiting = reviewing.count_waiting(session, learners.get_learner(session, name).id)
    history = learner.history
    has_accuracy = history.last is not None
    return page(
        "learner.html",
        viewer,
        section="learners",
        notice=sentence(problem),
        done=DONE.get(done or ""),
        learner=learner,
        card=learner.card,
        held=held,
        known=known,
        n_waiting=n_waiting,
        consolidation=consolidation,
        history=history,
        has_accuracy=has_accuracy,
        lines=plots.accuracy_lines(history) if has_accuracy else None,
        matrix=plots.accuracy_matrix(history) if has_accuracy else None,
        routing=learner.routing,
        routing_plot=_routing_plot(learner.routing),
    )


@router.get("/learners/{name}/versions/{number}")
def show_version(
    name: LearnerName,
    number: Annotated[int, Path(ge=1, le=MAX_INT)],
    context: ContextDep,
    viewer: PrincipalDep,
    problem: ProblemCode = None,
) -> Response:
    """Show one version, and what serving it would change."""
    with context.session_factory() as session:
        version = version_page(session, name, number)
    return page(
        "version.html",
        viewer,
        section="learners",
        notice=sentence(problem),
        version=version,
        routing=version.routing,
        routing_plot=_routing_plot(version.routing),
    )


@router.get("/tasks")
def show_tasks(
    context: ContextDep,
    viewer: PrincipalDep,
    cursor: Cursor = None,
    problem: ProblemCode = None,
    done: DoneCode = None,
) -> Response:
    """Show all tasks, newest first, and those that wait for a decision."""
    with context.session_factory() as session:
        task_views, next_cursor = views.task_list(session, cursor)
        known = views.known_tasks(session, None)
        consolidations = newest(session, None)
        workers = views.worker_list(session)
        held = views.held_tasks(session, None)
    shown: dict[str, Any] = {
        "tasks": task_views,
        "next_cursor": next_cursor,
        "consolidations": consolidations,
        "known": known,
        "workers": workers,
        "condition": condition_of(context.health, viewer),
        "held": held,
        "notice": sentence(problem),
        "done": DONE.get(done or ""),
    }
    return page("tasks.html", viewer, section="tasks", **shown)


@router.get("/tasks.json")
def follow_tasks(
    context: ContextDep,
    viewer: PrincipalDep,
    learner: Annotated[LearnerName | None, Query()] = None,
) -> Response:
    """Return the tasks and consolidations that wait or run, for the pages that follow them."""
    with context.session_factory() as session:
        return JSONResponse({"tasks": views.moving(session, learner)})


@router.get("/samples/{sample_id}/image")
def show_sample(sample_id: PublicId, context: ContextDep, viewer: PrincipalDep) -> Response:
    """Return a stored image."""
    image = samples.read_image(context.session_factory, context.blobs, sample_id)
    return picture(image.png, max_age_s=YEAR_S)


@router.get("/static/{name}")
@demands(is_public=True)
def send_asset(name: str, request: Request) -> Response:
    """Return a style sheet, script or picture."""
    try:
        asset = load_asset(name)
    except KeyError:
        raise Problem("not-found") from None
    headers = {"Cache-Control": f"public, max-age={YEAR_S}, immutable", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.body, media_type=asset.media_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.compressed, media_type=asset.media_type, headers=headers)


@router.get("/{path:path}")
def show_nothing(path: str) -> Response:
    """Say that there is no such page."""
    raise Problem("not-found", "There is no such page.")


def _routing_plot(routing: Routing | None) -> dict[str, Any] | None:
    return plots.routing_matrix(routing) if routing is not None and routing.synapses else None
