"""The section of `benchmarks.ablation`: ten of its rows and one picture; all rows are in the file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from benchmarks.ablation.features import PRODUCT
from benchmarks.class_incremental import percent, plain
from benchmarks.plots import Chart, Points, draw_charts
from benchmarks.sections.common import JSON, Section, command, describe, options, table
from models.strategies.artsy_gaussian.config import ArtsyGaussianConfig

SHARED, OWN = "shared covariance", "own covariances"
DRIFTS = ("none", "mean_shift", "linear", "linear_means", "true")
ROUTED = ("0", "1", "2", "3", "all")
GATE = {"group": "gates", "combine": "concat"}
CHOSEN: Mapping[str, JSON] = {
    "the frozen backbone": {"consolidation": "none", "head": OWN},
    "the first task's adapter": {"consolidation": "first_task", "head": OWN},
    "one adapter trained on from task to task": {
        **{"consolidation": "last", "drift": "linear", "head": OWN},
    },
    "the running mean, old statistics left where they were": {
        **{"consolidation": "mean", "drift": "none", "head": OWN},
    },
    "the running mean, one covariance for all classes": {
        **{"consolidation": "mean", "drift": "linear", "head": SHARED},
    },
    "the running mean, as `artsy` does it in one pass": {
        **{"consolidation": "mean", "drift": "linear", "head": OWN},
    },
    "`artsy` itself, with its synapses": dict.fromkeys(("consolidation", "drift", "head"), PRODUCT),
    "frozen, and the sub-network that a trained gate chooses": {
        **GATE,
        **{"gate": "mlp", "input": "h0", "routed": "1"},
    },
    "frozen, and the sub-network that a closed-form gate chooses": {
        **GATE,
        **{"gate": "lda", "input": "h0", "routed": "1"},
    },
    "frozen, and the sub-network of the task, if somebody told it": {
        **GATE,
        **{"gate": "oracle", "routed": "1"},
    },
}
"""The rows that are shown, each by what it must hold; those that a file does not have are left out."""


READING = (
    "The picture shows the rest. Left: the classifier with one covariance for all classes or with one for each, on the "
    "running mean of the tasks' sub-networks or on one adapter trained on from task to task (last), where old "
    "statistics follow by the map named; `true` measures them anew on old images. Middle: silent sub-networks that "
    "were trained afresh or from the running mean (warm), whose opinion is merged within a task's classes or added as "
    "evidence for the task, and one more look at the mirrored image. Right: features of the frozen backbone beside "
    "those of the sub-networks that a gate opens; the oracle is told the task."
)


def ablation(stem: str, content: JSON) -> Section:
    """Tell an ablation in a few rows and one picture."""
    protocol, rows = content["protocol"], content["rows"]
    shown = [(name, chosen(rows, wanted)) for name, wanted in CHOSEN.items()]
    lines = [
        (
            name,
            str(len({row.get("seed") for row in own})),
            percent(own, "last"),
            percent([{"average": row.get("average")} for row in own], "average"),
            percent([{"routed": row.get("routing_accuracy")} for row in own], "routed"),
            plain(own, "passes", 2),
        )
        for name, own in shown
        if own
    ]
    section = Section(
        [
            f"### {stem}",
            describe(protocol) + f"; {content['machine']}.",
            ablation_command(stem, content),
            f"{len(lines)} of the {len(rows)} rows of [the file](results/{stem}.json):",
            table(("what answers", "seeds", "last", "average", "routing", "passes"), lines),
            READING,
        ]
    )
    charts = [chart for chart in (one_pass(rows), frontier(rows), gates(rows)) if chart.groups]
    section.show(
        stem,
        "What consolidation, further passes and gates are worth",
        partial(draw_charts, charts, "last accuracy, %"),
    )
    return section


def ablation_command(stem: str, content: JSON) -> str:
    """Write the command that measures the file again."""
    protocol, rows = content["protocol"], content["rows"]
    schedule = protocol.get("schedule", {})
    again = [
        f"--{key.replace('_', '-')} {value}"
        for key, value in {**protocol, **schedule}.items()
        if key in ("tasks", "train_per_class", "test_per_class", "epochs", "batch_size")
    ]
    usual = asdict(ArtsyGaussianConfig().schedule)
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
    return command(
        "python -m benchmarks.ablation",
        options(protocol),
        *again,
        f"--cache FOLDER --out benchmarks/results/{stem}.json",
    )


def chosen(rows: Sequence[JSON], wanted: JSON) -> list[JSON]:
    """Return the rows that hold all of this, one a seed."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def one_pass(rows: Sequence[JSON]) -> Chart:
    """Chart what one pass answers, by how old statistics follow the functional adapter."""
    groups = []
    for consolidation in ("mean", "last"):
        for head in (SHARED, OWN):
            of = {"group": "consolidation", "consolidation": consolidation, "head": head}
            points = {i: {**of, "drift": drift} for i, drift in enumerate(DRIFTS)}
            groups.append(joined(f"{consolidation}, {head}", rows, points))
    shown = [group for group in groups if len(group.places)]
    return Chart("one pass: adapter and drift", "how old statistics follow", shown, DRIFTS)


def frontier(rows: Sequence[JSON]) -> Chart:
    """Chart what passes beyond the first one buy, a line a method; thresholds differ by seed, passes do not."""
    places: dict[str, dict[float, list[float]]] = {}
    for row in chosen(rows, {"group": "frontier"}):
        by_passes = places.setdefault(row["method"], {})
        by_passes.setdefault(round(row["passes"], 2), []).append(100 * row["last"])
    groups = [
        Points(name, np.asarray([(x, float(np.mean(y))) for x, y in by_passes.items()]))
        for name, by_passes in places.items()
    ]
    return Chart("more passes of what is consolidated", "passes an image", groups)


def gates(rows: Sequence[JSON]) -> Chart:
    """Chart sub-networks beside the frozen backbone, by how many a gate opens."""
    names = dict.fromkeys(row["gate"] for row in chosen(rows, GATE))
    groups = []
    for gate in names:
        of = {**GATE, "gate": gate, "input": "none" if gate == "oracle" else "h0"}
        points = {i: {**of, "routed": routed} for i, routed in enumerate(ROUTED)}
        groups.append(joined(gate, rows, points))
    shown = [group for group in groups if len(group.places)]
    return Chart("without consolidation: gates", "sub-networks opened", shown, ROUTED)


def joined(label: str, rows: Sequence[JSON], points: Mapping[int, Any]) -> Points:
    """Return the mean last accuracy in per cent of the rows wanted at each place, where there are any."""
    lasts = {x: [row["last"] for row in chosen(rows, wanted)] for x, wanted in points.items()}
    places = [(x, 100 * float(np.mean(values))) for x, values in lasts.items() if values]
    return Points(label, np.asarray(places, dtype=np.float64).reshape(-1, 2))
