"""The contract every strategy fulfils, and the values that cross it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from models.backbone import Backbone
from models.errors import NotLearnedError, TaskDataError
from models.progress import ProgressFn, ignore_progress


@dataclass(frozen=True, kw_only=True)
class StrategyConfig:
    """Base of every strategy's hyperparameters: a frozen, keyword-only dataclass."""

    # Read by pydantic's TypeAdapter at the HTTP border, so that unknown keys are refused there.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


ConfigT = TypeVar("ConfigT", bound=StrategyConfig)


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
class Prediction:
    """Scores and route of a batch. Shapes: B images, K classes, T synapses (one a task, or none at all)."""

    probabilities: Tensor
    """Calibrated class probabilities, `(B, K)`, rows sum to 1, in the order of `classes_`."""
    novelty: Tensor
    """Share of held-out known images that look more familiar than this one, `(B,)`, in `[0, 1]`."""
    currents: Tensor
    """Current of each synapse, `(B, T)`, non-negative."""
    thresholds: Tensor
    """Threshold of each synapse, `(T,)`. A synapse is functional only where its current reaches it."""
    functional: Tensor
    """Bool `(B, T)`: whether the task's sub-network took part."""
    passes: Tensor
    """Forwards of the backbone each image took, `(B,)`, int64."""


class Strategy(ABC, Generic[ConfigT]):
    """How a learner learns: an object with what it has learned so far.

    A learned strategy is used for prediction only; the next version starts from a fresh object with the same state.
    """

    name: ClassVar[str]
    """Public, stored in the database: never rename."""
    summary: ClassVar[str]
    """One sentence: what it is for."""
    config_type: ClassVar[type[StrategyConfig]]

    def __init__(self, backbone: Backbone, config: ConfigT) -> None:
        self.backbone = backbone
        self.config = config
        self.classes_: tuple[str, ...] = ()
        """Learned labels in index order. Grows, never reorders."""
        self.class_tasks_: tuple[int, ...] = ()
        """For each class the index of the task that introduced it."""
        self.task_indexes_: tuple[int, ...] = ()
        """Index of each learned task, in order."""

    @property
    def synapse_tasks_(self) -> tuple[int, ...]:
        """Index of the task of each synapse, in the order of `Prediction.currents`. Empty for a strategy without."""
        return ()

    @abstractmethod
    def learn(self, task: Task, on_progress: ProgressFn = ignore_progress) -> LearningReport:
        """Learn one more task.

        Deterministic on CPU for `task.seed`. Needs no image of an earlier task.

        Raises:
            TaskDataError: If the task has no image.
            DivergedError: If the loss stops being finite.
        """

    @abstractmethod
    def predict(self, images: Tensor) -> Prediction:
        """Score images and say which synapses were functional.

        Args:
            images: uint8 `(B, 3, H, W)` as `Backbone.preprocess` makes them.

        Raises:
            NotLearnedError: If nothing was learned yet.
        """

    @abstractmethod
    def predict_logits(self, images: Tensor) -> Tensor:
        """Return uncalibrated scores `(B, K)` for uint8 images `(B, 3, H, W)`."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Return everything learned but the backbone, as CPU tensors.

        Keys that start with `tasks.<index>.` belong to one task and never change once written, so versions share them.
        """

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` returned. `classes_`, `class_tasks_` and `task_indexes_` are set before.

        Raises:
            CheckpointError: If a tensor is missing or has the wrong shape.
        """

    def register(self, task: Task) -> Tensor:
        """Append the task and its new classes, and return its targets: int64 `(N,)` into `classes_`."""
        if not task.labels or len(task.labels) != len(task.images):
            raise TaskDataError(
                f"Task {task.index} has {len(task.images)} images and {len(task.labels)} labels; "
                "it needs at least one image and one label an image."
            )
        new = tuple(label for label in task.classes if label not in self.classes_)
        self.classes_ += new
        self.class_tasks_ += (task.index,) * len(new)
        self.task_indexes_ += (task.index,)
        return self.targets(task.labels)

    def targets(self, labels: tuple[str, ...]) -> Tensor:
        """Return the class index of each label, int64 `(N,)`."""
        index = {label: i for i, label in enumerate(self.classes_)}
        return torch.tensor([index[label] for label in labels], dtype=torch.int64)

    def require_learned(self) -> None:
        """Raise `NotLearnedError` unless a task was learned."""
        if not self.classes_:
            raise NotLearnedError("This learner has not learned any class yet: post a task first.")

    def calibration_set(self, task: Task) -> tuple[Tensor, Tensor]:
        """Return images and targets to calibrate on: the held-out ones, or the training ones where none are.

        Training images flatter: scores come out too sure, and known images too familiar.
        """
        if task.held_out_images is None or len(task.held_out_images) == 0:
            return task.images, self.targets(task.labels)
        return task.held_out_images, self.targets(task.held_out_labels)

    def without_routes(self, probabilities: Tensor, novelty: Tensor) -> Prediction:
        """Return a prediction of one pass, of a strategy without synapses."""
        B = len(probabilities)
        return Prediction(
            probabilities=probabilities,
            novelty=novelty,
            currents=torch.zeros(B, 0),
            thresholds=torch.zeros(0),
            functional=torch.zeros(B, 0, dtype=torch.bool),
            passes=torch.ones(B, dtype=torch.int64),
        )
