"""Workers: who is alive, on what device, doing what."""

from typing import cast

from fastapi import APIRouter

from registry import workers
from registry.workers import SeenWorker
from service.dependencies import ContextDep
from service.http.roles import requires
from service.http.strict_route import StrictRoute
from service.schemas.base import Page
from service.schemas.operations import HeldTask, WorkerKind, WorkerRead

router = APIRouter(
    prefix="/v1/workers",
    tags=["Operating"],
    route_class=StrictRoute,
    dependencies=[requires("reader", everywhere=True)],
)


@router.get("", response_model=Page[WorkerRead])
def list_workers(context: ContextDep) -> Page[WorkerRead]:
    """List the workers seen within a day, with the tasks they are learning."""
    with context.session_factory() as session:
        return Page[WorkerRead](items=[_read(seen) for seen in workers.list_workers(session)])


def _read(seen: SeenWorker) -> WorkerRead:
    row = seen.row
    learning = [
        HeldTask(
            id=task.id,
            learner=learner,
            index=task.index,
            phase=task.progress["phase"],
            fraction=task.progress["fraction"],
            attempt=task.attempt,
        )
        for task, learner in seen.learning
    ]
    return WorkerRead(
        id=row.id,
        kind=cast("WorkerKind", row.kind),
        state=seen.state,
        host=row.host,
        pid=row.pid,
        device=row.device,
        slots=row.slots,
        version=row.version,
        learning=learning,
        started_at=row.started_at,
        seen_at=row.seen_at,
        stopped_at=row.stopped_at,
    )
