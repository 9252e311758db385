"""The accuracy history: how well every task is still known after every task."""

import csv
from io import StringIO
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from registry import accuracy, learners, versions
from registry.accuracy import AccuracyHistory
from service.dependencies import ContextDep
from service.http.accept import choose, require
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import MAX_INT, LearnerName
from service.schemas.measures import AccuracyMeasures
from service.schemas.operations import AccuracyRead

router = APIRouter(
    prefix="/v1", tags=["Accuracy"], route_class=StrictRoute, dependencies=[requires("reader")]
)

FORMATS = {"json": "application/json", "csv": "text/csv"}


@router.get(
    "/learners/{name}/accuracy",
    response_model=AccuracyRead,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_accuracy(
    name: LearnerName,
    request: Request,
    context: ContextDep,
    format: Annotated[Literal["json", "csv"] | None, Query()] = None,
    version: Annotated[int | None, Query(ge=1, le=MAX_INT)] = None,
) -> AccuracyRead | Response:
    """Read the accuracy matrix of a learner and what follows from it.

    Row v, column t of `matrix`: accuracy on images of task t with version v, over all classes known then. The images
    are those held out, those that are learned from and were left out in turn (`cross_validated`), or both.
    `forgetting` is the mean drop from the best to the last accuracy over earlier tasks. `measures` says how sure each
    of them is. With `format=csv`, or `Accept: text/csv`: one line a cell.

    Rows are the versions that lead to `version`, which is the head unless you name another one; `last`, `average` and
    `forgetting` belong to it. After a rollback name the `live_version` for the numbers of what is served. Tasks that
    were superseded by a rollback are none of the columns that lead to the head. The column
    of an unlearned task ends where it was, and counts neither as forgotten nor in what follows. Hidden classes are
    measured like all others: what is hidden changes with an operator's mind, what was learned does not.

    - **404** `learner-not-found`, `version-not-found`
    """
    accept = request.headers.get("accept", "")
    media_type = FORMATS[format] if format else choose(accept, list(FORMATS.values()))
    require(accept, [media_type or FORMATS["json"]])
    with context.session_factory() as session:
        row = learners.get_learner(session, name)
        if version is not None:
            versions.get_version(session, row.id, version)
        history = accuracy.history(session, row.id, version)
        live = learners.live_version(session, row.id)
        superseded = accuracy.superseded_tasks(session, row.id)
    if media_type == FORMATS["csv"]:
        disposition = {"Content-Disposition": f'attachment; filename="{name}-accuracy.csv"'}
        return Response(_csv(history), media_type=media_type, headers=disposition)
    return AccuracyRead(
        learner=name,
        version=history.versions[-1] if history.versions else 0,
        live_version=live,
        tasks=history.tasks,
        versions=history.versions,
        matrix=history.matrix,
        n=[list(counts) for counts in history.n],
        last=history.last,
        average=history.average,
        forgetting=history.forgetting,
        backward_transfer=history.backward_transfer,
        plasticity=history.plasticity,
        stability=history.stability,
        routing=history.routing,
        passes=history.passes,
        unlearned=history.unlearned,
        superseded=superseded,
        measures=AccuracyMeasures.of(history.measures),
    )


def _csv(history: AccuracyHistory) -> str:
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(["version", "task", "accuracy", "n", "low", "high", "n_cross_validated"])
    for version, row in zip(history.versions, history.measures.matrix, strict=True):
        for task, cell in zip(history.tasks, row, strict=True):
            if cell is not None:
                numbers = (cell.value, cell.n, cell.low, cell.high, cell.n_cross_validated)
                writer.writerow([version, task, *numbers])
    return out.getvalue()
