"""Statistics of general images under one backbone: where features usually lie, for learners that have seen few.

The features of drawn pictures of nothing (`models.nothing`) lie beside them, so that no learner has to make them.

On disk it is one safetensors file, which `models.background_files` finds: the mean, and of each covariance the standard
deviations and the Cholesky factor of the correlations. A factor in float16 keeps the relative size of every direction
and is positive definite whatever rounding does; rounded correlations would not be.

Shapes: N images of K classes, P pictures of nothing, D the backbone's feature width, W = 2 D: the pooling
`token_and_patches`, whose first D numbers are the pooling `backbone`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from models.errors import BackboneError, ShapeError, TaskDataError

FORMAT_VERSION = 1
FLOOR = 1e-3
"""Least eigenvalue of the correlations, whose mean is 1. After a layer norm one direction of each half has none at all;
the others of the bundled backbone begin at 0.017."""
IMAGES_A_DIMENSION = 2
"""Fewest, besides one of each class: of fewer the smallest eigenvalues say little."""
WITHIN_SHARE = 0.75
"""What is within a class of all spread, where classes are not known: 0.72 to 0.81 on Tiny ImageNet."""
_METADATA = "background"
_NOTHING = "nothing"
_LEAST_STD = 1e-6  # of the largest: a dimension that never changes still has to be divided by


@dataclass(frozen=True)
class Background:
    """Mean and covariances of general images, nothing of a single one or of a class. Always on the CPU."""

    fingerprint: str
    """Of the backbone."""
    n_images: int
    n_classes: int
    """0 if they were not known: then `within` is no more than a share of `covariance`."""
    mean: Tensor
    """Float64 `(W,)`."""
    covariance: Tensor
    """Around the mean of all images, float64 `(W, W)`, positive definite."""
    within: Tensor
    """Around the mean of each image's own class, pooled over the classes, float64 `(W, W)`, positive definite."""
    nothing: Tensor | None
    """Features of the drawn pictures of nothing, float16 `(P, W)`; None of a file of before they were added."""
    digest: str
    """Sha256 of the file in hexadecimal digits, which tells two backgrounds apart."""

    @classmethod
    def of(cls, features: Tensor, targets: Tensor | None, *, fingerprint: str) -> "Background":
        """Measure features; see `measure`. The result is what is read back from the file."""
        return cls.from_bytes(measure(features, targets, fingerprint=fingerprint))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Background":
        """Read a file.

        Raises:
            BackboneError: If it is damaged, or of a format that this release does not know.
        """
        try:
            described = describe(data)
            tensors = safetensors.torch.load(data)
            mean = tensors["mean"].double()
            loaded = cls(
                fingerprint=str(described["fingerprint"]),
                n_images=int(described["n_images"]),
                n_classes=int(described["n_classes"]),
                mean=mean,
                covariance=_unfold(tensors, "covariance", len(mean)),
                within=_unfold(tensors, "within", len(mean)),
                nothing=_read_nothing(tensors, len(mean)),
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
            nothing=None if self.nothing is None else self.nothing[:, :width],
        )


def measure(features: Tensor, targets: Tensor | None, *, fingerprint: str) -> bytes:
    """Return the file of a background, without pictures of nothing. The same features give the same bytes.

    Args:
        features: Of pooling `token_and_patches`, `(N, W)`.
        targets: Classes, int64 `(N,)`, any numbers; None if they are not known.
        fingerprint: The backbone's.

    Raises:
        TaskDataError: If there are too few images for so many dimensions.
    """
    values = features.cpu().double()
    n, width = values.shape
    k = 0 if targets is None else len(targets.unique())
    least = fewest_images(width, k)
    if n < least:
        of_classes = f" of {k:,} classes" if k else ""
        raise TaskDataError(
            f"{n:,} images{of_classes} are too few for features of {width:,} numbers: "
            f"at least {least:,} are needed."
        )
    mean = values.mean(dim=0)
    total = _scatter(values - mean) / (n - 1)
    within = WITHIN_SHARE * total if targets is None else _within(values, targets)
    tensors = {"mean": mean.float(), **_fold("covariance", total), **_fold("within", within)}
    described = {
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint,
        "n_images": n,
        "n_classes": k,
    }
    return _file(tensors, described)


def add_nothing(data: bytes, features: Tensor) -> bytes:
    """Return the file of a background with the pictures of nothing beside it; all else in it stays as it is.

    Args:
        data: The file, with or without them.
        features: Of the pictures, of pooling `token_and_patches`, `(P, W)`.

    Raises:
        BackboneError: If the file is damaged, or of a format that this release does not know.
        ShapeError: If the features have another width than those that it was made of.
    """
    background = Background.from_bytes(data)
    if features.shape[1] != len(background.mean):
        raise ShapeError(
            f"The background has {len(background.mean)} numbers, not {features.shape[1]}."
        )
    tensors = safetensors.torch.load(data) | {_NOTHING: features.half().cpu().contiguous()}
    return _file(tensors, describe(data))


def fewest_images(width: int, n_classes: int) -> int:
    """Return how many images of so many classes are needed for features of `width` numbers."""
    return IMAGES_A_DIMENSION * width + max(n_classes, 1)


def describe(data: bytes) -> dict[str, Any]:
    """Return what a file says of itself, for which its beginning suffices.

    Raises:
        ValueError: If it is no background, or one of another format; or LookupError or TypeError.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    described: dict[str, Any] = json.loads(header["__metadata__"][_METADATA])
    if described["format_version"] != FORMAT_VERSION:
        raise ValueError("another format")
    return described


def _file(tensors: dict[str, Tensor], described: Mapping[str, Any]) -> bytes:
    data: bytes = safetensors.torch.save(
        tensors, {_METADATA: json.dumps(described, sort_keys=True)}
    )
    return data


def _read_nothing(tensors: Mapping[str, Tensor], width: int) -> Tensor | None:
    nothing = tensors.get(_NOTHING)
    if nothing is None:
        return None
    if nothing.dtype != torch.float16 or nothing.ndim != 2 or nothing.shape[1] != width:
        raise ValueError("pictures of nothing of another shape")
    if len(nothing) == 0 or not nothing.isfinite().all():
        raise ValueError("no pictures of nothing")
    return nothing


def _within(values: Tensor, targets: Tensor) -> Tensor:
    """Return the covariance `(W, W)` of rows `(N, W)` around the means of their classes."""
    _, rows, counts = targets.cpu().unique(return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), values.shape[1], dtype=values.dtype)
    means = sums.index_add_(0, rows, values) / counts[:, None]
    return _scatter(values - means[rows]) / (len(values) - len(counts))


def _scatter(centred: Tensor) -> Tensor:
    return centred.T @ centred


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
