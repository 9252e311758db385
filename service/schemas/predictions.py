"""Schemas of predictions."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.labels import Label
from service.schemas.base import (
    MAX_INT,
    EncodedImage,
    Problematic,
    ReadSchema,
    RequestSchema,
    Time,
)

Trace = Literal["none", "summary", "full"]


class PredictCreate(RequestSchema):
    """Images to predict, inside JSON."""

    images: Annotated[list[EncodedImage], Field(min_length=1)]


class ScoredLabel(ReadSchema):
    """A class and its calibrated probability."""

    label: str
    score: float
    task: int
    """Index of the task that introduced the class."""


class SynapseRead(ReadSchema):
    """The state of one task's synapse for one image."""

    task: int
    current: float
    threshold: float
    state: Literal["functional", "silent"]
    can_fire: bool = True
    """Whether a current can reach the threshold at all. A sub-network that has not earned its pass never fires."""


class Route(ReadSchema):
    """Which sub-networks took part."""

    functional: list[int]
    silent: list[int]
    passes: int
    """Forwards of the backbone this image took."""
    without: ScoredLabel | None = None
    """What would have been answered had no sub-network taken part; null where none did, or where that is not known."""
    synapses: list[SynapseRead] | None = None
    """With `trace=full`."""


class ImagePrediction(ReadSchema):
    """The answer for one image; `problem` instead of an answer when it could not be used."""

    index: int
    filename: str | None = None
    label: str | None = None
    score: float | None = None
    task: int | None = None
    novelty: float | None = None
    """Share of held-out known images that look more familiar than this one."""
    known: bool | None = None
    """False when the image looks like none of the classes, or the score is below what the class is answered from."""
    below: float | None = None
    """What the class is answered from (`min_score` of the class), where the score is below it; else absent."""
    top: list[ScoredLabel] = Field(default_factory=list)
    route: Route | None = None
    warnings: list[str] = Field(default_factory=list)
    """`blank`: of one colour or transparent; `little_detail`: of nearly one colour; `first_frame_used`: of several."""
    problem: Problematic | None = None


class Timing(ReadSchema):
    """Where the time went, in milliseconds, and how many images shared the batch."""

    decode: float
    queue: float
    infer: float
    total: float
    batch: int


class PredictionRead(ReadSchema):
    """Predictions of one request, all made by one version."""

    id: str
    learner: str
    version: int
    results: list[ImagePrediction]
    timing_ms: Timing


class GivenFeedback(ReadSchema):
    """What a user said is really on an image of the prediction."""

    index: int
    """Of the result."""
    label: str
    task: str | None
    """Id of the task that took it to learn from; null while it is pending."""
    created_at: Time


class StoredPrediction(ReadSchema):
    """A prediction from the history."""

    id: str
    learner: str
    version: int
    results: list[dict[str, Any]]
    images: list[int]
    """Indexes of the results whose image is kept: those that feedback can be given on."""
    feedback: list[GivenFeedback]
    """What users said is really on the images."""
    created_at: Time


class FeedbackCreate(RequestSchema):
    """What is really on an image."""

    index: Annotated[int, Field(ge=0, le=MAX_INT)] = 0
    """Of the result."""
    label: Label
    """As learned, or the name a class is shown by; or a new class."""


class FeedbackRead(ReadSchema):
    """What a user said about an image, beside what was answered."""

    prediction: str
    """Id of the prediction."""
    index: int
    """Of the result."""
    label: str
    answered: str
    """The label that was answered."""
    score: float
    version: int
    """Which answered."""
    filename: str | None
    task: str | None
    """Id of the task that took it to learn from; null while it is pending."""
    created_at: Time
