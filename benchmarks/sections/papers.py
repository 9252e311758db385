"""Sections of the papers' own experiments, and of the backbones."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks import metaplasticity, synaptic_intelligence
from benchmarks.class_incremental import percent
from benchmarks.plots import (
    COLOURS,
    Curve,
    Panel,
    Points,
    draw_bars,
    draw_clouds,
    draw_curves,
)
from benchmarks.sections.common import JSON, SHARES, Section, command, describe, options, table

KIND_COLOURS = dict(zip(metaplasticity.FLEXIBILITY, COLOURS, strict=False))


def intelligence(stem: str, content: JSON) -> Section:
    """Tables and pictures of one file of `benchmarks.synaptic_intelligence`."""
    name = content["command"].split()[-1]
    by_strength = {
        c: np.asarray([run["accuracies"] for run in content["runs"] if run["strength"] == c])
        for c in sorted({run["strength"] for run in content["runs"]})
    }
    lines = [
        (
            f"{c:g}",
            str(len(accuracies)),
            *(spread_text(accuracies[:, -1, t]) for t in range(accuracies.shape[2])),
            spread_text(accuracies[:, -1].mean(axis=1)),
            content["paper_means"][c > 0],
        )
        for c, accuracies in by_strength.items()
    ]
    tasks = [f"task {t}" for t in range(1, len(content["runs"][0]["accuracies"]) + 1)]
    section = Section(
        [
            f"### {stem}",
            f"{content['tasks']} tasks, {content['epochs']} epochs each, "
            f"{content['train_images']} train images; {content['machine']}."
            + intelligence_caveat(name, content),
            intelligence_command(stem, name, content),
            "Accuracy on each task after the last one, %:",
            table(("c", "seeds", *tasks, "mean", "the paper's mean"), lines),
        ]
    )
    draw, caption = intelligence_picture(name, by_strength)
    section.show(stem, caption, draw)
    return section


def intelligence_caveat(name: str, content: JSON) -> str:
    """Say where a run does not compare with the paper's."""
    if content["shortened"]:
        return " A shortened run: it does not compare with the paper's."
    if name == "cifar" and content["train_images"] < 75_000:
        return (
            " Without CIFAR-10, so the first task is ten more classes of CIFAR-100: it does not "
            "compare with the paper's."
        )
    return ""


def intelligence_command(stem: str, name: str, content: JSON) -> str:
    """Write the command that runs the experiment again."""
    paper = synaptic_intelligence.EXPERIMENTS[name]
    quick = paper.shortened()
    is_quick = content["shortened"] and content["train_images"] == quick.train_images
    usual = quick if is_quick else paper
    seeds = " ".join(map(str, content["seeds"]))
    strengths = " ".join(f"{c:g}" for c in sorted({run["strength"] for run in content["runs"]}))
    return command(
        f"{content['command']} --data DIR --seeds {seeds}",
        *(["--quick"] if is_quick else []),
        *([f"--tasks {content['tasks']}"] if content["tasks"] != usual.tasks else []),
        *([f"--epochs {content['epochs']}"] if content["epochs"] != usual.epochs else []),
        *([f"--strengths {strengths}"] if strengths != f"0 {usual.strength:g}" else []),
        f"--out benchmarks/results/{stem}.json",
    )


def intelligence_picture(
    name: str, by_strength: Mapping[float, NDArray[np.float64]]
) -> tuple[Callable[[], Figure], str]:
    """Return what draws the paper's figure of an experiment, and its caption."""
    n_tasks = next(iter(by_strength.values())).shape[2]

    def curves(take: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> list[Curve]:
        colours = ("#1f77b4", "#d62728", *COLOURS)
        pairs = zip(by_strength.items(), colours, strict=False)
        return [
            Curve(f"c = {c:g}", 100 * take(accuracies), colour) for (c, accuracies), colour in pairs
        ]

    mean = Panel("mean of tasks seen", "task", curves(mean_of_seen))
    if name == "permuted-mnist":
        return partial(draw_curves, [mean], "accuracy, %"), "As Fig. 4 of the paper"
    if name == "cifar":
        names = [*(f"task {t + 1}" for t in range(n_tasks)), "mean"]
        bars = curves(
            lambda accuracies: np.column_stack((accuracies[:, -1], accuracies[:, -1].mean(axis=1)))
        )
        return partial(draw_bars, names, bars, "accuracy after the last task, %"), "As Fig. 6"
    panels = [
        Panel(f"task {t + 1}", "task", curves(lambda accuracies, t=t: accuracies[:, t:, t]), t + 1)  # type: ignore[misc]
        for t in range(n_tasks)
    ]
    return partial(draw_curves, [*panels, mean], "accuracy, %"), "As Fig. 3 of the paper"


def mean_of_seen(accuracies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean accuracy of the tasks learned by each step, from `(S, T, T)` to `(S, T)`."""
    steps = range(accuracies.shape[1])
    return np.stack([accuracies[:, i, : i + 1].mean(axis=1) for i in steps], axis=1)


def plasticity(stem: str, content: JSON) -> Section:
    """Tables and pictures of one file of `benchmarks.metaplasticity`."""
    name = content["command"].split()[-1]
    runs, kinds = content["runs"], list(metaplasticity.FLEXIBILITY)
    lists = [key for key, value in runs[0][kinds[0]].items() if isinstance(value, list)]
    single = [key for key in runs[0][kinds[0]] if key not in lists]
    values = {
        kind: {key: np.asarray([run[kind][key] for run in runs]) for key in (*lists, *single)}
        for kind in kinds
    }
    quick = content["protocol"] == asdict(metaplasticity.QUICK)
    seeds = " ".join(map(str, content["seeds"]))
    section = Section(
        [
            f"### {stem}",
            f"The paper: {content['paper']}. Mean over {len(runs)} seed(s); {content['machine']}."
            + (" A smoke test on few images." if quick else ""),
            command(
                f"{content['command']} --data DIR --seeds {seeds}{' --quick' if quick else ''}",
                f"--out benchmarks/results/{stem}.json",
            ),
        ]
    )
    for key in lists:
        width = len(runs[0][kinds[0]][key])
        lines = [(k, *(spread_text(column) for column in values[k][key].T)) for k in kinds]
        by = metaplasticity.EXPERIMENTS[name].listed
        section.text.append(table((f"accuracy, % by {by}", *map(str, range(1, width + 1))), lines))
        curves = [Curve(kind, 100 * values[kind][key], KIND_COLOURS[kind]) for kind in kinds]
        draw = partial(draw_curves, [Panel(name.replace("-", " "), by, curves)], "accuracy, %")
        section.show(stem, f"Accuracy by {by}", draw)
    if single:
        texts = [[kind, *(single_text(key, values[kind][key]) for key in single)] for kind in kinds]
        section.text.append(table(("", *(key.replace("_", " ") for key in single)), texts))
    if name == "poisoning":
        shown = [key for key in single if key in SHARES]
        bars = [
            Curve(
                kind,
                100 * np.stack([values[kind][key] for key in shown], axis=1),
                KIND_COLOURS[kind],
            )
            for kind in kinds
        ]
        section.show(
            stem, "Accuracy before and after", partial(draw_bars, shown, bars, "share of images, %")
        )
    return section


def single_text(key: str, values: NDArray[np.float64]) -> str:
    """Write a single value of a metaplasticity run."""
    if key in SHARES:
        return spread_text(values)
    spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread}"


def spread_text(values: NDArray[np.float64]) -> str:
    """Write a mean over the seeds as per cent, with the standard deviation over several."""
    return percent([{"value": value} for value in values], "value")


def backbones(stem: str, content: JSON) -> Section:
    """Table of `benchmarks.backbone`."""
    lines = [
        (
            row["backbone"],
            str(row["image_size"]),
            f"{row['parameters'] / 1e6:.1f} M",
            *(
                f"{100 * row[key]:.1f}"
                for key in (
                    *("cifar100_class_means", "cifar100_ridge"),
                    *("digits_class_means", "digits_ridge"),
                )
            ),
            *(f"{speed:.0f}" for speed in row["images_per_second"].values()),
        )
        for row in content["rows"]
    ]
    batches = content["rows"][0]["images_per_second"]
    headings = ("backbone", "pixels", "parameters", "CIFAR-100, class means", "CIFAR-100, ridge")
    speeds = (f"images/s, batch {batch}" for batch in batches)
    return Section(
        [
            f"### {stem}",
            f"Accuracy of frozen features, %; {content['machine']}.",
            command(
                f"{content['command']} --data DIR --weights FILE",
                f"--out benchmarks/results/{stem}.json",
            ),
            table((*headings, "digits, class means", "digits, ridge", *speeds), lines),
        ]
    )


def gates(stem: str, content: JSON) -> Section:
    """Table and picture of `benchmarks.gate_features`."""
    protocol, features = content["protocol"], content["features"]
    names = {"good": "final feature h_0", "bad": f"after block {content['block']}"}
    lines = [(key, names[key], f"{100 * features[key]['accuracy']:.1f}") for key in names]
    clouds = {}
    for key, name in names.items():
        points = np.asarray(features[key]["points"])
        clouds[f"{key}: {name}"] = [
            Points(f"task {t:.0f}", points[points[:, 2] == t, :2]) for t in np.unique(points[:, 2])
        ]
    section = Section(
        [
            f"### {stem}",
            describe(protocol) + f"; {content['machine']}. A linear gate is fitted to the train "
            f"images and asked for the task of {content['n_test']} test images; chance is "
            f"{100 / protocol['tasks']:.0f} %. The picture shows some of them along its two "
            "strongest directions. Which features are good and which bad is our reading: the paper "
            "names no layers.",
            command(
                content["command"],
                options(protocol),
                f"--tasks {protocol['tasks']} --train-per-class {protocol['train_per_class']}",
                f"--test-per-class {protocol['test_per_class']} --block {content['block']}",
                f"--seed {content['seed']} --out benchmarks/results/{stem}.json",
            ),
            table(("features", "what", "tasks told right, %"), lines),
        ]
    )
    section.show(stem, "Good and bad gate features", partial(draw_clouds, clouds))
    return section
