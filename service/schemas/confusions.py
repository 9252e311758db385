"""Schemas of what a version takes images for."""

from service.schemas.base import ReadSchema
from service.schemas.measures import MeasureRead


class ConfusedPairRead(ReadSchema):
    """Images of one class that were answered as another."""

    true: str
    """The class they were taught as."""
    answered: str
    n: int
    """Images that were held out, or left out in turn."""
    share: MeasureRead | None
    """Of the images of the true class; null where none was measured."""
    n_said: int
    """Images of predictions by this version that people said show the true class."""


class ConfusedPairs(ReadSchema):
    """The pairs of classes that a version confuses, the most images first."""

    learner: str
    version: int
    n: int
    """Images that it was measured on."""
    n_pairs: int
    """Pairs that it confuses; `pairs` may be cut short."""
    pairs: list[ConfusedPairRead]


class ConfusedImage(ReadSchema):
    """An image of the true class, as the version answers it."""

    sample: str
    """Id of the image."""
    task: int
    filename: str | None
    score: float
    novelty: float | None
    """Null of an image that was left out in turn."""


class SaidImageRead(ReadSchema):
    """An image of a prediction that a person said a word about."""

    prediction: str
    index: int
    score: float


class ConfusedImages(ReadSchema):
    """The images behind one cell: taught, or named by a person, as one class, and answered as another."""

    learner: str
    version: int
    true: str
    answered: str
    counted: int
    """When the version was measured, images that were left out in turn too."""
    n_left_out: int
    """Images of the true class that were counted by leaving them out in turn, whatever they were answered as."""
    images: list[ConfusedImage]
    """Held-out ones."""
    left_out: list[ConfusedImage]
    """Images that are learned from, each answered by what was learned from the others: now that the version knows them
    it answers them otherwise."""
    is_whole: bool
    """Whether all held-out images of the true class were asked; of very many, or of those that have to be looked at
    again, only some are."""
    said: list[SaidImageRead]
