"""Deleting the stored images of a task."""

from registry import audit, held_out, learners, samples, tasks
from registry.audit import Actor
from service.dependencies import AppContext


def drop_samples(context: AppContext, actor: Actor, task_id: str) -> int:
    """Delete a task's images that no other one uses, and return how many went. Blocks.

    Raises:
        TaskNotFoundError: If there is no such task.
        LearnerBusyError: If it waits or runs.
    """
    with context.session_factory.begin() as session:
        features = held_out.of_task(session, task_id)
        blobs = samples.drop_samples(session, task_id)
        learner_id = tasks.get_task(session, task_id).learner_id
        learner = learners.get_learner_by_id(session, learner_id).name
        details = {"images": len(blobs)}
        audit.record(
            session, actor, "samples.delete", learner=learner, subject=task_id, details=details
        )
    with context.session_factory.begin() as session:
        samples.delete_unreferenced(session, context.blobs, features)
        return samples.delete_unreferenced(session, context.blobs, blobs)
