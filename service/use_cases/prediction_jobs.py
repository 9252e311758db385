"""What is done with prediction jobs: posted with images or about stored ones, cancelled, deleted."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from fastapi import Request, Response, status
from starlette.concurrency import run_in_threadpool

from registry import audit, classes, learners, prediction_jobs, stored_images
from registry.audit import Actor
from registry.errors import BlobMissingError
from registry.failpoints import failpoint
from registry.postgres.database import Session
from registry.stored_images import NewJobImage, StoredImages
from registry.tables import PREDICTED, TAUGHT, UPLOADED
from service.dependencies import AppContext
from service.http.buckets import too_many
from service.http.idempotency import IdempotentRequest
from service.http.security import Principal
from service.intake.forms import ImageForm
from service.intake.samples import Received, take_in
from service.intake.unlabelled import read_unlabelled
from service.intake.uploads import Upload
from service.problems import Problem
from service.schemas.prediction_jobs import (
    PredictionJobCreate,
    PredictionJobRead,
)
from service.use_cases.job_views import read_job

MAX_UNFINISHED = 20
"""Jobs of one key that may wait or run at once."""
FREES_IN_S = 30
"""When a key that has that many may ask again, about."""
READ_OWN_WRITES_S = 5.0
"""How long a job about predictions waits for answers just given to be stored."""
NOTHING_ASKED: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Asked:
    """What is to be answered about each image of a job."""

    version: int
    """That answers."""
    top_k: int
    """Classes to rank."""
    trace: str
    """How much of the route to tell."""


def check_before(context: AppContext, name: str, version: int | None, principal: Principal) -> int:
    """Refuse what would be refused anyway before gigabytes are read, and return which version answers.

    Raises:
        RegistryError: If there is no such learner or version.
        Problem: `nothing-learned`, or `rate-limited` for a key with very many jobs, or that may have nothing predicted.
    """
    context.blobs.require_space(0, floor_bytes=context.settings.min_free_bytes)
    address = context.watcher.find_version(name, version)
    if address is None:
        raise Problem("nothing-learned")
    context.quotas.require_predicting(principal)
    with context.session_factory() as session:
        if prediction_jobs.count_unfinished(session, principal.key_id) >= MAX_UNFINISHED:
            raise too_many(
                f"This key may have {MAX_UNFINISHED} prediction jobs that wait or run", FREES_IN_S
            )
    return address.version


async def post_upload(
    context: AppContext,
    actor: Actor,
    principal: Principal,
    name: str,
    request: Request,
    *,
    version: int | None,
    top_k: int,
    trace: str,
    encoding: str | None = None,
) -> Response:
    """Read the images of a request and queue their job. What would be refused anyway is, before they are read.

    Raises:
        Problem, RegistryError: As `check_before`, `read_unlabelled` and `create_from_upload`.
    """
    context.decoder.uploads.require(actor.key_id)
    number = await run_in_threadpool(check_before, context, name, version, principal)
    asked = Asked(number, top_k, trace)
    with Upload() as upload:
        await read_unlabelled(
            request, context.settings, upload, context.decoder.unpacking, encoding=encoding
        )
        create = partial(create_from_upload, context, actor, name, request, upload, asked)
        return await context.decoder.uploads.run(actor.key_id, create)


def create_from_upload(
    context: AppContext,
    actor: Actor,
    name: str,
    request: Request,
    upload: Upload,
    asked: Asked,
) -> Response:
    """Queue the job of an upload that has been read, and return the answer. Blocks.

    Raises:
        Problem: What is wrong with the upload.
        RegistryError: If it cannot be stored.
    """
    with IdempotentRequest.of(request, context.session_factory, upload.digest) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        with context.session_factory() as session:
            form = ImageForm(learners.get_learner(session, name).halved_to)
        context.blobs.require_space(upload.spool.size, floor_bytes=context.settings.min_free_bytes)
        received = take_in(
            upload, decoder=context.decoder, form=form, owner=actor.key_id, blobs=context.blobs
        )
        failpoint("job.after_blobs")
        images = _uploaded(received)
        with context.session_factory.begin() as session:
            return _queue(context, session, actor, name, idempotent, images, asked)


def create_from_stored(
    context: AppContext,
    actor: Actor,
    name: str,
    request: Request,
    digest: str,
    create: PredictionJobCreate,
    asked: Asked,
) -> Response:
    """Queue a job about stored images, and return the answer. Blocks.

    Raises:
        NothingToPredictError: If none is as asked.
    """
    source = _source(create)
    query = create.model_dump(mode="json", exclude_unset=True)
    with IdempotentRequest.of(request, context.session_factory, digest) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        context.writer.wait_written(READ_OWN_WRITES_S)
        with context.session_factory.begin() as session:
            learner = learners.get_learner(session, name)
            images = _stored(session, learner.id, create, context.settings.max_task_images)
            return _queue(context, session, actor, name, idempotent, images, asked, source, query)


def _queue(
    context: AppContext,
    session: Session,
    actor: Actor,
    name: str,
    idempotent: IdempotentRequest,
    images: list[NewJobImage],
    asked: Asked,
    source: str = UPLOADED,
    query: Mapping[str, Any] = NOTHING_ASKED,
) -> Response:
    """Write job, images and idempotency key in one transaction; the blobs are durable already."""
    learner = learners.get_learner(session, name)
    try:
        job = prediction_jobs.add_job(
            session,
            learner,
            images,
            version=asked.version,
            source=source,
            query=query,
            top_k=asked.top_k,
            trace=asked.trace,
            key_id=actor.key_id,
            blobs=context.blobs,
        )
    except BlobMissingError as error:
        detail = "An image of this upload was deleted elsewhere meanwhile: repeat the request."
        raise Problem("storage-unavailable", detail) from error
    details = {"images": job.n_images, "version": asked.version, "source": source}
    audit.record(
        session, actor, "prediction_job.create", learner=name, subject=job.id, details=details
    )
    body = read_job(session, job, name).model_dump(mode="json")
    headers = {"Location": f"/v1/prediction-jobs/{job.id}"}
    return idempotent.answer(session, status.HTTP_202_ACCEPTED, body, headers)


def _uploaded(received: Received) -> list[NewJobImage]:
    """Return the images of an upload in the order they were sent, unusable ones among them."""
    images = {
        image.raw.index: NewJobImage(
            image.raw.filename or f"image {image.raw.index}", blob_sha256=image.blob_sha256
        )
        for image in received.images
    }
    for refused in received.rejected:
        problem = {"code": refused["problem"], "detail": Problem(refused["problem"]).detail}
        images[refused["index"]] = NewJobImage(
            refused["filename"] or f"image {refused['index']}", problem=problem
        )
    return [images[index] for index in sorted(images)]


def _source(create: PredictionJobCreate) -> str:
    if create.predictions is not None:
        return PREDICTED
    if create.samples is not None:
        return TAUGHT
    return PREDICTED if create.images and create.images[0].prediction else TAUGHT


def _stored(
    session: Session, learner_id: str, create: PredictionJobCreate, limit: int
) -> list[NewJobImage]:
    wanted = create.predictions or create.samples
    if wanted is not None:
        asked = wanted.model_dump()
        if asked.get("label") is not None:
            asked["label"] = classes.resolve(session, learner_id, asked["label"])
        find = (
            stored_images.find_predicted
            if create.predictions is not None
            else stored_images.find_taught
        )
        return find(session, learner_id, StoredImages(**asked), limit=limit)
    images = create.images or []
    if len(images) > limit:
        raise Problem("too-many-images")
    if images[0].sample is not None:
        ids = [image.sample for image in images if image.sample is not None]
        return stored_images.pick_taught(session, learner_id, ids)
    keys = [(image.prediction, image.index) for image in images if image.prediction is not None]
    return stored_images.pick_predicted(session, learner_id, keys)


def cancel(context: AppContext, actor: Actor, job_id: str) -> PredictionJobRead:
    """Stop a job, and note who did.

    Raises:
        PredictionJobNotFoundError: If there is none.
        PredictionJobEndedError: If it has ended.
    """
    with context.session_factory.begin() as session:
        job = prediction_jobs.cancel(session, job_id)
        read = read_job(session, job)
        audit.record(session, actor, "prediction_job.cancel", learner=read.learner, subject=job_id)
    return read


def delete(context: AppContext, actor: Actor, job_id: str) -> None:
    """Delete a job with its results, and note who did.

    Raises:
        PredictionJobNotFoundError: If there is none.
    """
    with context.session_factory.begin() as session:
        job = prediction_jobs.delete_job(session, job_id)
        learner = learners.get_learner_by_id(session, job.learner_id).name
        details = {"images": job.n_images}
        audit.record(
            session,
            actor,
            "prediction_job.delete",
            learner=learner,
            subject=job_id,
            details=details,
        )
