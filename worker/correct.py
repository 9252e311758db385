"""Correcting: an attempt at a task that gives images other labels, or takes them out, instead of learning more."""

from dataclasses import asdict, dataclass
from typing import Any

from models.backbone import Backbone
from models.correcting import Relabelled
from models.progress import Progress
from models.strategies.base import Strategy
from models.strategies.catalog import create_strategy
from models.strategies.values import CorrectionReport
from registry import corrections
from registry.failpoints import failpoint
from registry.postgres.database import Sessions
from registry.tables import SampleRow
from worker.attempt import Attempt, AttemptContext
from worker.errors import PermanentTaskError
from worker.progress import ProgressReporter
from worker.samples import load_images

GONE = "An image that was to be corrected was deleted meanwhile: ask for the others again."
NOTHING = CorrectionReport(n_moved=0, n_removed=0, n_restored=0, seconds=0.0, residue="")


@dataclass(frozen=True)
class Moving:
    """Training images of one task that change."""

    task: int
    rows: list[SampleRow]
    before: tuple[str | None, ...]
    after: tuple[str | None, ...]
    places: tuple[int, ...]
    """As in `models.correcting.Relabelled`."""


def is_correction(attempt: Attempt) -> bool:
    """Whether the task corrects images."""
    return attempt.task.mode == corrections.MODE


def correct(
    attempt: Attempt, backbone: Backbone, context: AttemptContext, progress: ProgressReporter
) -> tuple[Strategy[Any], dict[str, Any]]:
    """Let images show other classes with the learner's head, or none.

    Takes as long as a look at these images and the weighing of what is kept of all others.

    Returns:
        What the learner knows now, and what was done: the strategy's report with the number of held-out images among
        them, and the classes that the tasks concerned show now.

    Raises:
        PermanentTaskError: `cannot-correct`, if an image is gone; `data-unreadable`, if one is missing or damaged.
        CorrectionError: If the strategy cannot.
    """
    if attempt.parent_manifest_sha256 is None:
        raise PermanentTaskError("cannot-correct", "The learner has not learned anything.")
    known = context.warm.learner(attempt.parent_manifest_sha256, context.blobs, backbone)
    strategy = create_strategy(known.name, asdict(known.config), backbone)
    strategy.go_on_from(known)
    moving, n_held_out = _find(attempt, context.session_factory)
    n_done, n = 0, sum(len(each.rows) for each in moving)
    changes = []
    for each in moving:

        def on_fraction(fraction: float, each: Moving = each, n_done: int = n_done) -> None:
            progress.report(Progress("preparing", (n_done + fraction * len(each.rows)) / n))

        images = load_images(each.rows, context.blobs, backbone, on_fraction)
        changes.append(Relabelled(each.task, images, each.before, each.after, each.places))
        n_done += len(each.rows)
    failpoint("learn.loaded")
    # Held-out images alone change nothing of what was learned, but how it is measured.
    report = strategy.correct(changes, progress.report) if changes else NOTHING
    shown = {
        str(each.task): [strategy.classes_[k] for k in strategy.ledger.classes_of(each.task)]
        for each in changes
    }
    done = {**asdict(report), "exact": report.exact, "n_held_out": n_held_out, "classes": shown}
    return strategy, done


def held_out_as_corrected(
    attempt: Attempt, held_out: dict[int, list[SampleRow]], session_factory: Sessions
) -> dict[int, list[SampleRow]]:
    """Return held-out images by task with the labels that they have once the correction is published."""
    wanted = _wanted(attempt)
    with session_factory() as session:
        found = corrections.samples_of(session, attempt.learner.id, list(wanted))
        session.expunge_all()
    left = {
        index: [row for row in rows if row.id not in wanted] for index, rows in held_out.items()
    }
    for sample_id, (index, row) in found.items():
        label = wanted[sample_id]
        if row.split == "eval" and label is not None:
            row.label = label
            left.setdefault(index, []).append(row)
    return {
        index: sorted(rows, key=lambda row: row.position)
        for index, rows in sorted(left.items())
        if rows
    }


def _find(attempt: Attempt, session_factory: Sessions) -> tuple[list[Moving], int]:
    """Return the training images that change, task by task, and how many held-out ones do."""
    wanted = _wanted(attempt)
    with session_factory() as session:
        found = corrections.samples_of(session, attempt.learner.id, list(wanted))
        if found.keys() != wanted.keys():
            raise PermanentTaskError("cannot-correct", GONE)
        changing = {
            sample_id: index
            for sample_id, (index, row) in found.items()
            if corrections.standing_of(row).shows != wanted[sample_id]
        }
        n_held_out = sum(found[sample_id][1].split == "eval" for sample_id in changing)
        tasks = corrections.train_samples(session, attempt.learner.id, set(changing.values()))
        moving = [_moving(index, rows, wanted) for index, rows in tasks.items()]
        session.expunge_all()
    return [each for each in moving if each.rows], n_held_out


def _moving(index: int, rows: list[SampleRow], wanted: dict[str, str | None]) -> Moving:
    before = [corrections.standing_of(row).shows for row in rows]
    after = [wanted.get(row.id, label) for row, label in zip(rows, before, strict=True)]
    at = [i for i in range(len(rows)) if before[i] != after[i]]
    return Moving(
        index,
        [rows[i] for i in at],
        tuple(before[i] for i in at),
        tuple(after[i] for i in at),
        tuple(after[:i].count(after[i]) for i in at),
    )


def _wanted(attempt: Attempt) -> dict[str, str | None]:
    return dict(attempt.task.options["changes"])
