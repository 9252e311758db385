"""A version in memory, and how it gets there.

A snapshot is immutable. A request takes its reference once, so it is answered by exactly one version, whatever is
published meanwhile.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import structlog
import torch

from models import artifact
from models.admission import admit
from models.artifact import KnownFiles
from models.backbone import Backbone, load_backbone
from models.errors import BackboneError, LearnerError
from models.onnx_pass import OnnxPass
from models.strategies.base import Strategy
from registry.blobs.store import BlobStore
from registry.errors import RegistryError
from service.intake.forms import HALVED, ImageForm
from service.metrics import Metrics
from service.problems import Problem

log = structlog.get_logger(__name__)

RETRY_S = 30.0
"""Seconds before a version that could not be loaded is tried again; chosen, untested."""
_LOAD_ERRORS = (RegistryError, LearnerError, OSError, RuntimeError, ValueError, KeyError)


@dataclass(frozen=True)
class Snapshot:
    """One version of one learner, ready to predict."""

    learner_id: str
    learner: str
    version: int
    strategy: Strategy[Any]
    backbone: Backbone
    manifest_sha256: str = ""
    form: ImageForm = HALVED
    """Of the learner's images."""

    @property
    def address(self) -> "VersionAddress":
        """What has to be known to load it again."""
        return VersionAddress(
            self.learner_id,
            self.learner,
            self.backbone.name,
            self.version,
            self.manifest_sha256,
            self.form,
        )

    @cached_property
    def features_of(self) -> str:
        """Return what tells the maker of its features from others. Hashes an adapter, so not for the event loop."""
        return self.strategy.fingerprint_of_features()[:16]

    @property
    def novelty_threshold(self) -> float:
        """Novelty above which an image is answered as not known."""
        return self.strategy.novelty_threshold


@dataclass(frozen=True)
class VersionAddress:
    """What has to be known to load a version."""

    learner_id: str
    learner: str
    backbone: str
    version: int
    manifest_sha256: str
    form: ImageForm
    """Of the learner's images."""

    @property
    def key(self) -> tuple[str, int]:
        """Id of the learner and number."""
        return self.learner_id, self.version


class VersionLoader:
    """Reads versions out of the blob store; every byte is checked against its hash on the way."""

    def __init__(
        self,
        blobs: BlobStore,
        *,
        device: torch.device,
        weights: Path | None,
        metrics: Metrics,
        as_graph: bool = False,
    ) -> None:
        """Load nothing yet.

        Args:
            blobs: Where artifacts lie.
            device: Where predictions run.
            weights: See `load_backbone`.
            metrics: Told what could not be loaded.
            as_graph: Whether ONNX Runtime runs the passes on a CPU, where it can.
        """
        self._metrics = metrics
        self._failed: dict[tuple[str, int], tuple[str | None, float]] = {}
        self._blobs = blobs
        self._device = device
        self._weights = weights
        self._as_graph = as_graph and device.type == "cpu"
        self._backbones: dict[str, Backbone] = {}
        self._files = KnownFiles()
        self._lock = Lock()
        self._admitting = Lock()
        self._under_way: dict[tuple[str, int], Future[Snapshot]] = {}
        self._joining = Lock()

    def load(self, address: VersionAddress) -> Snapshot:
        """Load one version. Takes as long as its files are large; the first use of a backbone loads that too.

        Who asks for one that is being loaded waits for it. One that cannot be loaded is not tried again for `RETRY_S`,
        however often it is asked for.

        Raises:
            Problem: `version-damaged`, if a file is missing or damaged or does not fit the backbone.
        """
        with self._joining:
            under_way = self._under_way.get(address.key)
            if under_way is None:
                ours = self._under_way[address.key] = Future()
        if under_way is not None:
            return under_way.result()
        try:
            snapshot = self._try(address)
        except BaseException as error:
            ours.set_exception(error)
            raise
        finally:
            with self._joining:
                del self._under_way[address.key]
        ours.set_result(snapshot)
        return snapshot

    def _try(self, address: VersionAddress) -> Snapshot:
        key = address.key
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
        # Two versions of a learner share the tensors of the tasks that both know.
        strategy = artifact.load(manifest, self._blobs.get, backbone, there=self._files)
        # Now, not at the first prediction: a version takes over only once it answers at full speed.
        strategy.prepare()
        snapshot = Snapshot(
            address.learner_id,
            address.learner,
            address.version,
            strategy,
            backbone,
            address.manifest_sha256,
            address.form,
        )
        snapshot.features_of  # noqa: B018 (the same: it stays known)
        return snapshot

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
                if self._as_graph:
                    backbone.graph = _graph_of(backbone)
                self._backbones[name] = backbone
            return backbone


def _graph_of(backbone: Backbone) -> OnnxPass | None:
    """Return what runs its passes sooner; None where PyTorch has to."""
    try:
        return OnnxPass(backbone)
    except BackboneError as error:
        log.warning("backbone_without_graph", backbone=backbone.name, reason=str(error))
        return None
