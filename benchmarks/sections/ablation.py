"""The section of `benchmarks.ablation`: its groups as they are, one table each."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from benchmarks.ablation.features import PRODUCT
from benchmarks.class_incremental import percent
from benchmarks.plots import (
    Points,
    draw_frontier,
)
from benchmarks.sections.common import JSON, SHARES, Section, command, describe, options, table
from models.strategies.artsy.config import ArtsyConfig


def ablation(stem: str, content: JSON) -> Section:
    """Print the groups of an ablation as they are: one table each."""
    protocol, rows = content["protocol"], content["rows"]
    schedule = protocol.get("schedule", {})
    again = [
        f"--{key.replace('_', '-')} {value}"
        for key, value in {**protocol, **schedule}.items()
        if key in ("tasks", "train_per_class", "test_per_class", "epochs", "batch_size")
    ]
    usual = asdict(ArtsyConfig().schedule)
    named = ("augmentation", "learning_rate", "precision")
    config = [
        f"{key}={schedule[key]}" for key in named if schedule.get(key, usual[key]) != usual[key]
    ]
    if config:
        again.append("--config " + ":".join(config))
    if any(row.get("consolidation") == PRODUCT for row in rows):
        again.append("--own")
    seeds = sorted({row["seed"] for row in rows if "seed" in row})
    if seeds:
        again.append("--seeds " + " ".join(map(str, seeds)))
    call = command(
        "python -m benchmarks.ablation",
        options(protocol),
        *again,
        f"--cache FOLDER --out benchmarks/results/{stem}.json",
    )
    section = Section([f"### {stem}", describe(protocol) + f"; {content['machine']}.", call])
    for name in dict.fromkeys(row["group"] for row in rows):
        own = [row for row in rows if row["group"] == name]
        keys = [k for k in dict.fromkeys(k for row in own for k in row) if k != "group"]
        cells = cells_of(own)
        lines = [[cell_text(cell, key) for key in keys] for cell in cells]
        headings = ["seeds" if key == "seed" else key.replace("_", " ") for key in keys]
        section.text += [f"#### {name.capitalize()}", table(headings, lines)]
        if name == "frontier":
            section.show(
                f"{stem}-frontier",
                "Accuracy against passes an image",
                partial(draw_frontier, frontier(cells), "passes an image", "last accuracy, %"),
            )
    return section


def cells_of(rows: Sequence[JSON]) -> list[list[JSON]]:
    """Put the rows together that only their seed tells apart."""
    cells: dict[Any, list[JSON]] = {}
    for row in rows:
        name: list[Any] = [value for value in row.values() if isinstance(value, str)]
        if (
            row["group"] == "frontier"
        ):  # the thresholds differ by seed, the passes are what they were chosen for
            name.append(round(row["passes"], 2))
        if "seed" not in row:
            name.append(len(cells))
        cells.setdefault(tuple(name), []).append(row)
    return list(cells.values())


def cell_text(rows: Sequence[JSON], key: str) -> str:
    """Write a value of an ablation's row, the mean over the seeds."""
    values = [row[key] for row in rows if row.get(key) is not None]
    if key == "seed":
        return str(len(values))
    if not values:
        return "-"
    if isinstance(values[0], str | bool):
        return str(values[0])
    if key in SHARES:
        return percent([{key: value} for value in values], key)
    if all(isinstance(value, int) for value in values) and len(set(values)) == 1:
        return str(values[0])
    return f"{np.mean(values):.2f}" if key == "passes" else f"{np.mean(values):.3g}"


def frontier(cells: Sequence[Sequence[JSON]]) -> list[Points]:
    """Read the points of the frontier: passes and last accuracy, a line for each combination of names."""
    places: dict[str, list[list[float]]] = {}
    for cell in cells:
        name = ", ".join(v for k, v in cell[0].items() if isinstance(v, str) and k != "group")
        point = [float(np.mean([row[key] for row in cell])) for key in ("passes", "last")]
        places.setdefault(name, []).append([point[0], 100 * point[1]])
    return [Points(name, np.asarray(points)) for name, points in places.items()]
