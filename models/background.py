"""Statistics of general images under one backbone: where features usually lie, for learners that have seen few.

On disk it is one safetensors file, `<name of the backbone>[.anything].background.safetensors`: the mean, and of each
covariance the standard deviations and the Cholesky factor of the correlations. A factor in float16 keeps the relative
size of every direction and is positive definite whatever rounding does; rounded correlations would not be.

Shapes: N images of K classes, D the backbone's feature width, W = 2 D: the pooling `token_and_patches`, whose first D
numbers are the pooling `backbone`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from models.errors import BackboneError, ShapeError, TaskDataError

SUFFIX = ".background.safetensors"
FORMAT_VERSION = 1
FLOOR = 1e-3
"""Least eigenvalue of the correlations, whose mean is 1. After a layer norm one direction of each half has none at all;
the others of the bundled backbone begin at 0.017."""
IMAGES_A_DIMENSION = 2
"""Fewest, besides one of each class: of fewer the smallest eigenvalues say little."""
_METADATA = "background"
_MOST_HEADER = 100_000  # bytes that are read to tell what a file was made of
_LEAST_STD = 1e-6  # of the largest: a dimension that never changes still has to be divided by


@dataclass(frozen=True)
class Background:
    """Mean and covariances of general images; nothing of a single image or class. Always on the CPU."""

    fingerprint: str
    """Of the backbone."""
    n_images: int
    n_classes: int
    mean: Tensor
    """Float64 `(W,)`."""
    covariance: Tensor
    """Around the mean of all images, float64 `(W, W)`, positive definite."""
    within: Tensor
    """Around the mean of each image's own class, pooled over the classes, float64 `(W, W)`, positive definite."""
    digest: str
    """Sha256 of the file in hexadecimal digits, which tells two backgrounds apart."""

    @classmethod
    def of(cls, features: Tensor, targets: Tensor, *, fingerprint: str) -> "Background":
        """Measure features; see `measure`. The result is what is read back from the file."""
        return cls.from_bytes(measure(features, targets, fingerprint=fingerprint))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Background":
        """Read a file.

        Raises:
            BackboneError: If it is damaged, or of a format that this release does not know.
        """
        try:
            described = _described(data)
            tensors = safetensors.torch.load(data)
            mean = tensors["mean"].double()
            loaded = cls(
                fingerprint=str(described["fingerprint"]),
                n_images=int(described["n_images"]),
                n_classes=int(described["n_classes"]),
                mean=mean,
                covariance=_unfold(tensors, "covariance", len(mean)),
                within=_unfold(tensors, "within", len(mean)),
                digest=hashlib.sha256(data).hexdigest(),
            )
            if not all(t.isfinite().all() for t in (mean, loaded.covariance, loaded.within)):
                raise ValueError("not finite")
        except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
            raise BackboneError("The background is damaged, or of another release.") from error
        return loaded

    def for_width(self, width: int) -> "Background":
        """Return the part for features of D or of W numbers.

        Raises:
            ShapeError: If the width is neither.
        """
        if width == len(self.mean):
            return self
        if 2 * width != len(self.mean):
            raise ShapeError(f"The background has {len(self.mean)} numbers, not {width}.")
        return replace(
            self,
            mean=self.mean[:width],
            covariance=self.covariance[:width, :width],
            within=self.within[:width, :width],
        )


@dataclass(frozen=True)
class BackgroundInfo:
    """What a background was made of."""

    n_images: int
    n_classes: int


def measure(features: Tensor, targets: Tensor, *, fingerprint: str) -> bytes:
    """Return the file of a background. The same features give the same bytes.

    Args:
        features: Of pooling `token_and_patches`, `(N, W)`.
        targets: Classes, int64 `(N,)`; any numbers.
        fingerprint: The backbone's.

    Raises:
        TaskDataError: If there are too few images for so many dimensions.
    """
    _, rows, counts = targets.cpu().unique(return_inverse=True, return_counts=True)
    n, k, width = len(features), len(counts), features.shape[1]
    least = fewest_images(width, k)
    if n < least:
        raise TaskDataError(
            f"{n:,} images of {k:,} classes are too few for features of {width:,} numbers: "
            f"at least {least:,} are needed."
        )
    values = features.cpu().double()
    mean = values.mean(dim=0)
    sums = torch.zeros(k, width, dtype=torch.float64).index_add_(0, rows, values)
    total, within = values - mean, values - (sums / counts[:, None])[rows]
    tensors = {
        "mean": mean.float(),
        **_fold("covariance", total.T @ total / (n - 1)),
        **_fold("within", within.T @ within / (n - k)),
    }
    described = {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "n_images": n,
        "n_classes": k,
    }
    data: bytes = safetensors.torch.save(
        tensors, {_METADATA: json.dumps(described, sort_keys=True)}
    )
    return data


def fewest_images(width: int, n_classes: int) -> int:
    """Return how many images of so many classes are needed for features of `width` numbers."""
    return IMAGES_A_DIMENSION * width + n_classes


def background_files(name: str, folders: Iterable[Path]) -> list[Path]:
    """Return the files named after a backbone in the first of these folders that has any."""
    for folder in folders:
        files = sorted(file for file in folder.glob(f"*{SUFFIX}") if file.is_file())
        own = [f for f in files if f"{f.name.removesuffix(SUFFIX)}.".startswith(f"{name}.")]
        if own:
            return own
    return []


def read_info(file: Path) -> BackgroundInfo | None:
    """Say what a file was made of, by its header alone; None if it cannot be read."""
    try:
        with file.open("rb") as stream:
            described = _described(stream.read(_MOST_HEADER))
        return BackgroundInfo(int(described["n_images"]), int(described["n_classes"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def choose_background(name: str, fingerprint: str, folders: Iterable[Path]) -> Background | None:
    """Return the background of a backbone, if there is one.

    Args:
        name: The backbone's.
        fingerprint: Of its weights and preprocessing.
        folders: Where to look; the first one with a file of that name decides.

    Raises:
        BackboneError: If a file is damaged, or all are of other weights or of another image size. They are not passed
            over: whoever put them there would get other answers than they believe, and nothing would say so.
    """
    files = background_files(name, folders)
    for file in files:
        background = _read(file)
        if background.fingerprint == fingerprint:
            return background
    if files:
        raise BackboneError(
            f"The background {files[0].name} was made with other weights or for another image size than backbone "
            f"{name} has here: make it again with `filopodia background {name}`, or remove it."
        )
    return None


def _read(file: Path) -> Background:
    try:
        return Background.from_bytes(file.read_bytes())
    except (OSError, BackboneError) as error:
        raise BackboneError(
            f"The background {file.name} cannot be read: make it again, or remove it."
        ) from error


def _described(data: bytes) -> dict[str, Any]:
    """Return what a file says of itself, for which its beginning suffices."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    described: dict[str, Any] = json.loads(header["__metadata__"][_METADATA])
    if described["format_version"] != FORMAT_VERSION:
        raise ValueError("another format")
    return described


def _fold(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """Turn a covariance `(W, W)` into standard deviations `(W,)` and the triangle of a factor `(W (W + 1) / 2,)`."""
    std = matrix.diagonal().sqrt()
    std = std.clamp(min=_LEAST_STD * float(std.max()))
    values, vectors = torch.linalg.eigh(matrix / (std[:, None] * std))
    factor = torch.linalg.cholesky((vectors * values.clamp(min=FLOOR)) @ vectors.T)
    rows, columns = torch.tril_indices(*matrix.shape)
    return {f"{name}.std": std.float(), f"{name}.factor": factor[rows, columns].half()}


def _unfold(tensors: Mapping[str, Tensor], name: str, width: int) -> Tensor:
    """Return a covariance `(W, W)` again. Its diagonal is as exact as the standard deviations are."""
    factor = torch.zeros(width, width, dtype=torch.float64)
    rows, columns = torch.tril_indices(width, width)
    factor[rows, columns] = tensors[f"{name}.factor"].double()
    std = tensors[f"{name}.std"].double()
    if not ((factor.diagonal() > 0).all() and (std > 0).all()):
        raise ValueError("not positive definite")
    scaled = (std / factor.norm(dim=1))[:, None] * factor
    covariance: Tensor = scaled @ scaled.T
    return covariance
