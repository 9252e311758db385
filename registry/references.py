"""Which blobs the rows refer to.

Images of samples, predictions and prediction jobs, versions' manifests and the files these name, held results,
checkpoints, and features of held-out images.
"""

import json
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.blobs.store import BlobStore, is_hash
from registry.errors import BlobDamagedError
from registry.scopes import EVERY_LEARNER
from registry.tables import (
    PredictionImageRow,
    PredictionJobImageRow,
    SampleRow,
    TaskRow,
    VersionRow,
)

PENDING_MANIFEST = TaskRow.pending_version["manifest_sha256"].astext
ADDRESSES: tuple[InstrumentedAttribute[Any] | ColumnElement[Any], ...] = (
    SampleRow.blob_sha256,
    PredictionImageRow.blob_sha256,
    PredictionJobImageRow.blob_sha256,
    VersionRow.manifest_sha256,
    PENDING_MANIFEST,
    TaskRow.checkpoint,
    TaskRow.held_out_features,
)
"""Every place of the database that names a blob."""
MANIFESTS: tuple[InstrumentedAttribute[Any] | ColumnElement[Any], ...] = (
    VersionRow.manifest_sha256,
    PENDING_MANIFEST,
)
"""Those whose blob names further ones."""


class ArtifactFiles:
    """What manifests name. Reads each manifest once: they never change."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._files: dict[str, dict[str, int]] = {}

    def of(self, manifest_sha256: str) -> dict[str, int]:
        """Return the files of a version, each with its size in bytes.

        Raises:
            BlobMissingError: If the manifest is missing.
            BlobDamagedError: If it is damaged, or is none.
        """
        if manifest_sha256 not in self._files:
            manifest = self._blobs.get(manifest_sha256)
            self._files[manifest_sha256] = _parse(manifest, manifest_sha256)
        return self._files[manifest_sha256]

    def of_all(self, manifests: Iterable[str]) -> set[str]:
        """Return the files of many versions.

        Raises:
            BlobMissingError: If a manifest is missing.
            BlobDamagedError: If one is damaged, or is none.
        """
        return {sha256 for manifest in manifests for sha256 in self.of(manifest)}


def addressed(session: Session, among: Collection[str] | None = None) -> set[str]:
    """Return the blobs that rows name themselves, or those of some."""
    return _named_by(session, ADDRESSES, among)


def manifests(session: Session) -> set[str]:
    """Return the manifests of all versions, held ones included."""
    return _named_by(session, MANIFESTS, None)


def referenced_among(session: Session, hashes: Collection[str], files: ArtifactFiles) -> set[str]:
    """Return those of some blobs that are referred to, by a row or by a manifest that a row names.

    Raises:
        BlobMissingError: If a manifest is missing, so that nobody can say.
        BlobDamagedError: If one is damaged.
    """
    return addressed(session, hashes) | (set(hashes) & files.of_all(manifests(session)))


def _named_by(
    session: Session,
    places: Iterable[InstrumentedAttribute[Any] | ColumnElement[Any]],
    among: Collection[str] | None,
) -> set[str]:
    hashes: set[str] = set()
    for place in places:
        query = select(place).where(place.is_not(None)).distinct()
        if among is not None:
            query = query.where(place.in_(among))
        # Also for a caller who may see some learners only: blobs are shared between all.
        hashes.update(session.scalars(query, execution_options=EVERY_LEARNER))
    return hashes


def _parse(manifest: bytes, manifest_sha256: str) -> dict[str, int]:
    try:
        files = {
            str(file["sha256"]): int(file["size"])
            for file in json.loads(manifest)["files"].values()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BlobDamagedError(manifest_sha256) from error
    if not all(is_hash(sha256) for sha256 in files):
        raise BlobDamagedError(manifest_sha256)
    return files
