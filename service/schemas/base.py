"""Bases and types that all schemas share."""

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

ItemT = TypeVar("ItemT")

MAX_INT = 2**31 - 1
"""Largest value of PostgreSQL's `integer`."""

LEARNER_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
PUBLIC_ID = r"^[a-z]{3}_[0-9a-z]{8,40}$"
LearnerName = Annotated[str, StringConstraints(pattern=LEARNER_NAME, max_length=63)]
VersionNumber = Annotated[int, Field(ge=1, le=MAX_INT)]
PublicId = Annotated[str, StringConstraints(pattern=PUBLIC_ID, max_length=44)]


class RequestSchema(BaseModel):
    """Base of what comes in: unknown fields are refused, numbers are finite."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        str_max_length=100_000_000,
        use_attribute_docstrings=True,
    )


class EncodedImage(RequestSchema):
    """An image inside JSON."""

    base64: str
    filename: Annotated[str, StringConstraints(max_length=5000)] | None = None


class ReadSchema(BaseModel):
    """Base of what goes out; reads attributes of rows."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class Page(ReadSchema, Generic[ItemT]):
    """One page of a list."""

    items: list[ItemT]
    next_cursor: str | None = None
    """Send it as `cursor` for the next page; null on the last."""


# A page of something inherits what its fields say. Pydantic would look for its source all the same, in vain and
# through every module that is loaded: a third of what importing the service costs.
Page.model_config["use_attribute_docstrings"] = False


class FieldErrorRead(ReadSchema):
    """One thing that is wrong, and where."""

    pointer: str
    detail: str


class ProblemRead(ReadSchema):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool
    errors: list[FieldErrorRead] = Field(default_factory=list)


class Problematic(ReadSchema):
    """The problem of one image of several."""

    code: str
    detail: str


Metadata = dict[Annotated[str, StringConstraints(max_length=100)], Any]
Time = datetime
