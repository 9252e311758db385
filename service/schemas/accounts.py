"""Schemas of why an image was answered as it was."""

from typing import Literal

from pydantic import Field

from service.schemas.base import ReadSchema
from service.schemas.predictions import ScoredLabel


class SynapseAccount(ReadSchema):
    """One task's synapse for the image, and what the answer would be were it the other way round."""

    task: int
    current: float
    threshold: float
    state: Literal["functional", "silent"]
    can_fire: bool
    """Whether a current can reach the threshold at all. A sub-network that has not earned its pass never fires."""
    otherwise: ScoredLabel | None
    """The answer were it silent instead of functional, or functional instead of silent. Null of a synapse that can
    never fire, and of silent ones beyond the eight with the highest currents."""
    score_otherwise: float | None
    """Of the class that was answered, likewise."""


class HeadAccount(ReadSchema):
    """One of the classifiers that answer together, before any sub-network is asked."""

    name: str
    share: float
    """How much it counts in the mixture; the shares add up to 1."""
    label: str
    """What it would answer alone."""
    score: float
    of_answer: float
    """What it gives the class that was answered."""


class StoredAnswer(ReadSchema):
    """What the stored prediction says of the image."""

    label: str
    score: float


class AccountRead(ReadSchema):
    """Why an image is answered as it is, by the version that answered it."""

    learner: str
    version: int
    live_version: int
    """Another one may answer by now."""
    prediction: str | None
    """Id of the stored prediction; null for a posted image."""
    index: int
    label: str
    score: float
    known: bool
    novelty: float
    """Share of known images that look more familiar."""
    novelty_threshold: float
    """Novelty above which an image counts as not known."""
    min_score: float
    """What the class counts as known from, as it is set now; 0 where nothing is."""
    top: list[ScoredLabel]
    passes: int
    """Forwards of the backbone."""
    functional: ScoredLabel
    """What the functional sub-network alone answers: no synapse has fired."""
    synapses: list[SynapseAccount]
    heads: list[HeadAccount]
    """Empty where one classifier answers."""
    stored: StoredAnswer | None
    """Null for a posted image. Its score is the same but for rounding, unless classes were hidden since."""
    sentences: list[str] = Field(default_factory=list)
    """All of it in plain words."""


class HeatRead(ReadSchema):
    """Which places of an image speak for its answer."""

    learner: str
    version: int
    prediction: str
    index: int
    label: str
    """What was answered."""
    score: float
    least_score: float
    """What is left of the score where the place that matters most is covered."""
    cells: list[list[float]]
    """Row by row from the top of the square that the learner looks at, the middle of the image: the mean loss of log
    odds while a cell is covered. Below 0 it speaks against the answer."""
    sentence: str
    """The same in plain words."""
