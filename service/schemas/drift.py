"""Schemas of what a learner was asked about, day by day."""

from datetime import date

from registry.drift import Kind
from service.schemas.base import ReadSchema


class DriftDay(ReadSchema):
    """What was answered on one day, in UTC. Of each request the first image counts."""

    day: date
    n: int
    """Requests."""
    unknown: float | None
    """Share that looks like no known class; null of no request."""
    score: float | None
    """Mean score of the best class."""
    novelty: list[float]
    """Novelty below which a quarter, a half and three quarters are, to 0.01; empty of no request."""
    classes: dict[str, float]
    """Share of each class that was answered, as it is called now; those answered most, ten at most."""


class DriftChange(ReadSchema):
    """Something that is different in the last days, by more than chance explains."""

    kind: Kind
    since: date
    """First day of those that are different."""
    days: int
    """Whole days that are compared with the 21 before them."""
    label: str | None
    """Of `classes` the class whose share changed most; null else."""
    before: float
    """Share of unknown images, median novelty, or share of the class."""
    now: float
    n_before: int
    """Requests."""
    n_now: int
    chance: float
    """How likely chance alone does as much."""
    new_version: bool
    """Whether versions answered that did not before: they may be why."""
    sentence: str


class DriftRead(ReadSchema):
    """Whether the images that a learner is asked about look different than before."""

    learner: str
    today: date
    """In UTC. It is not over, so it is shown and not compared."""
    days: list[DriftDay]
    """The last 28 days and today, oldest first; of days without a stored prediction `n` is 0."""
    reference: DriftDay | None
    """The 21 days before the last seven together, with the first of them; null if nothing is stored of them."""
    changes: list[DriftChange]
    """The surest first; empty where nothing is different, or too little is stored to tell."""
