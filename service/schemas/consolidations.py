"""Schemas of consolidations: the training that waits until it is quiet."""

from typing import Any, Literal

from registry.tables import CONSOLIDATED_STAGE
from service.labels import ShortText
from service.schemas.base import ReadSchema, RequestSchema

Stage = Literal["learned", "consolidated"]


def stage_of(stage: str) -> Stage:
    """Return the stage of a version, as rows have it."""
    return "consolidated" if stage == CONSOLIDATED_STAGE else "learned"


class ConsolidationCreate(RequestSchema):
    """A consolidation to ask for."""

    name: ShortText | None = None
    """For your own orientation."""


class ConsolidationRead(ReadSchema):
    """What a task of mode `consolidate` is of, and what it came to."""

    tasks: list[int] | None
    """Indexes of the tasks whose images it trains on; null until a worker has it: then all that wait."""
    by_hand: bool
    """Whether somebody has asked for it, so that it waits for neither quiet nor hours."""
    standing: str
    """How it stands, in plain words: what it waits for, how far it is, or how it ended."""
    adopted: bool | None
    """Whether what it trained is used from now on; null until it was judged."""
    reason: str | None
    """Why so, in plain words."""
    images: int | None
    """How many it trained on."""
    seconds: float | None
    """How long it took."""
    details: dict[str, Any]
    """What was measured; with `artsy` `gain`, by how much images that it never saw are answered better, and its
    `standard_error`."""


class LearnerConsolidation(ReadSchema):
    """How far what a learner has learned has been consolidated."""

    stage: Stage
    """Of the head: `learned`, its classes are answered; `consolidated`, its images have also shaped the features."""
    waiting: list[int]
    """Indexes of the tasks whose images have not shaped the features yet. Their classes are answered already."""
    task_id: str | None
    """The consolidation that waits or runs, or else the last one; `GET /v1/tasks/{id}` follows it. Null before the
    first."""
    status: str | None
    """Of that consolidation, as tasks have it."""
    standing: str
    """All of this in plain words."""
