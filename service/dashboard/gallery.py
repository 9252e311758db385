"""The classes of a learner as pictures: what each looks like, where it comes from, how well it is known."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry import class_accuracy, learners
from registry.learners import ClassInfo
from registry.tables import LearnerRow, SampleRow, TaskRow, VersionRow
from service.dashboard.shown import TINY_SIDE, SampleView

CLASSES_SHOWN = 24
IMAGES_SHOWN = 4
"""Pictures of a class."""


@dataclass(frozen=True)
class ClassCard:
    """A class, with pictures of it."""

    label: str
    """As it was learned."""
    name: str
    """As answers call it."""
    is_hidden: bool
    """Whether predictions never answer it."""
    task_index: int
    n_train: int
    n_eval: int
    accuracy_learned: float | None
    """Share of its held-out images that were recognised when it was learned."""
    n_learned: int
    """How many images that is a share of."""
    accuracy_now: float | None
    """The same with the live version."""
    n_now: int
    """How many images that is a share of."""
    samples: list[SampleView]


@dataclass(frozen=True)
class Gallery:
    """A page of classes."""

    classes: list[ClassCard]
    page: int
    n_pages: int
    n_found: int
    """Classes on all pages."""


def gallery(session: Session, learner_name: str, *, search: str = "", page: int = 1) -> Gallery:
    """Return a page of the classes of the live version, in the order they were learned.

    Args:
        session: Database session.
        learner_name: Public name of the learner.
        search: Only classes with this in their label or name, in whatever case.
        page: From 1; the last one for a higher number.

    Raises:
        LearnerNotFoundError: If there is none of this name.
    """
    learner = learners.get_learner(session, learner_name)
    wanted = search.casefold()
    found = [
        info
        for info in learners.class_table(session, learner)
        if wanted in info.label.casefold() or wanted in info.name.casefold()
    ]
    n_pages = max(1, -(-len(found) // CLASSES_SHOWN))
    page = min(page, n_pages)
    shown = found[(page - 1) * CLASSES_SHOWN : page * CLASSES_SHOWN]
    return Gallery(_cards(session, learner, shown), page, n_pages, len(found))


def pictures(
    session: Session, learner_id: str, labels: Collection[str], *, each: int
) -> dict[str, list[SampleView]]:
    """Return up to `each` stored images of some labels that the live version knows, those to learn from first."""
    live = learners.live_version(session, learner_id)
    known = select(func.unnest(VersionRow.tasks)).where(
        VersionRow.learner_id == learner_id, VersionRow.number == live
    )
    rank = (
        func.row_number()
        .over(
            partition_by=SampleRow.label,
            order_by=(SampleRow.split.desc(), TaskRow.index, SampleRow.position),
        )
        .label("rank")
    )
    ranked = (
        select(SampleRow.id, rank)
        .join(TaskRow, TaskRow.id == SampleRow.task_id)
        .where(
            TaskRow.learner_id == learner_id,
            TaskRow.index.in_(known),
            SampleRow.label.in_(labels),
            SampleRow.quarantine.is_(None),
        )
        .subquery()
    )
    query = (
        select(SampleRow.id, SampleRow.label, SampleRow.width, SampleRow.height)
        .join(ranked, ranked.c.id == SampleRow.id)
        .where(ranked.c.rank <= each)
        .order_by(SampleRow.label, ranked.c.rank)
    )
    found: dict[str, list[SampleView]] = {}
    for row in session.execute(query):
        is_tiny = max(row.width, row.height) <= TINY_SIDE
        found.setdefault(row.label, []).append(SampleView(row.id, row.label, is_tiny))
    return found


def _cards(session: Session, learner: LearnerRow, shown: Sequence[ClassInfo]) -> list[ClassCard]:
    recalls = class_accuracy.of_classes(session, learner, shown)
    samples = pictures(session, learner.id, [info.label for info in shown], each=IMAGES_SHOWN)
    return [
        ClassCard(
            label=info.label,
            name=info.name,
            is_hidden=info.is_hidden,
            task_index=info.task_index,
            n_train=info.n_train,
            n_eval=info.n_eval,
            accuracy_learned=recalls[info.label].learned.share,
            n_learned=recalls[info.label].learned.n,
            accuracy_now=recalls[info.label].now.share,
            n_now=recalls[info.label].now.n,
            samples=samples.get(info.label, []),
        )
        for info in shown
    ]
