"""Reading a bundle that somebody sends, as if its sender were hostile. Nothing of it is unpickled or executed.

Three sieves, cheap ones first: the tar and its sums; what its JSON says, which decides whether this installation could
use it at all; and last its tensors, which are loaded and tried.
"""

from dataclasses import dataclass
from typing import IO, Any, cast

from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from models import admission, artifact
from models.backbone import is_known_backbone
from models.errors import BackboneError, CheckpointError
from models.strategies.catalog import find_strategy
from models.strategies.spelling import may_be_of, spelled_like, strategy_name
from registry.bundles import LearnedTask, NewLearner
from registry.tables import CONSOLIDATED_STAGE, LEARNED_STAGE
from registry.upkeep.sealed_tar import SealedTarReader
from registry.versions import NewAccuracy
from service.dependencies import AppContext
from service.intake.bundle_text import require_readable, require_told_apart
from service.intake.spool import Spool
from service.problems import Problem
from service.schemas.bundles import BundledVersion, BundleHead, KeptMetrics
from service.settings import ServiceSettings
from service.strict_json import media_type, parse_json
from service.use_cases.bundle_files import (
    FORM,
    FORMAT_VERSION,
    HEAD,
    MANIFEST,
    MAX_JSON_BYTES,
    MEDIA_TYPE,
)
from service.use_cases.configs import complete_config

_SNIFFED = 512
_FOREIGN = (b"PK", b"\x80", b"\x1f\x8b", b"\x89HDF", b"\x78", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")
"""How zips (and so PyTorch files), pickles, gzip, HDF5, zlib (joblib), bzip2, xz and 7z start."""
_PACKED = ("application/octet-stream", "application/zip", "application/gzip")


@dataclass(frozen=True)
class ReadBundle:
    """A bundle whose tar is sound. Its tensors still lie in the spool."""

    spool: Spool
    head: bytes
    manifest: bytes
    files: dict[str, tuple[int, int]]
    """Offset and size in the spool of each tensor file, by its sha256."""

    def read(self, sha256: str) -> bytes:
        """Return the bytes of a tensor file."""
        return self.spool.read(*self.files[sha256])


async def receive(request: Request, spool: Spool) -> None:
    """Take the body into the spool; a file of another format is refused by its first bytes.

    Raises:
        Problem: `artifact-format-unsupported`, `unsupported-media-type`, or `body-too-large`.
    """
    kind = media_type(request)
    if kind != MEDIA_TYPE:
        is_foreign = kind in _PACKED or kind.startswith(("application/x-", "application/vnd."))
        raise _unsupported() if is_foreign else Problem("unsupported-media-type")
    pending = bytearray()
    async for chunk in request.stream():
        pending += chunk
        if len(pending) >= 1 << 20:
            await run_in_threadpool(_append, spool, bytes(pending))
            pending.clear()
    await run_in_threadpool(_append, spool, bytes(pending))


def _append(spool: Spool, data: bytes) -> None:
    if spool.size == 0:
        require_no_foreign(data)
    spool.append(data)


def require_no_foreign(data: bytes) -> None:
    """Refuse a file of another format by its first bytes.

    Raises:
        Problem: `artifact-format-unsupported`.
    """
    if _is_foreign(data[:_SNIFFED]):
        raise _unsupported()


def _is_foreign(start: bytes) -> bool:
    is_bare_safetensors = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32
    return start.startswith(_FOREIGN) or is_bare_safetensors


def _unsupported() -> Problem:
    detail = (
        "Send a bundle that another installation has exported, a tar, as application/x-tar. Pickles, PyTorch files, "
        "zips and bare tensor files are never read."
    )
    return Problem("artifact-format-unsupported", detail)


def open_bundle(spool: Spool) -> ReadBundle:
    """Check the tar: only members that we write, once each, in their place, with their sums.

    Raises:
        BundleRejectedError: If there is anything else.
    """
    file = cast("IO[bytes]", spool.file)
    reader = SealedTarReader(file, FORM)
    described: dict[str, bytes] = {}
    files: dict[str, tuple[int, int]] = {}
    for member in reader.members():
        if member.name in (HEAD, MANIFEST):
            if member.size > MAX_JSON_BYTES:
                raise FORM.damaged(f"{member.name} in the bundle is too large.")
            described[member.name] = member.read()
        else:
            named = FORM.member.fullmatch(member.name)
            if named is not None:
                files[named["sha256"]] = (file.tell(), member.size)
    reader.check()
    if MANIFEST not in described:
        raise FORM.damaged(f"The bundle holds no {MANIFEST}.")
    return ReadBundle(spool, described[HEAD], described[MANIFEST], files)


@dataclass(frozen=True)
class CheckedBundle:
    """A bundle whose JSON this installation could work with. Its tensors are not looked at yet."""

    bundle: ReadBundle
    head: BundleHead
    described: dict[str, Any]
    """The manifest."""
    metrics: KeptMetrics

    def learner(self, manifest_sha256: str) -> NewLearner:
        """Return what becomes a row; the blobs lie in the store."""
        version, size = self.head.version, sum(size for _, size in self.bundle.files.values())
        name = self.head.learner.strategy
        config = _kept_config(name, self.head.learner.config)
        learned_with = self.described["strategy"], self.described["config"]
        strategy, own = strategy_name(*learned_with), _kept_config(*learned_with)
        return NewLearner(
            strategy=name,
            backbone=self.head.learner.backbone,
            config=config,
            halved_to=self.head.learner.halved_to,
            version_config=spelled_like(name, config, strategy, own),
            seed=version.seed,
            backbone_fingerprint=self.head.learner.fingerprint,
            manifest_sha256=manifest_sha256,
            size_bytes=len(self.bundle.manifest) + size,
            stage=version.stage or _stage(strategy),
            unconsolidated=version.unconsolidated,
            classes=list(version.classes),
            tasks=[LearnedTask(task.index, task.name, task.classes) for task in version.tasks],
            metrics=self._metrics(),
            code_versions=dict(version.code_versions),
            accuracies=[
                NewAccuracy(task_index=cell.task, **cell.model_dump(exclude={"version", "task"}))
                for cell in version.accuracy
                if cell.version == version.number
            ],
        )

    def _metrics(self) -> dict[str, Any]:
        """Return the version's metrics, and where it comes from: its older accuracies belong to versions not here."""
        origin = {
            "learner": self.head.learner.name,
            "version": self.head.version.number,
            "filopodia": self.head.filopodia,
            "accuracy": [cell.model_dump() for cell in self.head.version.accuracy],
        }
        kept = self.metrics.model_dump(exclude_none=True)
        return {**kept, "imported": origin}


def _stage(strategy: str) -> str:
    """Return the stage of a version that says nothing of it: none of its tasks waits for a consolidation."""
    return CONSOLIDATED_STAGE if find_strategy(strategy).consolidates else LEARNED_STAGE


def _kept_config(strategy: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a whole configuration of what was learned with it: of any size, since it has been borne once."""
    return complete_config(strategy, config, asked=())


def check(bundle: ReadBundle, settings: ServiceSettings) -> CheckedBundle:
    """Check what the JSON of a bundle says, and that this installation has what it needs.

    Raises:
        Problem: `artifact-invalid`, `artifact-format-unsupported`, `unknown-strategy`, `invalid-config`, or
            `unknown-backbone`.
    """
    head_json, described = _json(bundle.head, HEAD), _json(bundle.manifest, MANIFEST)
    _check_format(head_json, FORMAT_VERSION)
    _check_format(described, artifact.FORMAT_VERSION)
    require_readable(head_json, HEAD)
    require_readable(described, MANIFEST)
    try:
        head = BundleHead.model_validate(head_json)
        metrics = KeptMetrics.model_validate(head.version.metrics)
        admission.check_manifest(described)
    except ValidationError as error:
        raise _invalid(f"{HEAD} in the bundle is not one of ours.") from error
    except CheckpointError as error:
        raise _invalid(str(error)) from error
    _check_agreement(head, described)
    _check_numbers(head.version)
    require_told_apart(head.version.classes)
    if {name["sha256"]: name["size"] for name in described["files"].values()} != {
        sha256: size for sha256, (_, size) in bundle.files.items()
    }:
        raise _invalid("The bundle does not hold the files that its manifest names.")
    _kept_config(head.learner.strategy, head.learner.config)
    _kept_config(described["strategy"], described["config"])
    if not is_known_backbone(head.learner.backbone, weights=settings.backbone_weights):
        detail = (
            "The bundle was learned on a backbone that this installation does not have: put its weights file where "
            "FILOPODIA_BACKBONE_WEIGHTS points, and import it again."
        )
        raise Problem("unknown-backbone", detail)
    return CheckedBundle(bundle, head, described, metrics)


def load_once(checked: CheckedBundle, context: AppContext) -> None:
    """Load what the bundle holds once, as it would be served. Blocks while another one loads.

    Raises:
        Problem: `unknown-backbone`, `backbone-differs` or `artifact-invalid`.
    """
    try:
        backbone = context.loader.backbone(checked.head.learner.backbone)
        if backbone.fingerprint != checked.head.learner.fingerprint:
            detail = (
                "The bundle was learned on other weights of this backbone: put the file with those weights where "
                "FILOPODIA_BACKBONE_WEIGHTS points, restart the service, and import it again."
            )
            raise Problem("backbone-differs", detail)
        context.loader.admit(checked.bundle.manifest, checked.bundle.read, backbone.name)
    except BackboneError as error:
        detail = (
            "The weights of the bundle's backbone could not be loaded: put their file where "
            "FILOPODIA_BACKBONE_WEIGHTS points, and import it again."
        )
        raise Problem("unknown-backbone", detail) from error
    except CheckpointError as error:
        raise _invalid(str(error)) from error


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = parse_json(data)
    except Problem as problem:
        raise _invalid(f"{name} in the bundle is not JSON that can be kept.") from problem
    if not isinstance(value, dict):
        raise _invalid(f"{name} in the bundle is not an object.")
    return value


def _check_format(described: dict[str, Any], known: int) -> None:
    version = described.get("format_version")
    if type(version) is not int or version < 1:
        raise _invalid("The bundle does not say which format it has.")
    if version != known:
        detail = (
            "The bundle has a format of a later release: update this installation, then import it."
        )
        raise Problem("artifact-format-unsupported", detail)


def _check_agreement(head: BundleHead, described: dict[str, Any]) -> None:
    """Check that `bundle.json` and the manifest tell the same."""
    learner, version = head.learner, head.version
    stated = (
        learner.backbone,
        learner.fingerprint,
        version.classes,
        [task.index for task in version.tasks],
        version.seed,
    )
    backbone = described["backbone"]
    meant = (
        backbone["name"],
        backbone["fingerprint"],
        described["classes"],
        described["task_indexes"],
        described["seed"],
    )
    brought = {task.index: set(task.classes) for task in version.tasks}
    first = zip(described["classes"], described["class_tasks"], strict=True)
    known = set(version.classes)
    if (
        stated != meant
        or not may_be_of(learner.strategy, described["strategy"])
        or not all(classes <= known for classes in brought.values())
        or not all(label in brought[index] for label, index in first)
    ):
        raise _invalid(f"{HEAD} and {MANIFEST} of the bundle contradict each other.")


def _check_numbers(version: BundledVersion) -> None:
    indexes = {task.index for task in version.tasks}
    cells = {(cell.version, cell.task) for cell in version.accuracy}
    are_right = all(
        cell.task in indexes
        and cell.version <= version.number
        and cell.n_correct <= cell.n
        and cell.n_routed_right <= cell.n_routed <= cell.n
        and cell.n_cross_validated_correct <= cell.n_cross_validated
        for cell in version.accuracy
    )
    if not are_right or len(cells) < len(version.accuracy):
        raise _invalid("The accuracies in the bundle contradict themselves.")
    if not set(version.unconsolidated) <= indexes:
        raise _invalid("The bundle says that tasks wait to be consolidated which it does not hold.")


def _invalid(detail: str) -> Problem:
    return Problem("artifact-invalid", detail)
