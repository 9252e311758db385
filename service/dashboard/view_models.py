"""The values that the pages show. `views` fills them, the templates read them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from registry.accuracy import AccuracyHistory
from registry.learners import ClassInfo
from registry.measures import Measure
from registry.pictures import Picture
from registry.statuses import CANCELLABLE, RETRYABLE, UNFINISHED, TaskStatus
from service.dashboard.synapse_view import Routing
from service.wording import listed

TINY_SIDE = 48
"""Images up to this side are shown with hard pixels, not blurred."""


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
class Finding:
    """Something that looks wrong with a task's images."""

    code: str
    detail: str


class Queued:
    """What a status lets somebody do about a row of the queue."""

    status: TaskStatus

    @property
    def is_active(self) -> bool:
        """Whether it still moves by itself."""
        return self.status in UNFINISHED

    @property
    def can_cancel(self) -> bool:
        """Whether cancelling it makes sense."""
        return self.status in CANCELLABLE

    @property
    def can_retry(self) -> bool:
        """Whether it can be queued again."""
        return self.status in RETRYABLE


@dataclass(frozen=True)
class Gone:
    """What a task that unlearned has taken away for good."""

    tasks: list[int]
    """Indexes of the tasks that it was asked to take out."""
    classes: list[str]
    """Labels of the classes that it was asked to take out."""
    by: str
    """Name of the key that asked for it."""
    versions: list[int] | None
    """Numbers of the versions that were erased; None of what earlier releases unlearned."""
    n_images: int | None
    """Stored images that were deleted."""
    residue: str
    """What still carries a trace."""


@dataclass(frozen=True)
class TaskView(Queued):
    """A task as a row of a table."""

    id: str
    learner: str
    index: int
    name: str | None
    is_unlearning: bool
    """Whether it takes its classes away instead of bringing them."""
    is_correction: bool
    """Whether it moves images between its classes, or takes some out."""
    status: TaskStatus
    classes: list[str]
    n_train: int
    n_eval: int
    n_known: int
    """Images left out because the learner has them."""
    n_duplicates: int
    """Images left out as copies."""
    version: int | None
    error: dict[str, Any] | None
    phase: str
    fraction: float
    note: str
    seconds: float | None
    """How long it took to learn."""
    ended_at: datetime | None
    findings: list[Finding] = field(default_factory=list)
    is_learned: bool = False
    """Whether it is held with a version that is ready to be published."""
    would_be: list[tuple[int, Measure]] = field(default_factory=list)
    """Accuracy on each task with that version."""
    erases: list[int] = field(default_factory=list)
    """Versions that publishing it would erase for good, where it is held and unlearns."""
    gone: Gone | None = None
    """What has gone with it, where it has unlearned."""

    @property
    def title(self) -> str:
        """What it is about, as a person says it."""
        return listed(self.classes) or self.name or "images"

    @property
    def is_held(self) -> bool:
        """Whether a person has to decide about it."""
        return self.status == TaskStatus.HELD


@dataclass(frozen=True)
class LearnerCard:
    """A learner with its headline numbers."""

    name: str
    strategy: str
    backbone: str
    created_at: datetime
    live_version: int
    head_version: int
    n_classes: int
    n_tasks: int
    last: Measure | None
    average: Measure | None
    forgetting: Measure | None
    passes: float | None
    spark: str
    """Points of a polyline: accuracy on all images seen, version by version. Empty for fewer than two."""
    active: list[TaskView]


@dataclass(frozen=True)
class VersionView:
    """A version as a row of a table."""

    number: int
    task_index: int
    """Below 0 a consolidation made it."""
    stage: str
    n_classes: int
    size_bytes: int
    created_at: datetime
    is_erased: bool
    """Whether it held what was unlearned since."""


@dataclass(frozen=True)
class SampleView:
    """A stored image."""

    id: str
    label: str
    is_tiny: bool


def sample_view(picture: Picture, name: str) -> SampleView:
    """Return a stored image as pages show it, under what its class is called."""
    return SampleView(picture.id, name, max(picture.width, picture.height) <= TINY_SIDE)


@dataclass(frozen=True)
class TaskChange:
    """How well a task is answered now, beside when it was learned."""

    task: int
    learned: Measure | None
    now: Measure
    change: Measure | None


@dataclass(frozen=True)
class LearnerPage:
    """Everything on a learner's page."""

    card: LearnerCard
    history: AccuracyHistory
    changes: list[TaskChange]
    """Its tasks, the one that is known worst first; only where there are too many to show every version's numbers."""
    tasks: list[TaskView]
    class_groups: list[tuple[int, list[ClassInfo]]]
    """Classes by the index of the task that brought them."""
    versions: list[VersionView]
    older_versions: str | None
    """Cursor of the next page of versions."""
    routing: Routing | None
    """Of the live version."""
    pictures: dict[str, list[SampleView]]
    """One for each class, for the first of them."""
