"""Schema of `bundle.json`: what a bundle says beside the artifact's own manifest."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from models.admission import MAX_CLASSES, MAX_TASK_INDEX, MAX_TASKS
from service.labels import KnownLabel, ShortText
from service.schemas.base import MAX_INT, LearnerName, ReadSchema, RequestSchema

MIN_HALVED_TO, MAX_HALVED_TO = 32, 1024
"""Shorter side in pixels that images keep at least: what no one looks at would only take memory."""
Count = Annotated[int, Field(ge=0, le=MAX_INT)]
Seconds = Annotated[float, Field(ge=0)]
Index = Annotated[int, Field(ge=1, le=MAX_TASK_INDEX)]
Stage = Literal["learned", "consolidated"]
CodeVersions = dict[
    Annotated[str, StringConstraints(max_length=100)],
    Annotated[str, StringConstraints(max_length=200)],
]
Confusion = dict[
    Annotated[str, StringConstraints(pattern=r"^[0-9]{1,7}$")],
    dict[Annotated[str, StringConstraints(max_length=200)], dict[str, Count]],
]
"""By task index, true label and answered label."""
CrossValidated = dict[
    Annotated[str, StringConstraints(pattern=r"^[0-9]{1,7}$")],
    dict[Annotated[str, StringConstraints(max_length=200)], Count],
]
"""By task index and true label: images of `Confusion` that were left out in turn."""
Routing = dict[
    Annotated[str, StringConstraints(pattern=r"^[0-9]{1,7}$")],
    dict[Annotated[str, StringConstraints(pattern=r"^[0-9]{1,7}$")], Count],
]
"""By task index of the images, and that of the synapse that was functional."""


class BundledLearner(RequestSchema):
    """The learner that the version is of."""

    name: LearnerName
    strategy: ShortText
    backbone: ShortText
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    config: dict[str, Any]
    halved_to: Annotated[int, Field(ge=MIN_HALVED_TO, le=MAX_HALVED_TO)] | None = None
    """Short side that its images keep at least while they are halved; None if they are resampled, as in earlier
    releases."""


class BundledTask(RequestSchema):
    """A task that the version knows."""

    index: Index
    name: ShortText | None
    classes: Annotated[list[KnownLabel], Field(max_length=MAX_CLASSES)]


class BundledAccuracy(RequestSchema):
    """A cell of the accuracy matrix, in images."""

    version: Annotated[int, Field(ge=1, le=MAX_INT)]
    task: Index
    n: Count
    n_correct: Count
    n_routed: Count
    n_routed_right: Count
    passes: Annotated[float, Field(ge=0, le=1_000_000)]
    n_cross_validated: Count = 0
    n_cross_validated_correct: Count = 0


class BundledVersion(RequestSchema):
    """The version."""

    number: Annotated[int, Field(ge=1, le=MAX_INT)]
    classes: Annotated[list[KnownLabel], Field(min_length=1, max_length=MAX_CLASSES)]
    tasks: Annotated[list[BundledTask], Field(min_length=1, max_length=MAX_TASKS)]
    """In the order they were learned."""
    stage: Stage | None = None
    """Left unsaid where it follows from the strategy, since nothing waits: then earlier releases take it in too."""
    unconsolidated: Annotated[list[Index], Field(max_length=MAX_TASKS)] = Field(
        default_factory=list
    )
    """Indexes of those of the tasks that wait for a consolidation."""
    seed: Count
    metrics: dict[str, Any]
    code_versions: CodeVersions
    accuracy: list[BundledAccuracy]
    """Of this version and those it was built on."""


class BundleHead(RequestSchema):
    """`bundle.json`."""

    format_version: int
    filopodia: Annotated[str, StringConstraints(max_length=50)]
    """Release that wrote it."""
    learner: BundledLearner
    version: BundledVersion


class Learning(ReadSchema):
    """What learning the newest task did."""

    n_images: Count
    seconds: Seconds
    details: dict[str, Any]


class Consolidation(ReadSchema):
    """What the consolidation found that made the version."""

    adopted: bool
    reason: str
    tasks: list[Index]
    n_images: Count
    seconds: Seconds
    details: dict[str, Any]


class KeptMetrics(ReadSchema):
    """Those metrics of a bundled version that are taken over; others may have been put there by other releases."""

    learning: Learning | None = None
    consolidation: Consolidation | None = None
    seconds: dict[Annotated[str, StringConstraints(max_length=100)], Seconds] = Field(
        default_factory=dict
    )
    confusion: Confusion = Field(default_factory=dict)
    routing: Routing | None = None
    """None where it was not measured."""
    cross_validated: CrossValidated | None = None
    """None where nothing was."""
