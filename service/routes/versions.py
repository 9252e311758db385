"""Versions: the immutable snapshots of a learner."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from registry import classes, learners, versions
from registry.tables import VersionRow
from service.dependencies import ContextDep, Cursor, Limit, link_next
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import MAX_INT, LearnerName, Page
from service.schemas.consolidations import stage_of
from service.schemas.operations import ConfusionRead, VersionRead

router = APIRouter(
    prefix="/v1/learners/{name}/versions",
    tags=["Versions"],
    route_class=StrictRoute,
    dependencies=[requires("reader")],
)


@router.get("", response_model=Page[VersionRead])
def list_versions(
    name: LearnerName,
    request: Request,
    response: Response,
    context: ContextDep,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[VersionRead]:
    """List a learner's versions, newest first."""
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        live = learners.live_version(session, learner.id)
        page = versions.list_versions(session, learner.id, limit=limit, cursor=cursor)
    link_next(request, response, page.next_cursor)
    items = [_read(row, live) for row in page.items]
    return Page[VersionRead](items=items, next_cursor=page.next_cursor)


@router.get("/{number}", response_model=VersionRead)
def get_version(
    name: LearnerName,
    number: Annotated[int, Path(ge=1, le=MAX_INT)],
    context: ContextDep,
) -> VersionRead:
    """Read one version: what it was learned from, with which configuration, and what it weighs."""
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        live = learners.live_version(session, learner.id)
        return _read(versions.get_version(session, learner.id, number), live)


@router.get("/{number}/confusion", response_model=ConfusionRead)
def get_confusion(
    name: LearnerName,
    number: Annotated[int, Path(ge=1, le=MAX_INT)],
    context: ContextDep,
) -> ConfusionRead:
    """Read which images were taken for what: counts by task, true class and answered class, zeros left out.

    They are those held out, and those that are learned from, each answered by what was learned from the others.

    Classes are called as they are called now. Hidden ones are counted like all others: it was measured with them.
    """
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        row = versions.get_version(session, learner.id, number)
        shown = classes.shown(session, learner.id)
    confusion = {
        int(task): {
            shown.name(true): {shown.name(answered): n for answered, n in counts.items()}
            for true, counts in by_label.items()
        }
        for task, by_label in row.metrics.get("confusion", {}).items()
    }
    names = [shown.name(label) for label in row.classes]
    return ConfusionRead(learner=name, version=number, classes=names, confusion=confusion)


def _read(row: VersionRow, live: int) -> VersionRead:
    return VersionRead(
        number=row.number,
        parent=row.parent,
        task=row.task_index,
        task_id=row.task_id,
        tasks=row.tasks,
        stage=stage_of(row.stage),
        unconsolidated=row.unconsolidated,
        config=row.config,
        seed=row.seed,
        backbone_fingerprint=row.backbone_fingerprint,
        artifact_sha256=row.manifest_sha256,
        size_bytes=row.size_bytes,
        classes=row.classes,
        metrics=row.metrics,
        code_versions=row.code_versions,
        is_live=row.number == live,
        erased_at=row.erased_at,
        created_at=row.created_at,
    )
