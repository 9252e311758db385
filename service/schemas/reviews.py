"""Schemas of review: images that wait for a person's word."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.labels import Label
from service.schemas.base import MAX_INT, PublicId, ReadSchema, RequestSchema, Time

MOST_IMAGES = 1000
"""Images that are settled in one request: as many as are put together at once."""
Why = Literal["unknown", "below", "versions", "synapse", "between", "unsure", "sure"]


class ReviewImageRef(RequestSchema):
    """A kept image."""

    prediction: PublicId
    """Id of the prediction."""
    index: Annotated[int, Field(ge=0, le=MAX_INT)] = 0
    """Of the result."""


class ReviewCreate(RequestSchema):
    """What is to be settled of some images: one of `label`, `confirm` and `discard`."""

    images: Annotated[list[ReviewImageRef], Field(min_length=1, max_length=MOST_IMAGES)]
    label: Label | None = None
    """What they show: a class by its label or name, or a new one."""
    confirm: bool = False
    """They show what was answered."""
    discard: bool = False
    """Nobody is to be asked about them again."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.label is not None) + self.confirm + self.discard != 1:
            raise PydanticCustomError("one_of", "Send one of `label`, `confirm` and `discard`.")
        return self


class ScoredClass(ReadSchema):
    """A class and its calibrated probability."""

    label: str
    score: float


class ReviewImage(ReadSchema):
    """A kept image."""

    prediction: str
    """Id of the prediction."""
    index: int
    """Of the result."""


class ReviewItem(ReadSchema):
    """Images that one word settles, and the one that stands for all of them."""

    prediction: str
    """Id of the prediction whose image stands for all."""
    index: int
    """Of its result."""
    why: Why
    """Why a word about it is useful: it looks like nothing known (`unknown`), its class needs a higher score (`below`),
    versions disagree (`versions`), a sub-network changed the answer (`synapse`), two classes are close (`between`), or
    the score is low (`unsure`). `sure` is none of these."""
    detail: str
    """The same in a few words, with the classes."""
    usefulness: float
    """How useful a word about it is, in `[0, 1]`; from 0.5 on it is worth a look."""
    label: str
    """What was answered."""
    score: float
    novelty: float
    known: bool
    """False if it looks like none of the classes."""
    top: list[ScoredClass]
    """The best classes, five at most."""
    version: int
    """Which answered it last."""
    filename: str | None
    duplicates: int
    """Near-duplicates of it among `images`."""
    cluster: bool
    """Whether others among `images` look like it without being near-duplicates."""
    images: list[ReviewImage]
    """All of them, this one first."""
    created_at: Time
    """When it was answered first."""


class ReviewActRead(ReadSchema):
    """What an act has settled, or taken back."""

    id: str
    """Takes it back."""
    images: int
    """How many images it settled, or lets wait again."""
    left_out: int
    """How many were named that do not wait: they are settled already, gone, or of another learner."""
    waiting: int
    """How many images worth a look wait now; 10,000 may be more."""
