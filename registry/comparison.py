"""Whether one version is better than another, as far as what both were measured on can tell."""

from dataclasses import dataclass, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.accuracy import Cell
from registry.measures import Measure, difference, pooled
from registry.tables import AccuracyRow


@dataclass(frozen=True)
class Comparison:
    """Two versions on the tasks that both were measured on."""

    n_tasks: int
    one: Measure
    other: Measure

    @property
    def difference(self) -> Measure | None:
        """How much better the one is than the other."""
        return difference(self.one, self.other)


def compare(session: Session, learner_id: str, one: int, other: int) -> Comparison | None:
    """Compare two versions on the tasks that both were measured on; None if there is none. One query."""
    columns = [getattr(AccuracyRow, field.name) for field in fields(Cell)]
    query = select(*columns).where(
        AccuracyRow.learner_id == learner_id, AccuracyRow.version.in_({one, other})
    )
    cells = [cell for cell in (Cell(*row) for row in session.execute(query)) if cell.n_measured]
    tasks_of = {v: {cell.task_index for cell in cells if cell.version == v} for v in (one, other)}
    common = tasks_of[one] & tasks_of[other]
    first, second = (
        pooled([cell for cell in cells if cell.version == v and cell.task_index in common])
        for v in (one, other)
    )
    return Comparison(len(common), first, second) if first and second else None
