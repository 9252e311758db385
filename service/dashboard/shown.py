"""The values that the pages show. `views` fills them, the templates read them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from registry.accuracy import AccuracyHistory
from registry.learners import ClassInfo

ACTIVE = ("queued", "running", "cancelling")
"""Statuses of tasks that move by themselves."""


@dataclass(frozen=True)
class WorkerView:
    """A worker as a row of a table."""

    id: str
    state: str
    device: str
    host: str
    learning: str
    """What it is doing, in words."""
    seen_at: datetime


@dataclass(frozen=True)
class TaskView:
    """A task as a row of a table."""

    id: str
    learner: str
    index: int
    name: str | None
    is_unlearning: bool
    """Whether it takes its classes away instead of bringing them."""
    status: str
    classes: list[str]
    n_train: int
    n_eval: int
    version: int | None
    error: dict[str, Any] | None
    phase: str
    fraction: float
    note: str
    seconds: float | None
    """How long it took to learn."""
    ended_at: datetime | None

    @property
    def is_active(self) -> bool:
        """Whether it still moves by itself."""
        return self.status in ACTIVE

    @property
    def can_cancel(self) -> bool:
        """Whether cancelling it makes sense."""
        return self.status in ("queued", "running", "held")

    @property
    def can_retry(self) -> bool:
        """Whether it can be queued again."""
        return self.status in ("failed", "cancelled")


@dataclass(frozen=True)
class LearnerCard:
    """A learner with its headline numbers."""

    name: str
    strategy: str
    backbone: str
    created_at: datetime
    live_version: int
    n_classes: int
    n_tasks: int
    last: float | None
    average: float | None
    forgetting: float | None
    passes: float | None
    spark: str
    """Points of a polyline: accuracy on all images seen, version by version. Empty for fewer than two."""
    active: list[TaskView]


@dataclass(frozen=True)
class VersionView:
    """A version as a row of a table."""

    number: int
    task_index: int
    n_classes: int
    size_bytes: int
    created_at: datetime
    is_erased: bool
    """Whether it held what was unlearned since."""


@dataclass(frozen=True)
class LearnerPage:
    """Everything on a learner's page."""

    card: LearnerCard
    history: AccuracyHistory
    tasks: list[TaskView]
    class_groups: list[tuple[int, list[ClassInfo]]]
    """Classes by the index of the task that brought them."""
    versions: list[VersionView]


@dataclass(frozen=True)
class SampleView:
    """A held-out image to try."""

    id: str
    label: str
    is_tiny: bool
