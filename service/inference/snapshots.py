"""Versions in memory: the live one of every learner, and a few older ones.

A snapshot is immutable. A request takes its reference once, so it is answered by exactly one version, whatever is
published meanwhile.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import structlog
import torch

from models import artifact
from models.admission import admit
from models.backbone import Backbone, load_backbone
from models.errors import LearnerError
from models.strategies.base import Strategy
from registry.blobs import BlobStore
from registry.classes import PLAIN, Shown
from registry.errors import RegistryError
from service.http.problems import Problem
from service.metrics import Metrics

log = structlog.get_logger(__name__)

RETRY_S = 30.0
"""Seconds before a version that could not be loaded is tried again; chosen, untested."""
_LOAD_ERRORS = (RegistryError, LearnerError, OSError, RuntimeError, ValueError, KeyError)
DEFAULT_NOVELTY_THRESHOLD = 0.99
"""Novelty above which an image counts as unknown, for strategies that set none."""


@dataclass(frozen=True)
class Snapshot:
    """One version of one learner, ready to predict."""

    learner_id: str
    learner: str
    version: int
    strategy: Strategy[Any]
    backbone: Backbone

    @property
    def novelty_threshold(self) -> float:
        """Novelty above which an image is answered as not known."""
        return float(getattr(self.strategy.config, "novelty_threshold", DEFAULT_NOVELTY_THRESHOLD))


@dataclass(frozen=True)
class VersionAddress:
    """What has to be known to load a version."""

    learner_id: str
    learner: str
    backbone: str
    version: int
    manifest_sha256: str


class VersionLoader:
    """Reads versions out of the blob store; every byte is checked against its hash on the way."""

    def __init__(
        self, blobs: BlobStore, *, device: torch.device, weights: Path | None, metrics: Metrics
    ) -> None:
        self._metrics = metrics
        self._failed: dict[tuple[str, int], tuple[str | None, float]] = {}
        self._blobs = blobs
        self._device = device
        self._weights = weights
        self._backbones: dict[str, Backbone] = {}
        self._lock = Lock()
        self._admitting = Lock()

    def load(self, address: VersionAddress) -> Snapshot:
        """Load one version. Takes as long as its files are large; the first use of a backbone loads that too.

        A version that cannot be loaded is not tried again for `RETRY_S`, however often it is asked for.

        Raises:
            Problem: `version-damaged`, if a file is missing or damaged or does not fit the backbone.
        """
        key = (address.learner_id, address.version)
        detail, failed_at = self._failed.get(key, (None, float("-inf")))
        if time.monotonic() - failed_at < RETRY_S:
            raise Problem("version-damaged", detail)
        try:
            snapshot = self._load(address)
        except _LOAD_ERRORS as error:
            self._metrics.load_failures.inc()
            log.exception("version_load_failed", learner=address.learner, version=address.version)
            # The learning core's sentences are made for the user; what a disk says is not.
            detail = str(error) if isinstance(error, LearnerError) else None
            self._failed[key] = (detail, time.monotonic())
            raise Problem("version-damaged", detail) from error
        self._failed.pop(key, None)
        return snapshot

    def _load(self, address: VersionAddress) -> Snapshot:
        backbone = self.backbone(address.backbone)
        manifest = self._blobs.get(address.manifest_sha256)
        strategy = artifact.load(manifest, self._blobs.get, backbone)
        return Snapshot(address.learner_id, address.learner, address.version, strategy, backbone)

    def admit(self, manifest: bytes, read: Callable[[str], bytes], backbone_name: str) -> None:
        """Prove a version from outside, one at a time: each is held in memory about twice.

        Raises:
            CheckpointError: If it does not hold together.
            BackboneError: If its backbone cannot be loaded.
        """
        backbone = self.backbone(backbone_name)
        with self._admitting:
            admit(manifest, read, backbone)

    def backbone(self, name: str) -> Backbone:
        """Return a backbone, loaded at its first use.

        Raises:
            BackboneError: If it cannot be loaded.
        """
        with self._lock:
            backbone = self._backbones.get(name)
            if backbone is None:
                backbone = load_backbone(name, weights=self._weights).to(self._device)
                self._backbones[name] = backbone
            return backbone


class SnapshotStore:
    """The snapshots that requests take, and how their classes are shown.

    Reading is one dictionary access; writing replaces the dictionary.
    """

    def __init__(self, *, older_versions: int, metrics: Metrics) -> None:
        self._live: Mapping[str, Snapshot] = {}
        self._older: OrderedDict[tuple[str, int], Snapshot] = OrderedDict()
        self._shown: Mapping[str, Shown] = {}
        self._keep = older_versions
        self._lock = Lock()
        self._metrics = metrics

    def live(self, learner: str) -> Snapshot | None:
        """Return the live snapshot of a learner, if it is loaded."""
        return self._live.get(learner)

    def all_live(self) -> list[Snapshot]:
        """Return the live snapshots of all learners."""
        return list(self._live.values())

    def shown(self, learner_id: str) -> Shown:
        """Return what a learner's classes are called, and which are hidden."""
        return self._shown.get(learner_id, PLAIN)

    def show(self, shown: Mapping[str, Shown]) -> None:
        """Show classes so from now on, by the id of their learner."""
        self._shown = shown

    def swap(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on, and keep the one before among the older ones."""
        before = self._live.get(snapshot.learner)
        self._live = {**self._live, snapshot.learner: snapshot}
        if before is not None and before.learner_id == snapshot.learner_id:
            self.keep(before)
        self._count()

    def retain(self, learner_ids: set[str]) -> None:
        """Forget the snapshots of learners that are gone."""
        self._live = {n: s for n, s in self._live.items() if s.learner_id in learner_ids}
        with self._lock:
            for key in [key for key in self._older if key[0] not in learner_ids]:
                del self._older[key]
        self._count()

    def loaded_older(self) -> list[tuple[str, int]]:
        """Return id of the learner and number of every older version in memory."""
        with self._lock:
            return list(self._older)

    def drop(self, erased: set[tuple[str, int]]) -> None:
        """Forget older versions that were erased; each as id of its learner and number."""
        with self._lock:
            for key in erased:
                self._older.pop(key, None)
        self._count()

    def older(self, learner_id: str, version: int) -> Snapshot | None:
        """Return an older version if it is loaded, and mark it as used."""
        with self._lock:
            snapshot = self._older.get((learner_id, version))
            if snapshot is not None:
                self._older.move_to_end((learner_id, version))
            return snapshot

    def keep(self, snapshot: Snapshot) -> None:
        """Keep an older version until enough others were used since."""
        with self._lock:
            self._older[(snapshot.learner_id, snapshot.version)] = snapshot
            self._older.move_to_end((snapshot.learner_id, snapshot.version))
            while len(self._older) > self._keep:
                self._older.popitem(last=False)
        self._count()

    def _count(self) -> None:
        self._metrics.versions_loaded.set(len(self._live) + len(self._older))
