"""What the rows say: each cell, what the default gains on the best baseline, and all cells together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

OURS = "artsy"
CELL = ("backbone", "image_size", "data", "classes", "images")
JSON = dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in per cent."""

    mean: float
    error: float | None
    """Standard error; None of a single seed."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Estimate from one value a seed, in 0..1 or differences of such."""
        spread = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else None
        return cls(100 * float(np.mean(values)), None if spread is None else 100 * float(spread))

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.error is None else f" ± {self.error:.1f}")


def by_cell(rows: Sequence[JSON]) -> dict[tuple[Any, ...], dict[str, dict[int, JSON]]]:
    """Sort rows by cell, strategy and seed."""
    cells: dict[tuple[Any, ...], dict[str, dict[int, JSON]]] = {}
    for row in rows:
        cell = cells.setdefault(tuple(row[key] for key in CELL), {})
        cell.setdefault(row["strategy"], {})[row["seed"]] = row
    return cells


def best_baseline(cell: Mapping[str, Mapping[int, JSON]], key: str) -> str | None:
    """Return the strategy other than ours that has the highest mean in a cell."""
    means = {
        name: float(np.mean([row[key] for row in seeds.values()]))
        for name, seeds in cell.items()
        if name != OURS
    }
    return max(means, key=means.__getitem__) if means else None


def gain(cell: Mapping[str, Mapping[int, JSON]], other: str, key: str) -> Estimate | None:
    """Return by how much ours is above another, paired by seed; None where no seed has both."""
    ours, others = cell.get(OURS, {}), cell[other]
    seeds = sorted(ours.keys() & others.keys())
    return Estimate.of([ours[s][key] - others[s][key] for s in seeds]) if seeds else None


def means(rows: Sequence[JSON], key: str) -> dict[str, float]:
    """Return the mean of each strategy over the cells that all of them have, in per cent."""
    cells = by_cell(rows)
    names = {name for cell in cells.values() for name in cell}
    full = [cell for cell in cells.values() if cell.keys() == names]
    return {
        name: float(
            np.mean([Estimate.of([row[key] for row in cell[name].values()]).mean for cell in full])
        )
        for name in sorted(names)
        if full
    }


def gains(rows: Sequence[JSON], key: str) -> dict[str, tuple[float, int]]:
    """Return what ours gains on each other strategy, the mean over the cells that have both, and their number."""
    found: dict[str, list[float]] = {}
    for cell in by_cell(rows).values():
        for name in cell.keys() - {OURS}:
            own = gain(cell, name, key)
            if own is not None:
                found.setdefault(name, []).append(own.mean)
    return {name: (float(np.mean(found[name])), len(found[name])) for name in sorted(found)}


def calibration(
    cell: Mapping[str, Mapping[int, JSON]],
) -> tuple[Estimate | None, Estimate | None]:
    """Return the expected calibration error of ours after the last task, and what is its floor.

    None where ours was not measured; of the floor also where a row does not have it, as those of before did not.
    """
    ours = list(cell.get(OURS, {}).values())
    if not ours:
        return None, None
    floors = [row["calibration_floor"] for row in ours if "calibration_floor" in row]
    return (
        Estimate.of([row["calibration_errors"][-1] for row in ours]),
        Estimate.of(floors) if len(floors) == len(ours) else None,
    )


def show(rows: Sequence[JSON], console: Console) -> None:
    """Print a line a cell, and the means over all cells; then how well our probabilities are calibrated."""
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    for key, title in (("last", "Last accuracy, %"), ("auroc", "AUROC of novelty, %")):
        table = Table(title=f"{title}: mean and standard error over the seeds")
        for heading in (*CELL, *names, f"{OURS} - best", "best"):
            table.add_column(heading.replace("_", " "))
        for place, cell in by_cell(rows).items():
            best = best_baseline(cell, key)
            own = gain(cell, best, key) if best else None
            shown = [
                str(Estimate.of([row[key] for row in cell[name].values()])) if name in cell else "-"
                for name in names
            ]
            table.add_row(*map(str, place), *shown, "-" if own is None else str(own), best or "-")
        console.print(table)
        told = ", ".join(f"{name} {value:.1f}" for name, value in means(rows, key).items())
        console.print(f"{title}, over all cells: {told}", style="bold")
    table = Table(title=f"Calibration error of {OURS} after the last task, %")
    for heading in (*CELL, "calibration error", "floor"):
        table.add_column(heading.replace("_", " "))
    for place, cell in by_cell(rows).items():
        table.add_row(*map(str, place), *(str(value or "-") for value in calibration(cell)))
    console.print(table)
