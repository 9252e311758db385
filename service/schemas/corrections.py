"""Corrections: which images show another class, or none."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from service.labels import KnownLabel, ShortText
from service.schemas.base import MAX_INT, PublicId, RequestSchema

MOST_CHANGES = 1_000
"""Images in one correction: they are read and passed through the backbone together. Chosen, untested."""


class ImageChange(RequestSchema):
    """What one stored image shows."""

    sample: PublicId
    """Id of the image."""
    to: KnownLabel | None
    """Label or name of the class that it shows; null takes it out."""


class CorrectionCreate(RequestSchema):
    """What is wrong with the images a learner has learned, or which correction is to be taken back."""

    changes: list[ImageChange] = Field(default_factory=list, max_length=MOST_CHANGES)
    """Each image at most once. What it shows already changes nothing."""
    undo: PublicId | None = None
    """Id of the task of a correction: its images show again what they did before, but for those that were changed
    again since. Instead of `changes`."""
    name: ShortText | None = None
    """For your own orientation."""
    expected_head_version: Annotated[int, Field(ge=0, le=MAX_INT)] | None = None
    """Refuse with 409 if the learner has moved on."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if bool(self.changes) == (self.undo is not None):
            raise PydanticCustomError("one_of_both", "Send `changes` or `undo`.")
        if len({change.sample for change in self.changes}) < len(self.changes):
            raise PydanticCustomError("image_twice", "Name each image once.")
        return self
