"""What is measured of a learner: on which images, and in which rows and counts it is kept."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from models.evaluation import TaskAccuracy
from registry.tables import SampleRow
from registry.versions import NewAccuracy


def sorted_out(cells: list[TaskAccuracy]) -> tuple[list[NewAccuracy], dict[str, Any]]:
    """Tell the numbers of each cell, which become a row, from its counts, which become metrics; empty ones left out."""
    accuracies = []
    counts: dict[str, Any] = {"confusion": {}, "routing": {}, "cross_validated": {}}
    for cell in cells:
        values = asdict(cell)
        of_task = {name: values.pop(name) for name in counts}
        accuracies.append(NewAccuracy(**values))
        if not cell.n:
            del of_task["routing"]  # no image took a route
        if not cell.n_cross_validated:
            del of_task["cross_validated"]
        for name, value in of_task.items():
            counts[name][str(cell.task_index)] = value
    if not counts["cross_validated"]:
        del counts["cross_validated"]
    return accuracies, counts


def of_known_classes(
    held_out: dict[int, list[SampleRow]], known: Collection[str]
) -> dict[int, list[SampleRow]]:
    """Leave out images of classes that are not known, or not any more, and tasks of which then nothing is left."""
    kept = {index: [row for row in rows if row.label in known] for index, rows in held_out.items()}
    return {index: rows for index, rows in kept.items() if rows}
