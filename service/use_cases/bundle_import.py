"""A learner out of a bundle: checked, loaded once, then kept."""

from collections.abc import Iterator

from fastapi import Request, Response, status

from registry import audit, bundles, learners
from registry.audit import AuditBy
from registry.errors import BlobMissingError, LearnerExistsError, LearnerNotFoundError
from service.dependencies import Collaborators
from service.http.idempotency import Once, body_digest
from service.intake.spool import Spool
from service.problems import Problem
from service.use_cases.bundles import CheckedBundle, check, open_bundle, prove
from service.use_cases.learner_views import read_learner


def import_bundle(
    on: Collaborators, by: AuditBy, name: str | None, request: Request, spool: Spool
) -> Response:
    """Create a learner from a bundle that has been received, and return the answer. Blocks.

    Raises:
        Problem: What the bundle lacks, or the installation.
        LearnerExistsError: If the name is taken.
    """
    with Once.of(
        request, on.session_factory, body_digest(request, spool.digest().encode())
    ) as once:
        if once.replay is not None:
            return once.replay
        checked = check(open_bundle(spool), on.settings)
        name = name or checked.head.learner.name
        _require_free(on, name)
        prove(checked, on)
        on.blobs.require_space(spool.size, floor_bytes=on.settings.min_free_bytes)
        return _keep(on, by, name, checked, once)


def _require_free(on: Collaborators, name: str) -> None:
    with on.session_factory() as session:
        try:
            learners.get_learner(session, name)
        except LearnerNotFoundError:
            return
    raise LearnerExistsError(name)


def _keep(
    on: Collaborators, by: AuditBy, name: str, checked: CheckedBundle, once: Once
) -> Response:
    """Store the blobs, then everything else in one transaction. What a failure leaves is collected later."""
    bundle = checked.bundle

    def data() -> Iterator[bytes]:
        yield from map(bundle.read, bundle.files)
        yield bundle.manifest

    manifest_sha256 = on.blobs.put_many(data())[-1]
    with on.session_factory.begin() as session:
        try:
            row = bundles.bring_in(
                session, name, checked.learner(manifest_sha256), bundle.files, on.blobs
            )
        except BlobMissingError as error:
            detail = "A file of this bundle was collected meanwhile: repeat the request."
            raise Problem("storage-unavailable", detail) from error
        details = {
            "strategy": row.strategy,
            "backbone": row.backbone,
            "manifest_sha256": manifest_sha256,
        }
        audit.record(session, by, "learner.import", learner=name, subject=name, details=details)
        body = read_learner(session, row).model_dump(mode="json")
        headers = {"Location": f"/v1/learners/{name}"}
        return once.answer(session, status.HTTP_201_CREATED, body, headers)
