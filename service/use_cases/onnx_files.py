"""A version as one ONNX file, for software that has neither this service nor PyTorch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from anyio import to_thread

from models.errors import ExportError
from models.onnx_file import write_file
from registry.classes import Shown
from service.dependencies import AppContext
from service.inference.answers import require_shown
from service.inference.snapshots import Snapshot
from service.intake.forms import (
    REDUCING_GAP,
    RESAMPLED_DRAFT_SIDE,
    RESAMPLED_SIDE,
    ImageForm,
)
from service.problems import Problem

MEDIA_TYPE = "application/octet-stream"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class OnnxFile:
    """A file that has no name any more, and is gone once it is closed."""

    file: IO[bytes]
    size_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, once, and close it."""
        with self.file:
            while chunk := self.file.read(_CHUNK):
                yield chunk


async def make_onnx_file(context: AppContext, snapshot: Snapshot) -> OnnxFile:
    """Write a version as an ONNX file that answers as the service does now, but for silent sub-networks.

    Takes a few seconds of one core; one is written at a time.

    Raises:
        Problem: `cannot-export`, or `all-classes-hidden`.
    """
    shown = context.store.shown(snapshot.learner_id)
    require_shown(snapshot, shown.hidden)
    return await to_thread.run_sync(partial(_write, snapshot, shown), limiter=context.exporting)


def _write(snapshot: Snapshot, shown: Shown) -> OnnxFile:
    with TemporaryDirectory(prefix="filopodia-onnx-") as folder:
        path = Path(folder) / "version.onnx"
        try:
            write_file(snapshot.strategy, path, hidden=shown.hidden, facts=_facts(snapshot, shown))
        except ExportError as error:
            raise Problem("cannot-export", str(error)) from error
        return OnnxFile(path.open("rb"), path.stat().st_size)


def _facts(snapshot: Snapshot, shown: Shown) -> dict[str, Any]:
    """Return what the file tells about itself; docs/onnx.md explains it."""
    strategy, backbone = snapshot.strategy, snapshot.backbone
    made_for = backbone.preprocessing
    return {
        "labels": [shown.name(label) for label in strategy.classes_ if label not in shown.hidden],
        "novelty_threshold": strategy.novelty_threshold,
        "min_scores": {
            shown.name(label): least
            for label, least in shown.min_scores.items()
            if label in strategy.classes_ and label not in shown.hidden
        },
        "preprocessing": {
            **_form(snapshot.form),
            "resize_side": made_for.resize_side,
            "interpolation": made_for.interpolation,
            "crop_side": made_for.image_size,
        },
        "learner": snapshot.learner,
        "version": snapshot.version,
        "strategy": strategy.name,
        "backbone": {"name": backbone.name, "fingerprint": backbone.fingerprint},
        "filopodia": installed_version("filopodia"),
    }


def _form(form: ImageForm) -> dict[str, Any]:
    """Return how large an image becomes before it is brought to the backbone's size."""
    if form.halved_to is not None:
        return {"halve_side": form.halved_to}
    return {
        "draft_side": RESAMPLED_DRAFT_SIDE,
        "shrink_side": RESAMPLED_SIDE,
        "shrink_gap": REDUCING_GAP,
    }
