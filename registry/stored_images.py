"""Which stored images a prediction job may be of: those kept with predictions, and those of tasks.

A job names them and keeps none: what is deleted before it is predicted is gone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, true, tuple_
from sqlalchemy.orm import Session

from registry.tables import FeedbackRow, PredictionImageRow, PredictionRow, SampleRow, TaskRow

_ANSWER: Any = PredictionRow.results[PredictionImageRow.index]
"""Of the image of a prediction."""
_KEPT_OF_ANSWERS = ("label", "score", "known")


@dataclass(frozen=True)
class NewJobImage:
    """An image of a job that is to be added."""

    name: str
    blob_sha256: str | None = None
    """Of an uploaded image. Its blob lies in the store already."""
    prediction_id: str | None = None
    prediction_index: int | None = None
    sample_id: str | None = None
    before: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None
    """Why it cannot be predicted, if that is known already: `{code, detail}`."""


@dataclass(frozen=True)
class StoredImages:
    """Which stored images of a learner a job is of; what is None does not matter."""

    label: str | None = None
    """Answered, or taught."""
    known: bool | None = None
    """Of predictions: whether the image looked like a class."""
    feedback: bool | None = None
    """Of predictions: whether somebody said what it shows."""
    version: int | None = None
    """Of predictions: which answered."""
    since: datetime | None = None
    """Of predictions: answered at this time or later."""
    until: datetime | None = None
    """Of predictions: answered before it."""
    task: int | None = None
    """Of samples: index of their task."""
    split: str | None = None
    """Of samples."""


def find_predicted(
    session: Session, learner_id: str, wanted: StoredImages, *, limit: int
) -> list[NewJobImage]:
    """Return images that were kept with predictions of a learner, newest first, each with what was answered."""
    given = select(FeedbackRow.index).where(
        FeedbackRow.prediction_id == PredictionImageRow.prediction_id,
        FeedbackRow.index == PredictionImageRow.index,
    )
    # Of a request's images each is looked at; the columns of the request, which have an index, come first.
    conditions: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
        (wanted.label, lambda label: PredictionRow.labels.contains([label])),
        (wanted.label, lambda label: _ANSWER["label"].astext == label),
        (wanted.known, lambda known: true() if known else PredictionRow.has_unknown),
        (wanted.known, lambda known: _ANSWER["known"].as_boolean() == known),
        (wanted.feedback, lambda feedback: given.exists() == feedback),
        (wanted.version, lambda version: PredictionRow.version == version),
        (wanted.since, lambda since: PredictionRow.created_at >= since),
        (wanted.until, lambda until: PredictionRow.created_at < until),
    )
    query = (
        _predicted(learner_id)
        .where(*(condition(value) for value, condition in conditions if value is not None))
        .order_by(
            PredictionRow.created_at.desc(), PredictionRow.id.desc(), PredictionImageRow.index
        )
        .limit(limit)
    )
    return [_of_prediction(*row) for row in session.execute(query)]


def pick_predicted(
    session: Session, learner_id: str, keys: Sequence[tuple[str, int]]
) -> list[NewJobImage]:
    """Return images of predictions by id and index, in that order; those that are not there are left out."""
    place = tuple_(PredictionImageRow.prediction_id, PredictionImageRow.index)
    rows = session.execute(_predicted(learner_id).where(place.in_(keys)))
    images = {(row[0], row[1]): _of_prediction(*row) for row in rows}
    return [images[key] for key in dict.fromkeys(keys) if key in images]


def find_taught(
    session: Session, learner_id: str, wanted: StoredImages, *, limit: int
) -> list[NewJobImage]:
    """Return images that a learner learned from or that are held out, by task, each with its label."""
    conditions = (
        (wanted.label, SampleRow.label == wanted.label),
        (wanted.task, TaskRow.index == wanted.task),
        (wanted.split, SampleRow.split == wanted.split),
    )
    query = (
        _taught(learner_id)
        .where(*(condition for value, condition in conditions if value is not None))
        .order_by(TaskRow.index, SampleRow.position)
        .limit(limit)
    )
    return [_of_sample(*row) for row in session.execute(query)]


def pick_taught(session: Session, learner_id: str, ids: Sequence[str]) -> list[NewJobImage]:
    """Return images of tasks by the ids of their samples, in that order; those that are not there are left out."""
    rows = session.execute(_taught(learner_id).where(SampleRow.id.in_(ids)))
    images = {row[0]: _of_sample(*row) for row in rows}
    return [images[sample_id] for sample_id in dict.fromkeys(ids) if sample_id in images]


def _predicted(learner_id: str) -> Any:
    return (
        select(
            PredictionImageRow.prediction_id,
            PredictionImageRow.index,
            PredictionRow.version,
            _ANSWER,
        )
        .join(PredictionRow, PredictionRow.id == PredictionImageRow.prediction_id)
        .where(PredictionRow.learner_id == learner_id)
    )


def _of_prediction(
    prediction_id: str, index: int, version: int, answer: Mapping[str, Any] | None
) -> NewJobImage:
    said = {key: answer[key] for key in _KEPT_OF_ANSWERS if key in answer} if answer else {}
    name = (answer or {}).get("filename") or f"{prediction_id}/{index}"
    return NewJobImage(
        name,
        prediction_id=prediction_id,
        prediction_index=index,
        before={**said, "version": version},
    )


def _taught(learner_id: str) -> Any:
    return (
        select(SampleRow.id, SampleRow.label, SampleRow.filename)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(TaskRow.learner_id == learner_id, SampleRow.quarantine.is_(None))
    )


def _of_sample(sample_id: str, label: str, filename: str | None) -> NewJobImage:
    return NewJobImage(filename or sample_id, sample_id=sample_id, before={"label": label})
