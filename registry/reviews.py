"""Review: the kept images of a learner's predictions that wait for a person's word, most useful first.

Every kept image has a row here, which goes with it. It waits until somebody says what it shows (`registry.feedback`) or
discards it, and again when that is taken back.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from registry.tables import ReviewRow
from registry.usefulness import MOST_TOP, WORTH, Reason, reason_of

Key = tuple[str, int]
"""Of a kept image: id of its prediction, and index of its result."""
KEY = (ReviewRow.prediction_id, ReviewRow.index)


@dataclass(frozen=True)
class Look:
    """What is kept of how an image looks."""

    small: bytes | None = None
    """See `ReviewRow.small`."""
    features: bytes | None = None
    """Float16."""
    features_of: str | None = None
    """What made them."""


@dataclass(frozen=True)
class NewReview:
    """What there is to say about an image that is about to be kept."""

    prediction_id: str
    index: int
    learner_id: str
    version: int
    answered_at: datetime
    result: Mapping[str, Any]
    """Its answer, with `label`, `score`, `novelty`, `known` and `top`."""
    look: Look


@dataclass(frozen=True)
class Wanted:
    """Which waiting images are asked for; what is None does not matter."""

    label: str | None = None
    """Answered so."""
    known: bool | None = None
    """Whether it looks like a class."""
    min_score: float | None = None
    max_score: float | None = None
    min_novelty: float | None = None
    max_novelty: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    version: int | None = None
    """Which answered it last."""
    sure: bool = False
    """Whether those count too that are not worth a look."""


@dataclass(frozen=True)
class Waiting:
    """An image that waits for a word."""

    prediction_id: str
    index: int
    version: int
    top: list[dict[str, Any]]
    label: str
    score: float
    novelty: float
    is_known: bool
    below: float | None
    without: str | None
    other_label: str | None
    other_version: int | None
    usefulness: float
    filename: str | None
    small: bytes | None
    features: bytes | None
    features_of: str | None
    answered_at: datetime

    @property
    def key(self) -> Key:
        """What names it."""
        return self.prediction_id, self.index

    @property
    def reason(self) -> Reason:
        """Why it is shown."""
        return reason_of(
            self.top,
            novelty=self.novelty,
            is_known=self.is_known,
            below=self.below,
            without=self.without,
            other_label=self.other_label,
            other_version=self.other_version,
        )


COLUMNS = [getattr(ReviewRow, field.name) for field in fields(Waiting)]


def add(session: Session, new: Sequence[NewReview]) -> None:
    """Add what there is to say about images, in the transaction that keeps them."""
    if new:
        session.execute(insert(ReviewRow), [_values(one) for one in new])


def _values(new: NewReview) -> dict[str, Any]:
    answer = _answer(new.result)
    answer["usefulness"] = _reason(answer, None, None).usefulness
    return {
        "prediction_id": new.prediction_id,
        "index": new.index,
        "learner_id": new.learner_id,
        "version": new.version,
        "answered_at": new.answered_at,
        "filename": new.result.get("filename"),
        **answer,
        **_look(new.look, answer["usefulness"]),
    }


def _answer(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the columns say of an answer."""
    top = result.get("top") or [result]
    without = ((result.get("route") or {}).get("without") or {}).get("label")
    return {
        "top": [{"label": each["label"], "score": each["score"]} for each in top[:MOST_TOP]],
        "label": result["label"],
        "score": result["score"],
        "novelty": result.get("novelty", 0.0),
        "is_known": result.get("known", True),
        "below": result.get("below"),
        "without": without if without != result["label"] else None,
    }


def _reason(
    answer: Mapping[str, Any], other_label: str | None, other_version: int | None
) -> Reason:
    return reason_of(
        answer["top"],
        novelty=answer["novelty"],
        is_known=answer["is_known"],
        below=answer["below"],
        without=answer["without"],
        other_label=other_label,
        other_version=other_version,
    )


def _look(look: Look, usefulness: float) -> dict[str, Any]:
    """Return the columns of a look. Features are kept only of what is worth a look: they tell about the image."""
    keeps = usefulness >= WORTH and look.features is not None
    return {
        "small": look.small,
        "features": look.features if keeps else None,
        "features_of": look.features_of if keeps else None,
    }


def answer_again(
    session: Session,
    version: int,
    answers: Mapping[Key, tuple[Mapping[str, Any], Look | None]],
) -> None:
    """Note what a version answered to kept images later, with how they look if that was found out too.

    The newest version's answer is the one that is reviewed. What two versions say otherwise is noted only where both
    took the image for a class: that a newer one knows what an older one did not is no disagreement.
    """
    if not answers:
        return
    query = select(ReviewRow).where(tuple_(*KEY).in_(list(answers))).order_by(*KEY)
    for row in session.scalars(query.with_for_update()):
        result, look = answers[row.prediction_id, row.index]
        answer = _answer(result)
        if version < row.version:
            _disagree(row, answer["label"] if answer["is_known"] else None, version)
        else:
            _take_over(row, version, answer, keeps_without="route" not in result)
        kept = {name: getattr(row, name) for name in answer}
        row.usefulness = _reason(kept, row.other_label, row.other_version).usefulness
        if look is not None and version == row.version:
            for name, value in _look(look, row.usefulness).items():
                setattr(row, name, value)
    session.flush()


def _take_over(
    row: ReviewRow, version: int, answer: Mapping[str, Any], *, keeps_without: bool
) -> None:
    """Let an answer be the one that is reviewed."""
    before, known_before, is_newer = row.label, row.is_known, version > row.version
    without = row.without
    for name, value in answer.items():
        setattr(row, name, value)
    if keeps_without and not is_newer:
        row.without = without
    if is_newer:
        _disagree(row, before if known_before else None, row.version)
    row.version = version


def _disagree(row: ReviewRow, label: str | None, version: int) -> None:
    """Note what another version said, where both took the image for a class, and not for the same."""
    disagrees = label is not None and label != row.label and row.is_known
    row.other_label = label if disagrees else None
    row.other_version = version if disagrees else None


def count_waiting(session: Session, learner_id: str, *, most: int) -> int:
    """Return how many images wait that are worth a look; no more than `most` are counted."""
    waiting = select(ReviewRow.index).where(*_conditions(learner_id, Wanted())).limit(most)
    return session.scalars(select(func.count()).select_from(waiting.subquery())).one()


def list_waiting(session: Session, learner_id: str, wanted: Wanted, *, limit: int) -> list[Waiting]:
    """Return images that wait for a word, most useful first, then newest."""
    query = (
        select(*COLUMNS)
        .where(*_conditions(learner_id, wanted))
        .order_by(
            ReviewRow.usefulness.desc(), ReviewRow.prediction_id.desc(), ReviewRow.index.desc()
        )
        .limit(limit)
    )
    return [Waiting(*row) for row in session.execute(query)]


def _conditions(learner_id: str, wanted: Wanted) -> list[ColumnElement[bool]]:
    asked: tuple[tuple[Any, Any, Callable[[Any, Any], ColumnElement[bool]]], ...] = (
        (wanted.label, ReviewRow.label, operator.eq),
        (wanted.known, ReviewRow.is_known, operator.eq),
        (wanted.min_score, ReviewRow.score, operator.ge),
        (wanted.max_score, ReviewRow.score, operator.le),
        (wanted.min_novelty, ReviewRow.novelty, operator.ge),
        (wanted.max_novelty, ReviewRow.novelty, operator.le),
        (wanted.since, ReviewRow.answered_at, operator.ge),
        (wanted.until, ReviewRow.answered_at, operator.lt),
        (wanted.version, ReviewRow.version, operator.eq),
    )
    conditions = [ReviewRow.learner_id == learner_id, ReviewRow.settled.is_(None)]
    if not wanted.sure:
        conditions.append(ReviewRow.usefulness >= WORTH)
    narrowed = (compare(column, value) for value, column, compare in asked if value is not None)
    return [*conditions, *narrowed]


def settle(
    session: Session, keys: Collection[Key], how: str | None, *, act: str | None = None
) -> None:
    """Let images wait no more, for one of `SETTLED`, or again."""
    session.execute(
        update(ReviewRow)
        .where(tuple_(*KEY).in_(sorted(keys)))
        .values(settled=how, act=act)
        .execution_options(synchronize_session=False)
    )
