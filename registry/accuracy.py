"""The accuracy history of a learner: how well each version still knows each task.

R[i][j] is the accuracy on task j's held-out images with the version made by the i-th task, over all classes seen then.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.tables import AccuracyRow, LearnerRow, VersionRow
from registry.versions import NewVersion


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix, counted in images."""

    version: int
    task_index: int
    n: int
    n_correct: int
    n_routed: int
    n_routed_right: int
    passes: float


@dataclass(frozen=True)
class AccuracyHistory:
    """The matrix and what is read off it. Rows are versions, columns tasks, both in the order they were learned.

    A number is None where it is not defined: no held-out image, no earlier task, nothing routed.
    """

    tasks: list[int]
    versions: list[int]
    matrix: list[list[float | None]]
    n: list[list[int]]
    """Images evaluated for each cell of the matrix."""
    last: float | None
    """Accuracy on all images seen, with the last version."""
    average: float | None
    """Mean over versions of the accuracy on all images seen so far."""
    forgetting: float | None
    """Mean over earlier tasks of: best accuracy so far - accuracy with the last version."""
    backward_transfer: float | None
    """Mean over earlier tasks of: accuracy with the last version - accuracy when learned."""
    plasticity: list[float | None]
    """For each version, accuracy on the task it had just learned."""
    stability: list[float | None]
    """For each version, accuracy on all images of earlier tasks."""
    routing: list[float | None]
    """For each version, share of routed images whose own task's synapse was functional."""
    passes: list[float | None]
    """For each version, mean forwards of the backbone an image."""


def history(session: Session, learner_id: str) -> AccuracyHistory:
    """Return the accuracy history of a learner: the chain of versions that leads to its head. Three queries."""
    return summarise(*_load(session, learner_id))


def forgetting_if_published(
    session: Session, learner_id: str, new_version: NewVersion
) -> float | None:
    """Return what a learner's forgetting would be with one more version; None if that is not defined."""
    chain, cells = _load(session, learner_id)
    number = chain[-1][0] + 1 if chain else 1
    new_cells = [Cell(number, **asdict(measured)) for measured in new_version.accuracies]
    return summarise([*chain, (number, new_version.task_index)], [*cells, *new_cells]).forgetting


def summarise(chain: Sequence[tuple[int, int]], cells: Sequence[Cell]) -> AccuracyHistory:
    """Compute an accuracy history.

    Args:
        chain: `(version, index of the task it learned)`, in order.
        cells: Cells of these versions; others are ignored, missing ones are not defined.

    Returns:
        The history; empty lists and None for an empty chain.
    """
    counts = {(cell.version, cell.task_index): cell for cell in cells if cell.n > 0}
    tasks = [task_index for _, task_index in chain]
    rows = [
        [counts.get((version, task)) if j <= i else None for j, task in enumerate(tasks)]
        for i, (version, _) in enumerate(chain)
    ]
    matrix = [[_accuracy([cell]) for cell in row] for row in rows]
    seen = [_accuracy(row) for row in rows]
    return AccuracyHistory(
        tasks=tasks,
        versions=[version for version, _ in chain],
        matrix=matrix,
        n=[[cell.n if cell else 0 for cell in row] for row in rows],
        last=seen[-1] if seen else None,
        average=_mean(seen),
        forgetting=_mean([_drop(matrix, j) for j in range(len(tasks) - 1)]),
        backward_transfer=_mean(
            [_minus(matrix[-1][j], matrix[j][j]) for j in range(len(tasks) - 1)]
        ),
        plasticity=[matrix[i][i] for i in range(len(tasks))],
        stability=[_accuracy(row[:i]) for i, row in enumerate(rows)],
        routing=[_routing(row) for row in rows],
        passes=[_passes(row) for row in rows],
    )


def _load(session: Session, learner_id: str) -> tuple[list[tuple[int, int]], list[Cell]]:
    """Return the chain of versions that leads to the learner's head, and all cells."""
    number = session.scalars(
        select(LearnerRow.head_version).where(LearnerRow.id == learner_id)
    ).one_or_none()
    versions = {
        version.number: version
        for version in session.execute(
            select(VersionRow.number, VersionRow.parent, VersionRow.task_index).where(
                VersionRow.learner_id == learner_id
            )
        )
    }
    chain: list[tuple[int, int]] = []
    while number:
        chain.append((number, versions[number].task_index))
        number = versions[number].parent
    columns = [getattr(AccuracyRow, field.name) for field in fields(Cell)]
    rows = session.execute(select(*columns).where(AccuracyRow.learner_id == learner_id))
    return chain[::-1], [Cell(*row) for row in rows]


def _accuracy(cells: Sequence[Cell | None]) -> float | None:
    """Share of correct images over all cells together."""
    n = sum(cell.n for cell in cells if cell)
    return sum(cell.n_correct for cell in cells if cell) / n if n else None


def _routing(cells: Sequence[Cell | None]) -> float | None:
    n = sum(cell.n_routed for cell in cells if cell)
    return sum(cell.n_routed_right for cell in cells if cell) / n if n else None


def _passes(cells: Sequence[Cell | None]) -> float | None:
    n = sum(cell.n for cell in cells if cell)
    return sum(cell.n * cell.passes for cell in cells if cell) / n if n else None


def _drop(matrix: list[list[float | None]], j: int) -> float | None:
    """How much of task j's best accuracy is gone with the last version."""
    column = [row[j] for row in matrix[j:-1] if row[j] is not None]
    return (
        _minus(max(value for value in column if value is not None), matrix[-1][j])
        if column
        else None
    )


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
