"""What a learn process keeps loaded, so that its next attempt finds it: backbones, and what a learner knows so far."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import structlog
import torch

from models import artifact
from models.artifact import PackedFile
from models.backbone import Backbone, choose_device, load_backbone
from models.strategies.base import Strategy
from registry.blobs.store import BlobStore
from worker.known_images import KnownImages
from worker.settings import WorkerSettings

log = structlog.get_logger()

MOST_BACKBONES = 2
MOST_LEARNER_BYTES = 256 << 20
"""Of the files of a learner that is kept. Chosen, untested."""

_Stamp = tuple[tuple[str, int, int], ...]


class Warm:
    """Loads backbones and learners, and keeps the last ones. What it lends is only asked, never changed."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Load nothing yet."""
        self._settings = settings
        self._backbones: OrderedDict[tuple[str, _Stamp], Backbone] = OrderedDict()
        self._learner: tuple[str, Strategy[Any]] | None = None
        self._packed: dict[str, PackedFile] = {}
        self._known_images: KnownImages | None = None

    def backbone(self, name: str) -> Backbone:
        """Return a backbone on the device of the settings.

        Raises:
            BackboneError: If there is none of that name, or its weights cannot be loaded.
        """
        settings = self._settings
        if settings.torch_threads is not None:
            torch.set_num_threads(settings.torch_threads)
        key = (name, _stamp(settings.backbone_weights))
        backbone = self._backbones.get(key)
        if backbone is None:
            device = choose_device(settings.device)
            backbone = load_backbone(name, weights=settings.backbone_weights).to(device)
            self._backbones[key] = backbone
        self._backbones.move_to_end(key)
        while len(self._backbones) > MOST_BACKBONES:
            self._backbones.popitem(last=False)
        return backbone

    def learner(self, manifest_sha256: str, blobs: BlobStore, backbone: Backbone) -> Strategy[Any]:
        """Return what a version knows, as it is loaded from its artifact; the last one is kept if it is not too large.

        Raises:
            CheckpointError: If a file of it is damaged, or the backbone is another.
            BlobError: If a file of it is missing.
        """
        if self._learner is not None:
            address, kept = self._learner
            if address == manifest_sha256 and kept.backbone is backbone:
                return kept
        self._learner, self._packed = None, {}
        manifest = blobs.get(manifest_sha256)
        learner = artifact.load(manifest, blobs.get, backbone)
        self.keep(manifest_sha256, learner, _size(manifest))
        return learner

    def packed(self, manifest_sha256: str | None) -> dict[str, PackedFile]:
        """Return the files of a version that are known as they were packed, by name; nothing of another version."""
        is_kept = self._learner is not None and self._learner[0] == manifest_sha256
        return self._packed if is_kept else {}

    def keep(
        self,
        manifest_sha256: str,
        learner: Strategy[Any],
        n_bytes: int,
        packed: dict[str, PackedFile] | None = None,
    ) -> None:
        """Keep a learner if it is not too large: one that an attempt has published need not be loaded for the next one.

        Args:
            manifest_sha256: Of its artifact.
            learner: Is never changed any more.
            n_bytes: Of the files of its artifact.
            packed: What of them need not be packed again for the next version.
        """
        is_kept = n_bytes <= MOST_LEARNER_BYTES
        self._learner = (manifest_sha256, learner) if is_kept else None
        self._packed = packed or {} if is_kept else {}

    def known_images(self, learner_id: str, backbone: Backbone) -> KnownImages:
        """Return where it is kept what stored images of a learner look like; of one learner at a time."""
        kept = self._known_images
        if kept is None or kept.learner_id != learner_id or kept.backbone is not backbone:
            kept = self._known_images = KnownImages(learner_id, backbone)
        return kept

    def forget_images(self) -> None:
        """Let go of what stored images look like."""
        self._known_images = None

    def forget_learner(self) -> None:
        """Let go of the learner, and of what its images look like."""
        self._learner, self._packed = None, {}
        self.forget_images()


def _size(manifest: bytes) -> int:
    files = json.loads(manifest)["files"].values()
    return sum(int(entry.get("size", 0)) for entry in files)


def _stamp(weights: Path | None) -> _Stamp:
    """Return what changes when an operator puts other weights there."""
    if weights is None:
        return ()
    folder = weights if weights.is_dir() else weights.parent
    stats = [(file.name, file.stat()) for file in sorted(folder.glob("*.safetensors"))]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
