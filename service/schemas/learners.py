"""Schemas of learners, strategies, backbones and aliases."""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from models.strategies.values import Unlearning
from service.labels import Label, ShortText
from service.schemas.base import (
    LearnerName,
    Metadata,
    ReadSchema,
    RequestSchema,
    Time,
    VersionNumber,
)
from service.schemas.consolidations import LearnerConsolidation
from service.schemas.measures import LearnerMeasures, MeasureRead

MAX_METADATA_BYTES = 16 * 1024


def _small(metadata: Metadata) -> Metadata:
    if len(json.dumps(metadata)) > MAX_METADATA_BYTES:
        raise PydanticCustomError("metadata_too_large", "Metadata may have 16 KiB.")
    return metadata


SmallMetadata = Annotated[Metadata, AfterValidator(_small)]


class LearnerCreate(RequestSchema):
    """A learner to create."""

    name: LearnerName
    strategy: ShortText = "artsy"
    """One of `GET /v1/strategies`."""
    backbone: ShortText = "bundled"
    """`bundled`, or a timm ViT with its pre-trained tag, for example `vit_base_patch16_224.augreg_in21k`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Hyperparameters that differ from the strategy's defaults."""
    metadata: SmallMetadata = Field(default_factory=dict)
    """Your own notes: any JSON object up to 16 KiB."""


class LearnerUpdate(RequestSchema):
    """What can change on a learner."""

    metadata: SmallMetadata


class LearnerAccuracy(ReadSchema):
    """How well the live version knows what was learned up to it; null where nothing was evaluated."""

    last: float | None
    average: float | None
    forgetting: float | None
    measures: LearnerMeasures | None = None
    """How sure they are; null from a service that does not tell."""


class LearnerRead(ReadSchema):
    """A learner."""

    name: str
    strategy: str
    backbone: str
    config: dict[str, Any]
    metadata: dict[str, Any]
    created_at: Time
    classes: int
    """Classes of the live version."""
    tasks: int
    """Tasks that the live version knows."""
    head_version: int
    """Version the next task builds on; 0 before the first."""
    live_version: int
    """Version that answers predictions; 0 before the first."""
    accuracy: LearnerAccuracy
    consolidation: LearnerConsolidation | None
    """How far what it learned has been consolidated; null before its first version, and for strategies that train as
    they learn."""


class StrategyRead(ReadSchema):
    """A way to learn."""

    name: str
    summary: str
    keeps_images: bool
    """Whether training images become part of what it learned; deleting a task's images does not delete those."""
    unlearning: Unlearning
    """What can be removed again; docs/unlearning.md."""
    looks_into_images: bool
    """Whether `GET /v1/learners/{name}/insights` can tell which of its images hurt."""
    corrects: bool
    """Whether learned images can be moved to other classes, or be taken out; docs/correcting.md."""
    cross_validates: bool
    """Whether it measures itself on images that it learns from, leaving each out in turn: few images of a class are
    then all learned from, and none is held out unless you say so."""
    defaults: dict[str, Any]
    config_schema: dict[str, Any]
    """JSON Schema of `config`."""


class BackgroundRead(ReadSchema):
    """Statistics of general images that come with a backbone."""

    n_images: int
    n_classes: int
    """0 if the images were not sorted by class."""


class BackboneRead(ReadSchema):
    """A frozen vision transformer to learn on."""

    name: str
    source: str
    image_size: int | None
    description: str
    background: BackgroundRead | None
    """Tells learners how images usually lie: where few images of a class do not. Null where there is none."""


class AliasWrite(RequestSchema):
    """Where an alias should point."""

    version: VersionNumber
    move_head: bool = False
    """Let the next task build on this version too. Tasks whose versions do not lead to it become `superseded`: what
    they taught is not known any more, and may be learned again."""


class AliasRead(ReadSchema):
    """A movable name of a version."""

    name: str
    version: int
    head_version: int
    """Version the next task builds on."""


class ClassRead(ReadSchema):
    """A class the learner knows."""

    label: str
    """As it was learned; versions, samples and tasks call it so."""
    name: str
    """What answers call it: the label, unless it was renamed."""
    hidden: bool
    """Whether predictions never answer it."""
    min_score: float | None = None
    """Score below which an answer of it counts as not known; null for none."""
    task: int
    """Index of the task that introduced it."""
    samples: dict[str, int]
    """Stored images: `train` and `eval`."""
    accuracy_learned: float | None = Field(default=None)
    """Share of its images, held out or left out in turn, that were recognised when it was learned, among the classes
    known then; null where none was counted."""
    n_learned: int = 0
    """How many images that is a share of."""
    accuracy_now: float | None = Field(default=None)
    """The same with the live version, among all its classes."""
    n_now: int = 0
    """How many images that is a share of."""
    measured_learned: MeasureRead | None = None
    """How sure `accuracy_learned` is."""
    measured_now: MeasureRead | None = None
    """How sure `accuracy_now` is."""


class ClassUpdate(RequestSchema):
    """What to change about a class; what is absent stays as it is."""

    name: Label | None = None
    """What to call it from now on; null is the label again."""
    hidden: bool = False
    """Whether predictions never answer it. It does not unlearn: `POST .../unlearn` does."""
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    """Score below which an answer of it counts as not known; null for none."""
