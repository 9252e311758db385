"""The classes of a learner as pictures: what each looks like, where it comes from, how well it is known."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from registry import class_accuracy, learners
from registry.class_accuracy import ClassAccuracy
from registry.learners import ClassInfo
from registry.pictures import of_labels
from registry.postgres.database import Session
from registry.tables import LearnerRow
from service.dashboard.view_models import SampleView, sample_view

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
    min_score: float | None
    """Score below which an answer of it counts as not known; None for none."""
    task_index: int
    n_train: int
    n_eval: int
    accuracy: ClassAccuracy
    samples: list[SampleView]

    @property
    def address(self) -> str:
        """What stands for the class in the address of its page."""
        return quote(self.label, safe="")


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
    matching = [
        info
        for info in learners.class_table(session, learner)
        if wanted in info.label.casefold() or wanted in info.name.casefold()
    ]
    n_pages = max(1, -(-len(matching) // CLASSES_SHOWN))
    page = min(page, n_pages)
    shown = matching[(page - 1) * CLASSES_SHOWN : page * CLASSES_SHOWN]
    return Gallery(_cards(session, learner, shown), page, n_pages, len(matching))


def pictures(
    session: Session, learner_id: str, labels: Collection[str], *, each: int
) -> dict[str, list[SampleView]]:
    """Return up to `each` stored images of some labels that the live version knows, those to learn from first."""
    views: dict[str, list[SampleView]] = {}
    for picture in of_labels(session, learner_id, labels, each=each):
        views.setdefault(picture.label, []).append(sample_view(picture, picture.label))
    return views


def _cards(session: Session, learner: LearnerRow, shown: Sequence[ClassInfo]) -> list[ClassCard]:
    recalls = class_accuracy.of_classes(session, learner, shown)
    samples = pictures(session, learner.id, [info.label for info in shown], each=IMAGES_SHOWN)
    return [
        ClassCard(
            label=info.label,
            name=info.name,
            is_hidden=info.is_hidden,
            min_score=info.min_score,
            task_index=info.task_index,
            n_train=info.n_train,
            n_eval=info.n_eval,
            accuracy=recalls[info.label],
            samples=samples.get(info.label, []),
        )
        for info in shown
    ]
