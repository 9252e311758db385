"""The values that go in and out of a strategy."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from models.checkpoint import NO_CHECKPOINTS, Checkpoints


@dataclass(frozen=True)
class Seen:
    """What a task's images look like to a strategy that reads features, so that they take one pass and no more."""

    fingerprint: str
    """Of the features: `Strategy.fingerprint_of_features` when they were made."""
    images: Tensor
    """Of the training images, as `Strategy.features_of` returns them, `(N, W)`."""
    held_out: Tensor
    """Of the held-out images, `(E, W)`."""

    def of(self, fingerprint: str, features: Tensor) -> Tensor | None:
        """Return some of the features if they are those that are asked for."""
        return features if fingerprint == self.fingerprint else None


@dataclass(frozen=True)
class Task:
    """One increment of labelled images, decoded and resized for the backbone.

    Shapes: N train images, E held-out images, `H W` the backbone's input size.
    """

    index: int
    """Position in the learner's sequence, from 1. Gaps are fine (a cancelled task leaves one)."""
    images: Tensor
    """Training images, uint8, `(N, 3, H, W)`."""
    labels: tuple[str, ...]
    """One label an image, length N."""
    held_out_images: Tensor | None = None
    """This task's evaluation images, uint8, `(E, 3, H, W)`. Used to calibrate scores, never to train."""
    held_out_labels: tuple[str, ...] = ()
    seed: int = 0
    """Everything random in learning this task derives from it."""
    checkpoints: Checkpoints = field(default=NO_CHECKPOINTS, repr=False, compare=False)
    """Where every training of this task keeps how far it is, and goes on from."""
    seen: Seen | None = field(default=None, repr=False, compare=False)
    """What its images look like, where somebody has looked at them already."""

    def features(self, fingerprint: str) -> Tensor | None:
        """Return the features of the training images, `(N, W)`, if these are known: `fingerprint` says which."""
        return None if self.seen is None else self.seen.of(fingerprint, self.seen.images)

    def held_out_features(self, fingerprint: str) -> Tensor | None:
        """Return those of the held-out images, `(E, W)`, in the same way."""
        return None if self.seen is None else self.seen.of(fingerprint, self.seen.held_out)

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels of this task in order of first appearance."""
        return tuple(dict.fromkeys(self.labels))


@dataclass(frozen=True)
class LearningReport:
    """What learning one task did. Goes into the version's metrics as JSON."""

    n_images: int
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    """Strategy-specific, JSON-serialisable: final losses, temperature, thresholds."""


@dataclass(frozen=True)
class ConsolidationReport:
    """What consolidating some tasks came to. Goes into the version's metrics, or to whoever asks why there is none."""

    adopted: bool
    """Whether the strategy has changed. If not, it is as it was."""
    reason: str
    """In plain words."""
    tasks: tuple[int, ...]
    """Indexes of the tasks whose images took part."""
    n_images: int
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    """Strategy-specific, JSON-serialisable: by how much images that it never saw are answered better."""


Unlearning = Literal["exact", "needs_images", "partial", "none"]
"""What a strategy can do about a task or class that has to go. `exact`: its scores become those of a learner that never
saw it. `needs_images`: the same, given the training images to take out. `partial`: what belongs to it alone goes; what
was trained on it together with others keeps a trace. `none`: nothing, but for everything at once."""


@dataclass(frozen=True)
class UnlearningReport:
    """What unlearning took out, and what it could not. Goes into the version's metrics as JSON."""

    n_tasks: int
    """Tasks of which nothing is left."""
    n_classes: int
    """Classes that are never answered again."""
    seconds: float
    exact_scores: bool
    """Whether the scores, before they are calibrated, are those of a learner that never saw it, but for rounding."""
    residue: str
    """What still carries a trace, in plain sentences. Empty where nothing does."""

    @property
    def exact(self) -> bool:
        """Whether the whole learner is one that never saw it, but for rounding."""
        return not self.residue


@dataclass(frozen=True)
class CorrectionReport:
    """What giving images other labels came to. Goes into the version's metrics as JSON."""

    n_moved: int
    """Images that show another class now."""
    n_removed: int
    """Images that were taken out."""
    n_restored: int
    """Images that had been taken out before, and are back."""
    seconds: float
    residue: str
    """What still carries a trace of the labels from before, in plain sentences. Empty where nothing does."""

    @property
    def exact(self) -> bool:
        """Whether the learner is one that was taught these labels, but for rounding."""
        return not self.residue


@dataclass(frozen=True)
class CrossValidation:
    """What is answered to training images by heads that never saw them. Shape: M images."""

    tasks: Tensor
    """Index of the task of each stored training image, int64 `(M,)`."""
    targets: Tensor
    """Class index, int64 `(M,)`."""
    answers: Tensor
    """Class index answered by a head that never saw the image, int64 `(M,)`."""
    carried: Tensor
    """Whether the stored feature was carried along by a map since, instead of being made anew of the image, bool
    `(M,)`. Carried rows look as well ordered among themselves as before, wherever their images are: they flatter."""


@dataclass(frozen=True)
class LeftOut:
    """Stored training images as heads that never saw them answer them. Shapes: M images, W feature width."""

    features: Tensor
    """What is kept of each, where the features are now, float32 `(M, W)`: by these an image is told from others."""
    tasks: Tensor
    """Index of the task that brought it, int64 `(M,)`."""
    targets: Tensor
    """Class index, int64 `(M,)`."""
    answers: Tensor
    """Class index that was answered, int64 `(M,)`."""
    scores: Tensor
    """Of that class, `(M,)`."""


@dataclass(frozen=True)
class Routes:
    """Which synapses were functional for a batch. Shapes: B images, T synapses (one a task, or none at all)."""

    currents: Tensor
    """Current of each synapse, `(B, T)`, non-negative."""
    thresholds: Tensor
    """Threshold of each synapse, `(T,)`. A synapse is functional only where its current reaches it."""
    functional: Tensor
    """Bool `(B, T)`: whether the task's sub-network took part."""
    passes: Tensor
    """Forwards of the backbone each image took, `(B,)`, int64."""

    @classmethod
    def without_synapses(cls, n_images: int, *, passes: int = 1) -> "Routes":
        """Return the routes of a strategy that has none, whose every image takes the same passes."""
        return cls(
            currents=torch.zeros(n_images, 0),
            thresholds=torch.zeros(0),
            functional=torch.zeros(n_images, 0, dtype=torch.bool),
            passes=torch.full((n_images,), passes),
        )


@dataclass(frozen=True)
class RawScores:
    """What a strategy makes of a batch, before `predict` calibrates it. Shapes: B images, K classes."""

    logits: Tensor
    """Uncalibrated, `(B, K)`, in the order of `classes_`."""
    distances: Tensor
    """To the nearest class, `(B,)`, non-negative: the larger, the newer the image."""
    routes: Routes | None = None
    """None where there are no synapses and an image takes one pass."""
    probabilities: Tensor | None = None
    """Calibrated, `(B, K)`, where routes depend on them and change them; None leaves it to `predict`."""
    novelty: Tensor | None = None
    """Share of known images that look more familiar, `(B,)`; None leaves it to `predict`."""
    unrouted: Tensor | None = None
    """Calibrated, `(B, K)`, as they were before sub-networks were asked; None where that is not known."""
    features: Tensor | None = None
    """What the answers were read from, `(B, W)`, of a strategy that `reads_features`."""


@dataclass(frozen=True, kw_only=True)
class Prediction(Routes):
    """Calibrated scores and route of a batch. Shapes: B images, K classes."""

    probabilities: Tensor
    """Calibrated class probabilities, `(B, K)`, rows sum to 1, in the order of `classes_`."""
    novelty: Tensor
    """Share of held-out known images that look more familiar than this one, `(B,)`, in `[0, 1]`."""
    unrouted: Tensor | None = None
    """What the probabilities would be had no synapse fired, `(B, K)`; None where that is not known."""
    features: Tensor | None = None
    """What the answers were read from, `(B, W)`, of a strategy that `reads_features`."""
