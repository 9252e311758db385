"""The accuracy history of a learner: how well each version still knows each task.

R[i][j] is the accuracy on task j's images with version i, over all classes known then: on those held out, and on
training images that the version left out in turn. A version learns one task, or consolidates some, or unlearns some,
whose columns end there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import ancestry, corrections, unlearning
from registry.ancestry import Step
from registry.measures import Counts, Measure, difference, mean_of_tasks, mean_of_versions, pooled
from registry.statuses import TaskStatus
from registry.tables import CONSOLIDATE, AccuracyRow, LearnerRow, TaskRow
from registry.versions import NewVersion


@dataclass(frozen=True)
class Cell(Counts):
    """One cell of the matrix, counted in images."""

    version: int
    task_index: int
    n: int
    n_correct: int
    n_routed: int
    n_routed_right: int
    passes: float
    n_cross_validated: int = 0
    n_cross_validated_correct: int = 0


@dataclass(frozen=True)
class Measures:
    """The accuracies of a history with their intervals, and what each rests on. None where it is not defined."""

    matrix: list[list[Measure | None]]
    seen: list[Measure | None]
    """For each version, accuracy on the images of all tasks it knows."""
    average: Measure | None
    forgetting: Measure | None
    backward_transfer: Measure | None
    plasticity: list[Measure | None]
    stability: list[Measure | None]

    @property
    def last(self) -> Measure | None:
        """Accuracy on all images seen, with the last version."""
        return self.seen[-1] if self.seen else None


@dataclass(frozen=True)
class AccuracyHistory:
    """The matrix and what is read off it. Rows are versions, columns tasks, both in the order they were learned.

    A number is None where it is not defined: nothing measured, no earlier task, nothing routed, or unlearned.
    """

    tasks: list[int]
    versions: list[int]
    matrix: list[list[float | None]]
    n: list[list[int]]
    """Images that each cell of the matrix is measured on, of both kinds."""
    n_cross_validated: list[list[int]]
    """Of these, training images answered by a head that never saw them."""
    last: float | None
    """Accuracy on all images seen, with the last version."""
    average: float | None
    """Mean over versions of the accuracy on all images seen so far."""
    forgetting: float | None
    """Mean over earlier tasks still known of: best accuracy so far - accuracy with the last version."""
    backward_transfer: float | None
    """Mean over earlier tasks still known of: accuracy with the last version - accuracy when learned."""
    plasticity: list[float | None]
    """For each version, accuracy on the task it had just learned."""
    stability: list[float | None]
    """For each version, accuracy on all images of earlier tasks."""
    routing: list[float | None]
    """For each version, share of routed images whose own task's synapse was functional."""
    passes: list[float | None]
    """For each version, mean forwards of the backbone an image."""
    learned_at: list[int]
    """For each task, the row of the version that learned it."""
    unlearned: list[int]
    """Those of the tasks that the last version no longer knows."""
    measures: Measures
    """The same accuracies with what they rest on."""

    @property
    def n_known(self) -> int:
        """Number of tasks that the last version knows."""
        return len(self.tasks) - len(self.unlearned)


def history(session: Session, learner_id: str, version: int | None = None) -> AccuracyHistory:
    """Return the accuracy history of a learner: the line of versions that leads to one of them. Three queries at most.

    Args:
        session: Database session.
        learner_id: Id of the learner.
        version: Number of one of its versions; 0 is none yet, and None its head.
    """
    return summarise(*_load(session, learner_id, version))


def forgetting_if_published(
    session: Session, learner_id: str, new_version: NewVersion
) -> Measure | None:
    """Return what a learner's forgetting would be with one more version; None if that is not defined."""
    line, cells = _load(session, learner_id)
    number = line[-1].number + 1 if line else 1
    known = new_version.tasks
    if known is None:
        known = [*(line[-1].tasks if line else ()), new_version.task_index]
    new_cells = [Cell(number, **asdict(measured)) for measured in new_version.accuracies]
    # Cells of a version of that number, beside the line, must not count.
    cells = [cell for cell in cells if cell.version != number]
    return summarise([*line, Step(number, known)], [*cells, *new_cells]).measures.forgetting


def summarise(line: Sequence[Step], cells: Sequence[Cell]) -> AccuracyHistory:
    """Compute an accuracy history.

    Args:
        line: Versions, each built on the one before, with the tasks each knows.
        cells: Cells of these versions; others are ignored, missing ones are not defined.

    Returns:
        The history; empty lists and None for an empty line.
    """
    counts = {(cell.version, cell.task_index): cell for cell in cells if cell.n_measured > 0}
    learned_at: dict[int, int] = {}
    for i, step in enumerate(line):
        for task in step.tasks:
            learned_at.setdefault(task, i)
    tasks = list(learned_at)
    rows = [_row(step, tasks, counts) for step in line]
    firsts = list(learned_at.values())
    known = set(line[-1].tasks) if line else set()
    measures = _measure(rows, firsts)
    return AccuracyHistory(
        tasks=tasks,
        versions=[step.number for step in line],
        matrix=[_values(row) for row in measures.matrix],
        n=[[cell.n_measured if cell else 0 for cell in row] for row in rows],
        n_cross_validated=[[cell.n_cross_validated if cell else 0 for cell in row] for row in rows],
        last=_value(measures.last),
        average=_value(measures.average),
        forgetting=_value(measures.forgetting),
        backward_transfer=_value(measures.backward_transfer),
        plasticity=_values(measures.plasticity),
        stability=_values(measures.stability),
        routing=[_routing(row) for row in rows],
        passes=[_passes(row) for row in rows],
        learned_at=firsts,
        unlearned=[task for task in tasks if task not in known],
        measures=measures,
    )


def of_version(
    session: Session, learner_id: str, version: int, tasks: Sequence[int]
) -> Measure | None:
    """Return how well a version answers the images of the tasks it knows; None of no image. One query."""
    columns = [getattr(AccuracyRow, field.name) for field in fields(Cell)]
    query = select(*columns).where(
        AccuracyRow.learner_id == learner_id,
        AccuracyRow.version == version,
        AccuracyRow.task_index.in_(tasks),
    )
    return pooled([Cell(*row) for row in session.execute(query)])


def held_out(session: Session, learner_id: str, version: int) -> dict[int, int]:
    """Return how many held-out images a version was measured on, by index of the task they came with."""
    query = select(AccuracyRow.task_index, AccuracyRow.n).where(
        AccuracyRow.learner_id == learner_id, AccuracyRow.version == version
    )
    return {row.task_index: row.n for row in session.execute(query)}


def superseded_tasks(session: Session, learner_id: str) -> list[int]:
    """Return the indexes of the tasks that a learner learned beside the line that leads to its head."""
    query = select(TaskRow.index).where(
        TaskRow.learner_id == learner_id,
        TaskRow.status == TaskStatus.SUPERSEDED,
        TaskRow.mode.not_in((unlearning.MODE, corrections.MODE, CONSOLIDATE)),
    )
    return list(session.scalars(query.order_by(TaskRow.index)))


def _load(
    session: Session, learner_id: str, version: int | None = None
) -> tuple[list[Step], list[Cell]]:
    """Return the line of versions that leads to one, the learner's head unless given, and all cells."""
    if version is None:
        heads = select(LearnerRow.head_version).where(LearnerRow.id == learner_id)
        version = session.scalars(heads).one_or_none()
    columns = [getattr(AccuracyRow, field.name) for field in fields(Cell)]
    rows = session.execute(select(*columns).where(AccuracyRow.learner_id == learner_id))
    return ancestry.line(session, learner_id, version or 0), [Cell(*row) for row in rows]


def _row(
    step: Step, tasks: Sequence[int], counts: Mapping[tuple[int, int], Cell]
) -> list[Cell | None]:
    known = set(step.tasks)
    return [counts.get((step.number, task)) if task in known else None for task in tasks]


def _measure(rows: Sequence[Sequence[Cell | None]], firsts: Sequence[int]) -> Measures:
    """Measure the rows of the matrix; `firsts` has for each column the row in which its task was learned."""
    matrix = [[cell.measure() if cell else None for cell in row] for row in rows]
    seen = [pooled(row) for row in rows]
    earlier = [j for j, first in enumerate(firsts) if first < len(rows) - 1]
    moves = [difference(matrix[-1][j], matrix[firsts[j]][j]) for j in earlier]
    return Measures(
        matrix=matrix,
        seen=seen,
        average=mean_of_versions(seen),
        forgetting=mean_of_tasks([_drop(matrix, j, firsts[j]) for j in earlier]),
        backward_transfer=mean_of_tasks(moves),
        plasticity=[
            pooled([row[j] for j, first in enumerate(firsts) if first == i])
            for i, row in enumerate(rows)
        ],
        stability=[
            pooled([row[j] for j, first in enumerate(firsts) if first < i])
            for i, row in enumerate(rows)
        ],
    )


def _routing(cells: Sequence[Cell | None]) -> float | None:
    n = sum(cell.n_routed for cell in cells if cell)
    return sum(cell.n_routed_right for cell in cells if cell) / n if n else None


def _passes(cells: Sequence[Cell | None]) -> float | None:
    n = sum(cell.n for cell in cells if cell)
    return sum(cell.n * cell.passes for cell in cells if cell) / n if n else None


def _drop(matrix: list[list[Measure | None]], j: int, first: int) -> Measure | None:
    """How much of task j's best accuracy, since row `first` learned it, is gone with the last version."""
    column = [row[j] for row in matrix[first:-1]]
    best = max((m for m in column if m is not None), key=lambda m: m.value, default=None)
    return difference(best, matrix[-1][j])


def _value(measure: Measure | None) -> float | None:
    return None if measure is None else measure.value


def _values(measures: Sequence[Measure | None]) -> list[float | None]:
    return [_value(measure) for measure in measures]
