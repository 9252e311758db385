"""What an upload does: its images are stored, compared with what the learner has, and a task is queued."""

from functools import partial
from typing import Any

from fastapi import Request, Response, status
from starlette.concurrency import run_in_threadpool

from models.strategies.catalog import resolve
from registry import audit, classes, feedback, learners, tasks
from registry.audit import Actor
from registry.errors import BlobMissingError
from registry.failpoints import failpoint
from registry.feedback import FeedbackImage
from registry.growth import find_earlier_images
from registry.postgres.database import Session
from registry.samples import add_samples
from registry.tables import LearnerRow
from service.dependencies import AppContext
from service.http.idempotency import IdempotentRequest
from service.http.security import Principal
from service.intake.forms import ImageForm
from service.intake.placing import as_json
from service.intake.sample_selection import SelectedSamples, select_samples
from service.intake.samples import Received, take_in
from service.intake.splitting import CROSS_VALIDATED_BELOW
from service.intake.uploads import Upload, read_upload
from service.problems import Problem
from service.schemas.tasks import TaskOptions, TaskQuery
from service.use_cases.configs import override_config
from service.use_cases.task_views import read_task


def check_before(context: AppContext, name: str, principal: Principal) -> None:
    """Refuse what would be refused anyway before gigabytes are read."""
    context.blobs.require_space(0, floor_bytes=context.settings.min_free_bytes)
    with context.session_factory() as session:
        learners.get_learner(session, name)
        context.quotas.require_day(session, principal, 0)


async def post_upload(
    context: AppContext,
    actor: Actor,
    principal: Principal,
    name: str,
    request: Request,
    query: TaskQuery,
) -> Response:
    """Read the images of a request and queue their task. What would be refused anyway is, before they are read.

    Args:
        context: The app's.
        actor: Who teaches.
        principal: The key that they do it with.
        name: Of the learner.
        request: Whose body brings the images.
        query: Options of the task; those in the body win.

    Raises:
        Problem, RegistryError: As `check_before`, `read_upload` and `create_task`.
    """
    context.decoder.uploads.require(actor.key_id)
    await run_in_threadpool(check_before, context, name, principal)
    with Upload() as upload:
        await read_upload(request, query, context.settings, upload, context.decoder.unpacking)
        create = partial(create_task, context, actor, name, request, upload)
        answer = await context.decoder.uploads.run(actor.key_id, create)
    context.doorbell.wake()
    return answer


def create_task(
    context: AppContext, actor: Actor, name: str, request: Request, upload: Upload
) -> Response:
    """Queue the task of an upload that has been read, and return the answer. Blocks.

    Raises:
        Problem: What is wrong with the upload, or with the task it asks for.
        RegistryError: If it does not fit what the learner knows.
    """
    with IdempotentRequest.of(request, context.session_factory, upload.digest) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory() as session:
            learner = learners.get_learner(session, name)
            upload.relabel(classes.shown(session, learner.id).label)
            given = _feedback(session, context, learner, upload)
            n_images = len(upload.images) + len(given)
            context.quotas.require_day(session, request.state.principal, n_images)
        asked = upload.options.config
        config = override_config(learner.strategy, learner.config, asked)
        context.blobs.require_space(upload.spool.size, floor_bytes=context.settings.min_free_bytes)
        failpoint("upload.before_blobs")
        received = take_in(
            upload,
            decoder=context.decoder,
            form=ImageForm(learner.halved_to),
            owner=actor.key_id,
            blobs=context.blobs,
            feedback=given,
        )
        failpoint("upload.after_blobs")
        return _queue(context, actor, name, idempotent, upload, config, received)


def _feedback(
    session: Session, context: AppContext, learner: LearnerRow, upload: Upload
) -> list[FeedbackImage]:
    """Return the feedback that the task is to take.

    Raises:
        Problem: `no-feedback`, if there is neither any nor an image.
    """
    if not upload.options.from_feedback:
        return []
    given = feedback.fitting(
        session,
        learner,
        mode=upload.options.mode,
        min_images=context.settings.min_images,
        uploaded={image.label for image in upload.images},
        limit=max(0, context.settings.max_task_images - len(upload.images)),
    )
    if not given and not upload.images:
        detail = (
            "No pending feedback can be learned so: `new_classes` takes labels that are not known, `extend` all, and "
            f"each new class needs {context.settings.min_images} different images."
        )
        raise Problem("no-feedback", detail)
    return given


def _queue(
    context: AppContext,
    actor: Actor,
    name: str,
    idempotent: IdempotentRequest,
    upload: Upload,
    config: dict[str, Any],
    received: Received,
) -> Response:
    """Write task, samples and idempotency key in one transaction; the blobs are durable already."""
    options = upload.options
    with context.session_factory.begin() as session:
        intake = _select(session, context, name, options, received, config)
        task = tasks.add_task(
            session,
            name,
            name=options.name,
            mode=options.mode,
            options=options.model_dump(mode="json", exclude={"name", "mode", "config", "seed"}),
            config=config,
            seed=options.seed,
            classes=intake.classes,
            n_train=intake.count("train"),
            n_eval=intake.count("eval"),
            rejected=intake.rejected,
            quarantined=intake.quarantined,
            n_duplicates=intake.n_duplicates,
            layout=None if upload.layout is None else as_json(upload.layout),
            n_known=intake.n_known,
            n_splits_kept=intake.n_splits_kept,
            expected_head_version=options.expected_head_version,
            key_id=actor.key_id,
            max_classes=context.settings.max_classes or None,
        )
        try:
            add_samples(session, task.id, intake.samples, context.blobs)
        except BlobMissingError as error:
            detail = "An image of this upload was deleted elsewhere meanwhile: repeat the request."
            raise Problem("storage-unavailable", detail) from error
        feedback.take(session, task, intake.feedback)
        details = {
            "index": task.index,
            "mode": task.mode,
            "classes": len(task.classes),
            "images": task.n_train + task.n_eval,
            "feedback": task.n_feedback,
        }
        audit.record(session, actor, "task.create", learner=name, subject=task.id, details=details)
        body = read_task(session, task, name).model_dump(mode="json")
        headers = {"Location": f"/v1/tasks/{task.id}"}
        answer = idempotent.answer(session, status.HTTP_202_ACCEPTED, body, headers)
        failpoint("upload.before_commit")
    failpoint("upload.after_commit")
    return answer


def _select(
    session: Session,
    context: AppContext,
    name: str,
    options: TaskOptions,
    received: Received,
    config: dict[str, Any],
) -> SelectedSamples:
    """Compare the images with those the learner has; its row stays locked, so that two uploads cannot cross."""
    learner = learners.get_learner(session, name, lock=True)
    strategy, _ = resolve(learner.strategy, config)
    return select_samples(
        received,
        find_earlier_images(session, learner, [image.key for image in received.images]),
        classes.shown(session, learner.id),
        options,
        min_images=context.settings.min_images,
        hold_out_from=CROSS_VALIDATED_BELOW if strategy.cross_validates else 0,
    )
