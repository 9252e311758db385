"""Schemas of predictions."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.schemas.base import EncodedImage, Problematic, ReadSchema, RequestSchema, Time

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


class Route(ReadSchema):
    """Which sub-networks took part."""

    functional: list[int]
    silent: list[int]
    passes: int
    """Forwards of the backbone this image took."""
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
    """False when the image looks like none of the classes."""
    top: list[ScoredLabel] = Field(default_factory=list)
    route: Route | None = None
    warnings: list[str] = Field(default_factory=list)
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


class StoredPrediction(ReadSchema):
    """A prediction from the history."""

    id: str
    learner: str
    version: int
    results: list[dict[str, Any]]
    created_at: Time
