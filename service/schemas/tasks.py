"""Schemas of tasks, samples and events."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from registry.statuses import TaskStatus
from service.characters import is_encoding
from service.labels import KnownLabel, Label, ShortText
from service.schemas.base import (
    MAX_INT,
    EncodedImage,
    ReadSchema,
    RequestSchema,
    Time,
    VersionNumber,
)
from service.schemas.consolidations import ConsolidationRead

Status = Literal[
    TaskStatus.QUEUED,
    TaskStatus.RUNNING,
    TaskStatus.CANCELLING,
    TaskStatus.HELD,
    TaskStatus.SUCCEEDED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
    TaskStatus.SUPERSEDED,
    TaskStatus.DECLINED,
]
"""All of them, written out: the contract shows a literal in its place, but an enum by reference."""
Mode = Literal["new_classes", "extend", "unlearn", "correct", "consolidate", "import"]
SplitChoice = Literal["auto", "train", "eval"]
MOST_NAMED = 10_000
"""Tasks or classes in one request to unlearn: as many classes as the contract lets a learner have. Chosen, untested."""


class TaskChoices(RequestSchema):
    """What can be chosen for a task."""

    name: ShortText | None = None
    """For your own orientation."""
    mode: Literal["new_classes", "extend"] = "new_classes"
    """`extend` allows classes that are known already, and learns only images that are new."""
    eval_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Share of each class that is held out to measure accuracy, counted with what the learner has of it; for images
    whose split is `auto`. Unless it is named, a strategy that measures itself on the images it learns from
    (`cross_validates`) has none held out of a class below 20 images."""
    expected_head_version: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    """Refuse the task with 409 if the learner has moved on."""
    max_forgetting: Annotated[float, Field(ge=0, le=1)] | None = None
    """Hold the version back if accuracy on earlier tasks drops by more than this on average."""
    screening: Literal["hold", "warn", "off"] = "hold"
    """What to do with a batch whose images and labels do not fit together, or that harms what is known: hold the task
    until a person publishes or cancels it, or only say so in `findings`, or do not look."""
    on_bad_image: Literal["refuse", "skip"] = "refuse"
    """`skip` learns from the usable images; by default one unusable image refuses the task. An image that comes
    under two labels is left out under both."""
    seed: Annotated[int, Field(ge=0, le=MAX_INT)] = 0
    """Everything random derives from it: same images, configuration and seed, same version."""
    splits: bool = True
    """Whether folders called `train`, `valid`, `test` and the like say what their images are for. Without, they are
    classes like any other."""
    encoding: Annotated[str, StringConstraints(max_length=20)] | None = None
    """How names in an archive are written that are neither marked as Unicode nor UTF-8: `cp437`, `cp932`, `gbk` ..."""
    from_feedback: bool = False
    """Learn from pending feedback too; then the request may come without images. `new_classes` takes what is labelled
    with unknown classes, `extend` all; a new class with too few images stays pending."""

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, name: str | None) -> str | None:
        if name is not None and not is_encoding(name):
            raise PydanticCustomError("encoding", "This is no encoding that names of files have.")
        return name


class TaskOptions(TaskChoices):
    """How a task is to be learned."""

    config: dict[str, Any] = Field(default_factory=dict)
    """Hyperparameters for this task only; `bottleneck` and `pooling` stay what the learner began with."""


class TaskQuery(TaskChoices):
    """The same options as query parameters; those in the body win."""

    config: Annotated[str, StringConstraints(max_length=4096)] = "{}"
    """A JSON object."""


class SampleCreate(RequestSchema):
    """A labelled image inside JSON."""

    label: Label
    split: SplitChoice = "auto"
    image: EncodedImage


class TaskCreate(RequestSchema):
    """A task whose images come inside JSON."""

    samples: list[SampleCreate] = Field(default_factory=list)
    options: TaskOptions = TaskOptions()


class UnlearnCreate(RequestSchema):
    """What a learner is to unlearn: at least one task or class."""

    tasks: list[Annotated[int, Field(ge=1, le=MAX_INT)]] = Field(
        default_factory=list, max_length=MOST_NAMED
    )
    """Indexes of tasks, all of whose images go."""
    classes: list[KnownLabel] = Field(default_factory=list, max_length=MOST_NAMED)
    """Labels, whatever task brought them."""
    name: ShortText | None = None
    """For your own orientation."""
    expected_head_version: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    """Refuse with 409 if the learner has moved on."""
    max_forgetting: Annotated[float, Field(ge=0, le=1)] | None = None
    """Hold the version back if accuracy on what stays drops by more than this on average."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.tasks and not self.classes:
            raise PydanticCustomError("nothing_named", "Name at least one task or class.")
        return self


class UnlearnPreview(ReadSchema):
    """What would be gone for good once it is unlearned."""

    learner: str
    tasks: list[int]
    """As they were asked for."""
    classes: list[str]
    """Labels of the classes that the learner would no longer know."""
    versions: list[int]
    """Numbers of the versions that would be erased; those that waiting tasks publish before it come on top."""
    images: int
    """Stored images that would be deleted."""
    live_version: int
    """Version that answers predictions now."""


class ManifestEntry(RequestSchema):
    """What `manifest` says about one file."""

    label: Label
    split: SplitChoice = "auto"


class TaskProgress(ReadSchema):
    """How far the learning is."""

    phase: str
    fraction: float
    epoch: int | None = None
    epochs: int | None = None
    eta_seconds: float | None = None


class RejectedImage(ReadSchema):
    """An image that was left out."""

    index: int
    filename: str | None
    problem: str
    """Code of the problem, for example `image-truncated`."""


class QuarantinedImage(ReadSchema):
    """An image that is kept, but neither learned nor used to measure accuracy."""

    index: int
    filename: str | None
    reason: str
    """`blank`: all of one colour."""


class FindingRead(ReadSchema):
    """Something that looked wrong with a task's images, or with what learning them did."""

    code: str
    """`labels-disagree`, `classes-alike`, `resembles-known`, `copies`, `harms-known`, `flooded`."""
    detail: str
    """One sentence for the person who decides."""
    holds: bool
    """Whether it is reason enough to hold the task."""
    classes: list[str]
    """The classes it is about; empty where it is about all."""
    numbers: dict[str, float]
    """What was measured."""


class LeftOutFile(ReadSchema):
    """A file of an upload that is no part of the data."""

    path: str
    reason: str
    """`not-an-image`, `system-file` or `not-in-table`."""


class LayoutRead(ReadSchema):
    """How the folders of an upload were read."""

    splits: dict[str, str]
    """Folders that named splits, and what their images are used for: `train` or `eval`. Empty without any."""
    tables: list[str]
    """Tables that the labels were read from; empty where they came from folders."""
    notes: list[str]
    """Sentences: what was understood that may surprise."""
    left_out: int
    """Files that were passed over: no images, or what a system leaves behind."""
    left_out_files: list[LeftOutFile]
    """The first of them."""


class SampleCounts(ReadSchema):
    """Images of a task."""

    train: int
    eval: int


class TaskError(ReadSchema):
    """Why a task failed."""

    code: str
    detail: str


class TaskRead(ReadSchema):
    """One increment of classes."""

    id: str
    learner: str
    index: int
    name: str | None
    mode: str
    status: Status
    position: int | None
    """1 is next; null when it no longer waits."""
    classes: list[str]
    samples: SampleCounts
    from_feedback: int
    """How many pieces of feedback it took; their images count among `samples`."""
    rejected: list[RejectedImage]
    quarantined: list[QuarantinedImage]
    layout: LayoutRead | None
    """How the folders of an archive, or in the names of a form's files, were read; null where labels came otherwise."""
    duplicates: int
    """Images that came more than once in the request, counted without the first. Each is learned once."""
    known: int
    """Images of the request that were left out because the learner has learned them, or is about to."""
    splits_kept: int
    """Images of the request that stay on the side they had before, although it named the other one."""
    findings: list[FindingRead]
    """What looked wrong with the images; empty until they were looked at."""
    progress: TaskProgress
    attempt: int
    version: VersionNumber | None
    consolidation: ConsolidationRead | None
    """Of a task of mode `consolidate`: what it is of and what it came to; null for all others."""
    error: TaskError | None
    options: dict[str, Any]
    config: dict[str, Any]
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class SampleRead(ReadSchema):
    """A stored image."""

    id: str
    label: str
    """What it shows with the learner's head."""
    taught_label: str | None
    """What it was sent with, where a correction has changed that; null where it is still `label`."""
    split: str
    filename: str | None
    quarantine: str | None
    """Why it is not used, for example `blank`, or `removed` where a correction took it out; null for one that is."""
    width: int
    height: int
    created_at: Time


class SamplesDropped(ReadSchema):
    """What was deleted."""

    deleted: int


class EventRead(ReadSchema):
    """Something that happened to a task."""

    seq: int
    type: str
    data: dict[str, Any]
    created_at: Time
