"""A learner out of a bundle: checked, loaded once, then kept."""

from collections.abc import Iterator

from fastapi import Request, Response, status

from registry import audit, bundles, learners
from registry.audit import Actor
from registry.errors import BlobMissingError, LearnerExistsError, LearnerNotFoundError
from service.dependencies import AppContext
from service.http.idempotency import IdempotentRequest, body_digest
from service.intake.spool import Spool
from service.problems import Problem
from service.use_cases.bundles import CheckedBundle, check, load_once, open_bundle
from service.use_cases.learner_views import read_learner


def import_bundle(
    context: AppContext, actor: Actor, name: str | None, request: Request, spool: Spool
) -> Response:
    """Create a learner from a bundle that has been received, and return the answer. Blocks.

    Raises:
        Problem: What the bundle lacks, or the installation.
        LearnerExistsError: If the name is taken.
    """
    with IdempotentRequest.of(
        request, context.session_factory, body_digest(request, spool.digest().encode())
    ) as idempotent:
        if idempotent.replay is not None:
            return idempotent.replay
        checked = check(open_bundle(spool), context.settings)
        name = name or checked.head.learner.name
        _require_free(context, name)
        load_once(checked, context)
        context.blobs.require_space(spool.size, floor_bytes=context.settings.min_free_bytes)
        return _keep(context, actor, name, checked, idempotent)


def _require_free(context: AppContext, name: str) -> None:
    with context.session_factory() as session:
        try:
            learners.get_learner(session, name)
        except LearnerNotFoundError:
            return
    raise LearnerExistsError(name)


def _keep(
    context: AppContext,
    actor: Actor,
    name: str,
    checked: CheckedBundle,
    idempotent: IdempotentRequest,
) -> Response:
    """Store the blobs, then everything else in one transaction. What a failure leaves is collected later."""
    bundle = checked.bundle

    def data() -> Iterator[bytes]:
        yield from map(bundle.read, bundle.files)
        yield bundle.manifest

    manifest_sha256 = context.blobs.put_many(data())[-1]
    with context.session_factory.begin() as session:
        try:
            row = bundles.import_learner(
                session, name, checked.learner(manifest_sha256), bundle.files, context.blobs
            )
        except BlobMissingError as error:
            detail = "A file of this bundle was collected meanwhile: repeat the request."
            raise Problem("storage-unavailable", detail) from error
        details = {
            "strategy": row.strategy,
            "backbone": row.backbone,
            "manifest_sha256": manifest_sha256,
        }
        audit.record(session, actor, "learner.import", learner=name, subject=name, details=details)
        body = read_learner(session, row, context.settings.schedule).model_dump(mode="json")
        headers = {"Location": f"/v1/learners/{name}"}
        return idempotent.answer(session, status.HTTP_201_CREATED, body, headers)
