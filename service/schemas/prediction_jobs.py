"""Schemas of prediction jobs: many images predicted behind the requests' backs."""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, model_validator
from pydantic_core import PydanticCustomError

from registry.statuses import TaskStatus
from service.labels import KnownLabel
from service.schemas.base import (
    MAX_INT,
    Problematic,
    PublicId,
    ReadSchema,
    RequestSchema,
    Time,
    VersionNumber,
)
from service.schemas.predictions import Route, ScoredLabel

JobStatus = Literal[
    TaskStatus.QUEUED,
    TaskStatus.RUNNING,
    TaskStatus.SUCCEEDED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
]
Source = Literal["upload", "predictions", "samples"]


class PredictionsWanted(RequestSchema):
    """Which images that were kept with predictions; what is left out does not matter. Newest first."""

    label: KnownLabel | None = None
    """Answered so."""
    known: bool | None = None
    """False for those that looked like no class."""
    feedback: bool | None = None
    """Whether somebody said what they show."""
    version: VersionNumber | None = None
    """Answered by it."""
    since: AwareDatetime | None = None
    """Answered at or after this time."""
    until: AwareDatetime | None = None
    """Answered before this time."""


class SamplesWanted(RequestSchema):
    """Which images of tasks; what is left out does not matter."""

    label: KnownLabel | None = None
    """Taught so."""
    task: Annotated[int, Field(ge=1, le=MAX_INT)] | None = None
    """Index of their task."""
    split: Literal["train", "eval"] | None = None
    """Learned from, or held out."""


class StoredImage(RequestSchema):
    """One stored image: a sample's, or one that was kept with a prediction."""

    sample: PublicId | None = None
    """Id of the sample."""
    prediction: PublicId | None = None
    """Id of the prediction."""
    index: Annotated[int, Field(ge=0, le=MAX_INT)] = 0
    """Of the prediction's result."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.sample is None) is (self.prediction is None):
            raise PydanticCustomError("one_image", "Name either `sample` or `prediction`.")
        return self


class PredictionJobCreate(RequestSchema):
    """Stored images to predict again: one of a query over predictions, a query over samples, and a list."""

    predictions: PredictionsWanted | None = None
    """Images kept with predictions."""
    samples: SamplesWanted | None = None
    """Images of tasks."""
    images: Annotated[list[StoredImage], Field(min_length=1, max_length=100_000)] | None = None
    """These; either all of predictions or all of samples."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [self.predictions, self.samples, self.images]
        if sum(part is not None for part in given) != 1:
            raise PydanticCustomError(
                "one_source", "Send exactly one of `predictions`, `samples` and `images`."
            )
        kinds = {image.sample is None for image in self.images or ()}
        if len(kinds) > 1:
            raise PydanticCustomError(
                "one_kind", "Name images of predictions or of samples, not of both."
            )
        return self


class JobImages(ReadSchema):
    """How many images a job has, and what they came to so far."""

    total: int
    done: int
    """Those that have an answer or a problem."""
    problems: int
    """Those that could not be predicted."""
    unknown: int
    """Those that look like no known class."""
    changed: int
    """Those that are answered otherwise than before, or than they are labelled."""


class LabelCount(ReadSchema):
    """How many images were answered with a label."""

    label: str
    images: int


class JobError(ReadSchema):
    """Why a job failed."""

    code: str
    detail: str


class PredictionJobRead(ReadSchema):
    """Many images that one version predicts, behind all requests."""

    id: str
    learner: str
    version: int
    """That answers all of the images."""
    source: Source
    """`upload`: sent with the job; `predictions`: kept with predictions; `samples`: of tasks."""
    query: dict[str, Any]
    """Which stored images were asked for."""
    status: JobStatus
    images: JobImages
    labels: list[LabelCount]
    """Most frequent first."""
    eta_seconds: float | None
    """Until it is done, as far as can be told from how fast it went; null when it has ended, or not begun."""
    error: JobError | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class AnsweredBefore(ReadSchema):
    """What was said about a stored image before."""

    label: str | None = None
    """Answered, or taught."""
    score: float | None = None
    known: bool | None = None
    version: int | None = None
    """That answered; null for what was taught."""


class JobResult(ReadSchema):
    """What an image of a job came to; `problem` instead of an answer when it could not be predicted."""

    index: int
    name: str
    """What it was called in the upload; of a stored image its file's name, or its id."""
    prediction: str | None = None
    """Id of the prediction that it was kept with."""
    prediction_index: int | None = None
    """Of that prediction's result."""
    sample: str | None = None
    """Id of the sample that it is of."""
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
    """As those of predictions."""
    before: AnsweredBefore | None = None
    """Of a stored image: what was answered, or taught."""
    changed: bool | None = None
    """Whether the answer differs from that."""
    problem: Problematic | None = None
