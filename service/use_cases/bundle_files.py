"""The file of a bundle: one version of a learner, whole, as a sealed tar that another installation can import.

`bundle.json` says what the rows know of it, `manifest.json` is the artifact's own, `files/` holds its tensors by their
sha256, and `sums.json` the sum of each. It is made while it is sent: nothing is copied first.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed_version

from registry.blobs.store import BlobStore
from registry.bundles import Provenance
from registry.errors import BundleRejectedError
from registry.references import ArtifactFiles
from registry.tables import LearnerRow, VersionRow
from registry.upkeep.sealed_tar import END, SUMS, TarForm, header, padding
from registry.versions import NewAccuracy, address_of
from service.problems import Problem
from service.schemas.bundles import (
    BundledAccuracy,
    BundledLearner,
    BundledTask,
    BundledVersion,
    BundleHead,
)

FORMAT_VERSION = 1
MEDIA_TYPE = "application/x-tar"
HEAD, MANIFEST = "bundle.json", "manifest.json"
MAX_JSON_BYTES = 16 << 20
"""Of each JSON member; a version of 100 tasks with 100,000 held-out images has about 1 MB."""
FORM = TarForm(
    noun="bundle",
    head=HEAD,
    member=re.compile(
        r"bundle\.json|manifest\.json|sums\.json|files/(?P<sha256>[0-9a-f]{64})\.safetensors"
    ),
    max_json_bytes=MAX_JSON_BYTES,
    damaged=BundleRejectedError,
    max_members=10_010,
    quotes_names=False,
)


def member_of(sha256: str) -> str:
    """Return the name of a tensor file in a bundle."""
    return f"files/{sha256}.safetensors"


@dataclass(frozen=True)
class Bundle:
    """A bundle about to be sent."""

    head: bytes
    manifest: bytes
    files: dict[str, int]
    """Size in bytes of each tensor file, by its sha256."""
    sums: bytes

    @property
    def size_bytes(self) -> int:
        """Length of the whole file."""
        sizes = [len(self.head), len(self.manifest), *self.files.values(), len(self.sums)]
        return sum(512 + size + -size % 512 for size in sizes) + len(END)

    @property
    def etag(self) -> str:
        """Stands for every byte of it: a hash of all sums."""
        return f'"{hashlib.sha256(self.sums).hexdigest()}"'

    def chunks(self, blobs: BlobStore) -> Iterator[bytes]:
        """Make the file, one member in memory at a time.

        Raises:
            BlobError: If a blob is missing or damaged: the file is cut off there.
        """
        yield from _member(HEAD, self.head)
        yield from _member(MANIFEST, self.manifest)
        for sha256 in self.files:
            yield from _member(member_of(sha256), blobs.get(sha256))
        yield from _member(SUMS, self.sums)
        yield END


def compose(
    learner: LearnerRow, version: VersionRow, provenance: Provenance, blobs: BlobStore
) -> Bundle:
    """Put together what the bundle of a version holds.

    Raises:
        VersionErasedError: If it was erased.
        Problem: `version-damaged`, if stored files of it are missing.
    """
    manifest = blobs.get(address_of(version))
    files = dict(sorted(ArtifactFiles(blobs).of(address_of(version)).items()))
    if blobs.missing(files):
        raise Problem("version-damaged")
    told = _head(learner, version, provenance)
    # An earlier release takes it in unless it says what that does not know: what is as ever is left unsaid.
    head = told.model_dump_json(indent=1, exclude_defaults=True).encode()
    sums = {HEAD: _sha256(head), MANIFEST: _sha256(manifest)}
    sums |= {member_of(sha256): sha256 for sha256 in files}
    return Bundle(head, manifest, files, json.dumps({"members": sums}, indent=0).encode())


def _head(learner: LearnerRow, version: VersionRow, provenance: Provenance) -> BundleHead:
    # Checked when it comes in: what stands in our own rows goes out as it is.
    return BundleHead.model_construct(
        format_version=FORMAT_VERSION,
        filopodia=installed_version("filopodia"),
        learner=BundledLearner.model_construct(
            name=learner.name,
            strategy=learner.strategy,
            backbone=learner.backbone,
            fingerprint=version.backbone_fingerprint,
            config=learner.config,
            halved_to=learner.halved_to,
        ),
        version=BundledVersion.model_construct(
            number=version.number,
            classes=version.classes,
            tasks=[BundledTask.model_construct(**asdict(task)) for task in provenance.tasks],
            stage=version.stage if version.unconsolidated or version.task_index < 0 else None,
            unconsolidated=version.unconsolidated,
            seed=version.seed,
            metrics=version.metrics,
            code_versions=version.code_versions,
            accuracy=[_cell(number, cell) for number, cell in provenance.accuracies],
        ),
    )


def _cell(number: int, cell: NewAccuracy) -> BundledAccuracy:
    values = asdict(cell)
    return BundledAccuracy.model_construct(version=number, task=values.pop("task_index"), **values)


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield header(name, len(data))
    yield data
    yield padding(len(data))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
