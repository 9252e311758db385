"""The images of one class: which there are, what they were sent as, and how the newest correction of them stands."""

from dataclasses import dataclass
from typing import Literal

from registry import classes, corrections, learners, pictures, tasks, versions
from registry.errors import TaskNotFoundError
from registry.learners import ClassInfo
from registry.pictures import ClassCounts
from registry.postgres.database import Session
from registry.statuses import TaskStatus
from registry.tables import LearnerRow, SampleRow
from service.dashboard import views
from service.dashboard.view_models import TINY_SIDE, TaskView
from service.use_cases.class_changes import find_class
from service.use_cases.corrections import can_correct

IMAGES_SHOWN = 60
"""Images on a page."""
Show = Literal["all", "train", "eval", "removed"]


@dataclass(frozen=True)
class ImageTile:
    """An image of the class."""

    id: str
    name: str
    """What the sender called it, or its number."""
    is_tiny: bool
    is_held_out: bool
    sent_as: str | None
    """Name of the class it was sent as, where that is another one."""


@dataclass(frozen=True)
class CorrectionView:
    """A correction that was just asked for, or done."""

    task: TaskView
    sentence: str
    """What it does, or has done."""
    can_undo: bool


@dataclass(frozen=True)
class ClassImages:
    """A page of the images of one class."""

    info: ClassInfo
    counts: ClassCounts
    show: Show
    images: list[ImageTile]
    page: int
    n_pages: int
    can_correct: bool
    """Whether the learner's strategy can."""
    others: list[str]
    """Names of the other classes that images can be moved to."""
    correction: CorrectionView | None


def class_images(
    session: Session, name: str, label: str, *, show: Show, page: int, task_id: str | None
) -> ClassImages:
    """Return a page of the images of a class.

    Args:
        session: Database session.
        name: Public name of the learner.
        label: Of the class, or its name.
        show: Which of its images.
        page: From 1; the last one for a higher number.
        task_id: A correction that the page is to speak of.

    Raises:
        LearnerNotFoundError, ClassNotFoundError: If there is none.
    """
    learner = learners.get_learner(session, name)
    info = find_class(session, learner, label)
    counts = pictures.count_class(session, learner, info.label)
    n_shown = {
        "all": counts.train + counts.eval,
        "train": counts.train,
        "eval": counts.eval,
        "removed": counts.removed,
    }[show]
    n_pages = max(1, -(-n_shown // IMAGES_SHOWN))
    page = min(page, n_pages)
    first = (page - 1) * IMAGES_SHOWN
    rows = pictures.of_class(
        session,
        learner,
        info.label,
        split=show if show in ("train", "eval") else None,
        is_removed=show == "removed",
        limit=IMAGES_SHOWN,
        offset=first,
    )
    shown = classes.shown(session, learner.id)
    return ClassImages(
        info=info,
        counts=counts,
        show=show,
        images=[_tile(row, shown, first + i) for i, row in enumerate(rows, start=1)],
        page=page,
        n_pages=n_pages,
        can_correct=can_correct(learner),
        others=[shown.name(other) for other in _known(session, learner) if other != info.label],
        correction=_correction(session, learner, task_id),
    )


def _tile(row: SampleRow, shown: classes.Shown, number: int) -> ImageTile:
    return ImageTile(
        id=row.id,
        name=row.filename or f"image {number}",
        is_tiny=max(row.width, row.height) <= TINY_SIDE,
        is_held_out=row.split == "eval",
        sent_as=None if row.taught_label is None else shown.name(row.taught_label),
    )


def _known(session: Session, learner: LearnerRow) -> list[str]:
    if not learner.head_version:
        return []
    return versions.get_version(session, learner.id, learner.head_version).classes


def _correction(
    session: Session, learner: LearnerRow, task_id: str | None
) -> CorrectionView | None:
    """Return how a correction of the learner stands; None if there is no such one."""
    if task_id is None:
        return None
    try:
        task = tasks.get_task(session, task_id)
    except TaskNotFoundError:
        return None
    if task.mode != corrections.MODE or task.learner_id != learner.id:
        return None
    shown = classes.shown(session, learner.id)
    targets = {to for _, to in task.options["changes"]}
    n = len(task.options["changes"])
    images = "1 image" if n == 1 else f"{n} images"
    was = "was" if n == 1 else "were"
    if "undoes" in task.options:
        doing, done = f"Taking back a correction of {images}", f"{images} {was} put back"
    elif None in targets:
        doing, done = f"Removing {images}", f"{images} {was} removed"
    else:
        to = ", ".join(sorted(shown.name(label) for label in targets if label is not None))
        doing, done = f"Moving {images} to {to}", f"{images} {was} moved to {to}"
    is_done = task.status == TaskStatus.SUCCEEDED
    return CorrectionView(
        views.task_view(session, task, learner.name),
        f"{done}, with version {task.version}." if is_done else doing,
        can_undo=is_done,
    )
