"""What a version takes images for: pairs of classes, counted when it was measured and where people said so since.

Versions keep counts by task, true label and answered label. Nothing is asked of a model here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session

from registry.class_accuracy import Confusion
from registry.measures import Measure, share
from registry.tables import FeedbackRow, PredictionRow, SampleRow, TaskRow, VersionRow

Pair = tuple[str, str]
"""True label and answered label."""


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were answered as another."""

    true: str
    answered: str
    n: int
    """Images that were held out, or left out in turn."""
    share: Measure | None
    """Of those of the true class; None where none was measured."""
    n_said: int
    """Images of predictions by this version that people said show the true class."""


@dataclass(frozen=True)
class Confusions:
    """All that a version was measured on, or was told since, as pairs. Labels are as they were learned."""

    classes: Sequence[str]
    """In the order they were learned."""
    measured: Mapping[Pair, int]
    """Images that were held out or left out in turn, those answered right too."""
    totals: Mapping[str, int]
    """Of these, by true label."""
    cross_validated: Mapping[str, int]
    """Of these, those that were left out in turn."""
    said: Mapping[Pair, int] = field(default_factory=dict)
    """Images of predictions that a person has named or confirmed, by what they said and what was answered."""

    @property
    def n(self) -> int:
        """Images it was measured on."""
        return sum(self.totals.values())

    def share(self, true: str, answered: str) -> Measure | None:
        """Return how much of a class is answered as one, the same or another; None where none was measured."""
        n = self.totals.get(true, 0)
        return share(self.measured.get((true, answered), 0), n, self.cross_validated.get(true, 0))

    def pairs(self, label: str | None = None) -> list[ConfusedPair]:
        """Return the pairs that were confused, the most images first; of a label those on either side of it."""
        keys = {pair for pair in (*self.measured, *self.said) if pair[0] != pair[1]}
        found = [
            ConfusedPair(
                true,
                answered,
                self.measured.get((true, answered), 0),
                self.share(true, answered),
                self.said.get((true, answered), 0),
            )
            for true, answered in keys
            if label is None or label in (true, answered)
        ]
        return sorted(found, key=_most)


def _most(pair: ConfusedPair) -> tuple[float, float, str, str]:
    of_class = pair.share.value if pair.share else 0.0
    return -(pair.n + pair.n_said), -of_class, pair.true, pair.answered


def of_version(session: Session, learner_id: str, row: VersionRow) -> Confusions:
    """Return what a version takes images for. One query."""
    return counted(
        row.classes,
        row.metrics.get("confusion", {}),
        row.metrics.get("cross_validated", {}),
        said(session, learner_id, row.number),
    )


def counted(
    classes: Sequence[str],
    confusion: Confusion,
    cross_validated: Mapping[str, Mapping[str, int]],
    said: Mapping[Pair, int],
) -> Confusions:
    """Add up what was counted task by task.

    Example:
        >>> found = counted(["heron", "egret"], {"1": {"heron": {"heron": 3, "egret": 1}}}, {}, {})
        >>> [(pair.true, pair.answered, pair.n, pair.share.value) for pair in found.pairs()]
        [('heron', 'egret', 1, 0.25)]
    """
    measured: Counter[Pair] = Counter()
    totals: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for by_label in confusion.values():
        for true, answers in by_label.items():
            for answered, n in answers.items():
                measured[true, answered] += n
                totals[true] += n
    for by_true in cross_validated.values():
        left_out.update(by_true)
    return Confusions(classes, measured, totals, left_out, said)


def said(session: Session, learner_id: str, version: int) -> dict[Pair, int]:
    """Count what people said of images that a version answered, by what they said and what it answered."""
    answered = func.jsonb_extract_path_text(
        PredictionRow.results, cast(FeedbackRow.index, String), "label"
    )
    query = (
        select(FeedbackRow.label, answered, func.count())
        .join(PredictionRow, PredictionRow.id == FeedbackRow.prediction_id)
        .where(PredictionRow.learner_id == learner_id, PredictionRow.version == version)
        .group_by(FeedbackRow.label, answered)
    )
    return {(label, label_answered): n for label, label_answered, n in session.execute(query)}


@dataclass(frozen=True)
class SaidImage:
    """An image of a prediction that a person has said a word about."""

    prediction_id: str
    index: int
    score: float


def said_images(
    session: Session, learner_id: str, version: int, true: str, answered: str, *, limit: int
) -> list[SaidImage]:
    """Return images that a version answered with one class and of which people said another, the newest first."""
    label = func.jsonb_extract_path_text(
        PredictionRow.results, cast(FeedbackRow.index, String), "label"
    )
    query = (
        select(FeedbackRow.prediction_id, FeedbackRow.index, PredictionRow.results)
        .join(PredictionRow, PredictionRow.id == FeedbackRow.prediction_id)
        .where(
            PredictionRow.learner_id == learner_id,
            PredictionRow.version == version,
            FeedbackRow.label == true,
            label == answered,
        )
        .order_by(PredictionRow.created_at.desc(), PredictionRow.id.desc(), FeedbackRow.index)
        .limit(limit)
    )
    return [
        SaidImage(prediction_id, index, float(results[index]["score"]))
        for prediction_id, index, results in session.execute(query)
    ]


@dataclass(frozen=True)
class ClassImage:
    """An image that was taught as a class."""

    sample_id: str
    task_index: int
    blob_sha256: str
    filename: str | None
    side: int
    """The longer one, in pixels."""


def images_of_class(
    session: Session,
    learner_id: str,
    tasks: Sequence[int],
    label: str,
    *,
    split: str = "eval",
    limit: int,
) -> list[ClassImage]:
    """Return images of a class among some tasks, in the order they came: held out (`eval`), or to learn from."""
    query = (
        select(SampleRow, TaskRow.index)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.index.in_(tasks),
            SampleRow.split == split,
            SampleRow.label == label,
            SampleRow.quarantine.is_(None),
        )
        .order_by(TaskRow.index, SampleRow.position)
        .limit(limit)
    )
    return [
        ClassImage(row.id, index, row.blob_sha256, row.filename, max(row.width, row.height))
        for row, index in session.execute(query)
    ]
