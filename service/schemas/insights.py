"""Schemas of what a learner's training images say of each other."""

from service.schemas.base import PublicId, ReadSchema
from service.schemas.measures import MeasureRead


class JudgedImageRead(ReadSchema):
    """What is answered to a training image without it."""

    sample: PublicId
    label: str
    """What it was taught as, by the class's name."""
    looks_like: str
    """The class that is answered without it."""
    score: float
    """Of that class."""
    own_score: float
    """Of its own class."""
    novelty: float


class ImagePairRead(ReadSchema):
    """Two training images that are near to each other."""

    sample: PublicId
    label: str
    other: PublicId
    other_label: str
    cosine: float
    """Of their features, 1 for the same."""


class PullingImageRead(ReadSchema):
    """A training image without which others would be answered rightly."""

    sample: PublicId
    label: str
    n: int
    """How many others."""
    mended: list[JudgedImageRead]
    """Which, at most ten."""


class ClassInsightsRead(ReadSchema):
    """What is known of the training images of one class."""

    label: str
    n: int
    """Training images that were judged."""
    right: MeasureRead | None
    """How many are answered rightly without themselves; null without any."""
    novelty: list[float]
    """Of its images without themselves: what 10 %, half and 90 % of them stay below. Empty without any."""


class InsightsRead(ReadSchema):
    """What a learner's training images say of each other, the most telling of each kind first."""

    ready: bool
    """Whether it is known: of many images it takes seconds, once a version. Ask again while it is false."""
    version: int
    n_images: int
    """Training images that the version has learned."""
    n_judged: int
    """Of these, those that could be judged."""
    suspects: list[JudgedImageRead]
    """Whose label looks wrong: without the image another class is answered, by 0.5 more than its own."""
    look_alikes: list[ImagePairRead]
    """Images with the nearest one of another class."""
    duplicates: list[ImagePairRead]
    """Near-duplicates, within a class and across classes."""
    pulls: list[PullingImageRead]
    classes: list[ClassInsightsRead]
