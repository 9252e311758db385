"""The section of `benchmarks.few_images`: each cell of the grid, and what the default gains on the best baseline."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.few_images.summary import (
    CELL,
    OURS,
    Estimate,
    best_baseline,
    by_cell,
    calibration,
    gain,
    gains,
)
from benchmarks.plots import Chart, Points, draw_charts
from benchmarks.sections.common import JSON, Section, command, table

SHOWN = ("last", "auroc")
OF_OURS = ("false_alarms", "recognised")


def few_images(stem: str, content: JSON) -> Section:
    """Show one grid."""
    rows: Sequence[JSON] = content["rows"]
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    lines = []
    for place, cell in by_cell(rows).items():
        line = [" ".join(map(str, place[2:3])), *map(str, place[3:])]
        for key in SHOWN:
            best = best_baseline(cell, key)
            own = gain(cell, best, key) if best else None
            line += [_mean(cell, name, key) for name in names]
            line.append("-" if own is None else f"{own.mean:+.1f} ± {own.error or 0:.1f}")
        line += [_mean(cell, OURS, key) for key in OF_OURS]
        line += ["-" if value is None else f"{value.mean:.1f}" for value in calibration(cell)]
        lines.append(line)
    first = rows[0]
    seeds = sorted({row["seed"] for row in rows})
    text = (
        f"Few images a class, backbone {first['backbone']} at {first['image_size']} pixels, seeds "
        f"{', '.join(map(str, seeds))}: mean over the seeds in per cent, the gain of `{OURS}` on the best other "
        "with its standard error, paired by seed. What nobody taught are other classes of the same data, or other "
        f"data; false alarms and what is recognised are those of `{OURS}` at its default threshold. Its expected "
        "calibration error is that after the last task; on so few test images even perfectly calibrated answers with "
        "the very same probabilities would show the floor. What it gains in the mean over the cells of both: "
        + "; ".join(f"{key} {_gained(rows, key)}" for key in SHOWN)
        + "."
    )
    images = " ".join(dict.fromkeys(str(row["images"]) for row in rows))
    of_backbone = (
        ()
        if first["backbone"] == "bundled"
        else (f"--backbone {first['backbone']} --weights FILE --image-size {first['image_size']}",)
    )
    call = command(
        "python -m benchmarks.few_images --cifar100 DIR --photos FOLDER",
        *of_backbone,
        f"--images {images} --strategies {','.join(names)}",
        f"--out benchmarks/results/{stem}.json",
    )
    headings = [key.replace("_", " ") for key in CELL[2:]]
    for key in SHOWN:
        headings += [f"{key}: {name}" for name in names] + ["gain"]
    headings += [key.replace("_", " ") for key in OF_OURS] + ["calibration error", "floor"]
    section = Section([f"### {stem}", call, text, table(headings, lines)])
    if len(images.split()) > 1:
        caption = f"{stem}: last accuracy and AUROC of novelty by images a class"
        section.show(stem, caption, lambda: draw_charts([_chart(rows, key) for key in SHOWN], "%"))
    return section


def many_classes(stem: str, content: JSON) -> Section:
    """Show what very many classes cost."""
    rows: Sequence[JSON] = content["rows"]
    text = (
        f"{rows[0]['classes']:,} classes of {rows[0]['images']} images, all heads built, one thread; memory is of the "
        "heads, state of what is stored of a class. Evidence mostly leaves fewer heads."
    )
    keys = [key for key in rows[0] if key not in ("classes", "images")]
    lines = [[str(row[key]) for key in keys] for row in rows]
    call = command(f"python -m benchmarks.many_classes --out benchmarks/results/{stem}.json")
    return Section(
        [f"### {stem}", call, text, table([key.replace("_", " ") for key in keys], lines)]
    )


def _gained(rows: Sequence[JSON], key: str) -> str:
    return ", ".join(
        f"{gained:+.1f} on `{name}` ({n_cells})"
        for name, (gained, n_cells) in gains(rows, key).items()
    )


def _chart(rows: Sequence[JSON], key: str) -> Chart:
    """Draw means over the data by images a class, of each strategy where it learned from all of them."""
    ticks = list(dict.fromkeys(str(row["images"]) for row in rows))
    places: dict[str, list[tuple[float, float]]] = {}
    for place, tick in enumerate(ticks):
        cells = by_cell([row for row in rows if str(row["images"]) == tick]).values()
        for name in set.intersection(*(set(cell) for cell in cells)):
            shares = [Estimate.of([row[key] for row in cell[name].values()]).mean for cell in cells]
            places.setdefault(name, []).append((place, float(np.mean(shares))))
    names = [name for name in dict.fromkeys(row["strategy"] for row in rows) if name in places]
    groups = [Points(name, np.asarray(places[name])) for name in names]
    title = {"last": "last accuracy", "auroc": "AUROC of novelty"}[key]
    return Chart(title, "images a class", groups, ticks)


def _mean(cell: Mapping[str, Mapping[int, JSON]], name: str, key: str) -> str:
    if name not in cell:
        return "-"
    return f"{Estimate.of([row[key] for row in cell[name].values()]).mean:.1f}"
