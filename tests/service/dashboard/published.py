"""Learners that have learned, for the pages' tests: the rows a worker would write, without any learning."""

from typing import Any

from sqlalchemy.orm import Session

from registry import queue, versions
from registry.blobs.store import BlobStore
from registry.tables import TaskRow
from registry.versions import NewAccuracy, NewVersion
from tests.factories import make_task


def publish_task(
    session: Session,
    blobs: BlobStore,
    learner: str,
    labels: tuple[str, ...],
    accuracy: list[float],
    *,
    metrics: dict[str, Any] | None = None,
    **fields: Any,
) -> TaskRow:
    """Add a task and publish it with these accuracies, one for each task so far, of 10 images each."""
    task = make_task(session, blobs, learner, classes=labels, **fields)
    claimed = queue.claim(session, task.id, "tests", 30)
    assert claimed is not None
    parent = task.index - 1
    known = versions.get_version(session, task.learner_id, parent).classes if parent else []
    new_version = NewVersion(
        parent=parent,
        task_index=task.index,
        config={},
        seed=0,
        backbone_fingerprint="tiny",
        manifest_sha256="0" * 64,
        size_bytes=1234,
        classes=[*known, *labels],
        metrics=metrics or {},
        code_versions={},
        accuracies=[
            NewAccuracy(index, 10, round(10 * share), 0, 0, 1.0)
            for index, share in enumerate(accuracy, start=1)
        ],
    )
    versions.publish(session, task.id, claimed.token, new_version)
    session.commit()
    return task
