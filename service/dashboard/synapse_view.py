"""Which synapse is functional for images of which task, as evaluation has counted it for one version."""

from dataclasses import dataclass

from registry import accuracy
from registry.postgres.database import Session
from registry.tables import VersionRow

MOST_TASKS = 60
"""Newest tasks and synapses shown: of more, a square would be smaller than a few pixels."""


@dataclass(frozen=True)
class Routing:
    """The share of a task's held-out images for which a synapse was functional. Rows are tasks, columns synapses."""

    version: int
    tasks: list[int]
    synapses: list[int]
    shares: list[list[float | None]]
    """None where a task has no such count."""
    n_left_out: int = 0
    """Tasks that are not shown because there are too many."""


def routing_of(session: Session, version: VersionRow) -> Routing | None:
    """Return the routing of a version; None if it is from before routes were counted, or nothing was held out.

    A version of a strategy without synapses has rows and no columns.
    """
    counted = version.metrics.get("routing")
    if not counted:
        return None
    n_of = accuracy.held_out(session, version.learner_id, version.number)
    rows = {int(task): counts for task, counts in counted.items() if n_of.get(int(task))}
    order = {task: i for i, task in enumerate(version.tasks)}
    tasks = sorted(rows, key=lambda task: order.get(task, task))
    counted_synapses = {int(synapse) for counts in rows.values() for synapse in counts}
    synapses = sorted(counted_synapses, key=lambda synapse: order.get(synapse, synapse))
    shown, columns = tasks[-MOST_TASKS:], synapses[-MOST_TASKS:]
    return Routing(
        version=version.number,
        tasks=shown,
        synapses=columns,
        shares=[[_share(rows[task].get(str(s)), n_of[task]) for s in columns] for task in shown],
        n_left_out=len(tasks) - len(shown),
    )


def _share(count: int | None, n: int) -> float | None:
    return None if count is None else count / n
