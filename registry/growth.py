"""Growing a class: which images of a batch the learner has already, on which side, and how many of each class.

An image is the same if its pixels are once it is decoded, or if it came as the same file. Images of tasks that failed,
were cancelled or are superseded are not there, nor are those that were deleted; but an image of a published task stays
on the side it was on, even while the task is superseded.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Row, Text, any_, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from registry import unlearning
from registry.statuses import COUNTING, LEARNED
from registry.tables import LearnerRow, SampleRow, TaskRow
from registry.tasks import known_labels


@dataclass(frozen=True)
class ClassSize:
    """How many different images a learner has of a class."""

    n_images: int = 0
    n_held_out: int = 0
    """Those of them that are never learned."""


@dataclass(frozen=True)
class ImageKey:
    """What tells an image of a batch from others."""

    label: str
    blob_sha256: str
    source_sha256: str | None = None
    """The file as it was sent; None for an image of feedback."""


@dataclass(frozen=True)
class EarlierImages:
    """What a learner has, or is about to have, of the images and classes of a batch."""

    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Blob of each image that is there: the labels it is there under."""
    known: frozenset[tuple[str, str]] = frozenset()
    """Label and blob of each image that need not be learned again."""
    blanks: frozenset[str] = frozenset()
    """Blobs of images that are there, but not used."""
    sides: Mapping[str, str] = field(default_factory=dict)
    """Blob of each image that was ever published or is about to be: `train` or `eval`, where it was first."""
    classes: frozenset[str] = frozenset()
    """Labels that are known."""
    sizes: Mapping[str, ClassSize] = field(default_factory=dict)
    """By label, of those of the batch that have images."""


def find_earlier_images(
    session: Session, learner: LearnerRow, images: Sequence[ImageKey]
) -> EarlierImages:
    """Return what a learner has of some images and their classes. Locked, it stays so until the transaction ends.

    What a waiting task is to unlearn need not be there any more, so it is learned again when it comes again.
    """
    sources = {image.source_sha256: image.blob_sha256 for image in images if image.source_sha256}
    blobs = {image.blob_sha256 for image in images}
    going = unlearning.waiting(session, learner.id)
    labels: dict[str, list[str]] = defaultdict(list)
    known: set[tuple[str, str]] = set()
    blanks: set[str] = set()
    sides: dict[str, str] = {}
    for row in _find(session, learner.id, blobs, list(sources)):
        blob = row.blob_sha256
        if blob not in blobs:
            blob = sources[row.source_sha256]
        is_there = row.status in COUNTING
        if row.quarantine is None:
            sides.setdefault(blob, row.split)
        elif is_there:
            blanks.add(blob)
        if is_there and row.quarantine is None:
            labels[blob].append(row.label)
            if not any(_takes(task, row.task_index, row.label) for task in going):
                known.add((row.label, blob))
    leaving = {label for task in going for label in task.options["classes"]}
    return EarlierImages(
        labels=labels,
        known=frozenset(known),
        blanks=frozenset(blanks),
        sides=sides,
        classes=frozenset(known_labels(session, learner) - leaving),
        sizes=_sizes(session, learner.id, {image.label for image in images}),
    )


def _find(
    session: Session, learner_id: str, blobs: Collection[str], sources: Collection[str]
) -> Sequence[Row[str, str | None, str, str, str | None, int, str]]:
    """Return the samples that hold one of some images, oldest task first."""
    query = (
        select(
            SampleRow.blob_sha256,
            SampleRow.source_sha256,
            SampleRow.label,
            SampleRow.split,
            SampleRow.quarantine,
            TaskRow.index.label("task_index"),
            TaskRow.status,
        )
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.status.in_(COUNTING | LEARNED),
            # Arrays: as single parameters the thousands that a batch may bring would be too many for a statement.
            or_(
                SampleRow.blob_sha256 == any_(cast(list(blobs), ARRAY(Text))),
                SampleRow.source_sha256 == any_(cast(list(sources), ARRAY(Text))),
            ),
        )
        .order_by(TaskRow.index, SampleRow.position)
    )
    return session.execute(query).all()


def _takes(unlearning_task: TaskRow, index: int, label: str) -> bool:
    """Whether a waiting task takes away what an earlier one brought of a class."""
    options = unlearning_task.options
    named = index in options["tasks"] or label in options["classes"]
    return index < unlearning_task.index and named


def _sizes(session: Session, learner_id: str, labels: Collection[str]) -> dict[str, ClassSize]:
    different = func.count(SampleRow.blob_sha256.distinct())
    query = (
        select(SampleRow.label, different, different.filter(SampleRow.split == "eval"))
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.status.in_(COUNTING),
            SampleRow.label == any_(cast(list(labels), ARRAY(Text))),
            SampleRow.quarantine.is_(None),
        )
        .group_by(SampleRow.label)
    )
    return {label: ClassSize(n, held_out) for label, n, held_out in session.execute(query)}
