"""The section of `benchmarks.few_images`: each cell of the grid, and what the default gains on the best baseline."""

from collections.abc import Mapping, Sequence

from benchmarks.few_images.summary import (
    CELL,
    OURS,
    Estimate,
    best_baseline,
    by_cell,
    calibration,
    gain,
    means,
)
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
        "the very same probabilities would show the floor. Over all cells: "
        + "; ".join(
            f"{key} "
            + ", ".join(f"`{name}` {value:.1f}" for name, value in means(rows, key).items())
            for key in SHOWN
        )
        + "."
    )
    images = " ".join(dict.fromkeys(str(row["images"]) for row in rows))
    call = command(
        "python -m benchmarks.few_images --cifar100 DIR --photos FOLDER",
        f"--images {images} --strategies {','.join(names)}",
        f"--out benchmarks/results/{stem}.json",
    )
    headings = [key.replace("_", " ") for key in CELL[2:]]
    for key in SHOWN:
        headings += [f"{key}: {name}" for name in names] + ["gain"]
    headings += [key.replace("_", " ") for key in OF_OURS] + ["calibration error", "floor"]
    return Section([f"### {stem}", call, text, table(headings, lines)])


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


def _mean(cell: Mapping[str, Mapping[int, JSON]], name: str, key: str) -> str:
    if name not in cell:
        return "-"
    return f"{Estimate.of([row[key] for row in cell[name].values()]).mean:.1f}"
