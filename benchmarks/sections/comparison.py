"""Sections of `benchmarks.class_incremental`: strategies side by side. Shapes: S seeds, T tasks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.class_incremental import parse_arguments, percent, plain, respelled, suffix
from benchmarks.plots import (
    COLOURS,
    DASHES,
    Curve,
    Panel,
    draw_curves,
)
from benchmarks.sections.common import JSON, Section, command, describe, options, table
from models.strategies.catalog import CATALOG, find_strategy

RIVALS = ("ease", "ranpac", "joint")


@dataclass(frozen=True)
class Group:
    """The rows of one strategy in one configuration, one a seed."""

    strategy: str
    settings: Mapping[str, Any]
    """What differs from the strategy's defaults."""
    at_once: bool
    every: int
    """How many tasks are consolidated together; 0 is none, ever."""
    rows: Sequence[JSON]
    common: Mapping[str, Any] = field(default_factory=dict)
    """Settings that all groups of the file have where they can: said once, left out of names."""

    @property
    def entry(self) -> str:
        """How the command line writes it."""
        return self.strategy + written_settings(self.settings)

    @property
    def name(self) -> str:
        """The entry without what all have in common."""
        own = {key: value for key, value in self.settings.items() if key not in self.common}
        return self.strategy + written_settings(own)

    @property
    def label(self) -> str:
        """How pictures write it."""
        return self.name + suffix(self.rows[0])

    @property
    def written(self) -> str:
        """How Markdown writes it."""
        return f"`{self.name}`" + suffix(self.rows[0])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds in order."""
        return tuple(sorted(row["seed"] for row in self.rows))

    def mean(self, key: str) -> float:
        """Mean of a value."""
        return float(np.mean([row[key] for row in self.rows]))


def written_settings(settings: Mapping[str, Any]) -> str:
    """Write settings as the command line does, each after a colon."""
    return "".join(
        f":{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in settings.items()
    )


def common_settings(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the settings in which all groups that have them differ from the defaults in the same way."""
    common = {}
    for key, value in {k: v for group in groups for k, v in group.settings.items()}.items():
        able = [group for group in groups if key in group.rows[0]["config"]]
        same = all(key in group.settings and group.settings[key] == value for group in able)
        if same and len(able) > 1:
            common[key] = value
    return common


def group_rows(rows: Sequence[JSON]) -> list[Group]:
    """Put the seeds of each configuration together, the best last accuracy first."""
    rows_of: dict[str, list[JSON]] = {}
    for row in ({"at_once": False, "consolidate_every": 1, **respelled(row)} for row in rows):
        how = [row["strategy"], row["config"], row["at_once"], row["consolidate_every"]]
        rows_of.setdefault(json.dumps(how), []).append(row)
    groups = []
    for same in rows_of.values():
        name = same[0]["strategy"]
        defaults = json.loads(json.dumps(asdict(find_strategy(name).config_type())))
        config = same[0]["config"].items()
        settings = {k: v for k, v in config if k not in defaults or v != defaults[k]}
        groups.append(Group(name, settings, same[0]["at_once"], same[0]["consolidate_every"], same))
    common = common_settings(groups)
    groups = [replace(group, common=common) for group in groups]
    return sorted(groups, key=lambda group: (-group.mean("last"), group.label))


def class_incremental(stem: str, content: JSON) -> Section:
    """Tables and pictures of one file of `benchmarks.class_incremental`."""
    groups = group_rows(content["rows"])
    settings = written_settings(common_settings(groups)).lstrip(":").replace(":", ", ")
    section = Section(
        [
            f"### {stem}",
            describe(content["protocol"])
            + f"; {content['machine']}."
            + (f" All that have these options: `{settings}`." if settings else ""),
            *(class_incremental_command(stem, content["protocol"], part) for part in runs(groups)),
            table(
                (
                    *("strategy", "seeds", "last", "average", "forgetting", "routing", "passes"),
                    *("ECE", "AUROC", "s a task", "images/s", "state MB"),
                ),
                [
                    (
                        group.written,
                        str(len(group.rows)),
                        *(percent(group.rows, key) for key in ("last", "average", "forgetting")),
                        percent(group.rows, "routing_accuracy"),
                        plain(group.rows, "passes", 2),
                        percent(group.rows, "expected_calibration_error"),
                        percent(group.rows, "novelty_auroc"),
                        plain(group.rows, "seconds_per_task", 1),
                        plain(group.rows, "predict_images_per_second", 0),
                        plain(group.rows, "state_mb", 1),
                    )
                    for group in groups
                ],
            ),
        ]
    )
    add_differences(section, groups)
    curves = [curve_of(groups, group, seen_by_step(group)) for group in groups]
    section.show(
        f"{stem}-seen",
        "Accuracy on all classes seen, by step",
        partial(draw_curves, [Panel("all classes seen", "task", curves)], "accuracy, %"),
    )
    add_new_and_old(section, stem, groups)
    return section


def runs(groups: Sequence[Group]) -> list[list[Group]]:
    """Cut the groups into those that one command measures."""
    runs_of: dict[tuple[Any, ...], list[Group]] = {}
    for group in groups:
        runs_of.setdefault((group.seeds, group.at_once, group.every), []).append(group)
    return list(runs_of.values())


def class_incremental_command(stem: str, protocol: JSON, groups: Sequence[Group]) -> str:
    """Write the command that measures these groups again."""
    strategies = ",".join(group.entry for group in groups)
    once = ",".join(sorted({group.strategy for group in groups if group.at_once}))
    seeds = " ".join(map(str, groups[0].seeds))
    usual = vars(parse_arguments(["--data", "DIR"]))
    counts = ("tasks", "base_classes", "train_per_class", "test_per_class", "held_out_per_class")
    parts = [
        "python -m benchmarks.class_incremental",
        options(protocol),
        *(
            f"--{key.replace('_', '-')} {protocol[key]}"
            for key in counts
            if protocol[key] != usual[key]
        ),
        f"--seeds {seeds}",
        f"--strategies {strategies}",
        *([f"--at-once {once}"] if once else []),
        *([f"--consolidate-every {groups[0].every}"] if groups[0].every != 1 else []),
        f"--out benchmarks/results/{stem}.json",
    ]
    return command(*parts)


def add_differences(section: Section, groups: Sequence[Group]) -> None:
    """Add what separates Artsy from its rivals."""
    artsy = ours(groups)
    if artsy is None or best_of(groups, "ease") is None:
        return
    lines = []
    for rival in (group for group in groups if group.strategy in RIVALS):
        shared = set(artsy.seeds) & set(rival.seeds)
        if shared:
            last, average = (paired(artsy, rival, key) for key in ("last", "average"))
            seeds = f" ({len(shared)} seeds)" if len(shared) > 1 else ""
            lines.append(f"{rival.written}: {last} and {average}{seeds}")
    if lines:
        section.text.append(
            f"{artsy.written} minus its rivals, last and average in points, paired by seed: "
            f"{'; '.join(lines)}."
        )


def paired(one: Group, other: Group, key: str) -> str:
    """Write the mean difference over the seeds that both have."""
    left, right = ({row["seed"]: row for row in group.rows} for group in (one, other))
    shared = [seed for seed in left if seed in right]
    gaps = np.asarray([100 * (left[seed][key] - right[seed][key]) for seed in shared])
    spread = f" ± {gaps.std(ddof=1):.1f}" if len(gaps) > 1 else ""
    return f"{gaps.mean():+.1f}{spread}"


def default_of(groups: Sequence[Group], strategy: str) -> Group | None:
    """Return the configuration of a strategy that is nearest to its defaults."""
    own = [group for group in groups if group.strategy == strategy]
    return min(own, key=lambda group: (len(group.settings), group.every != 1), default=None)


def ours(groups: Sequence[Group]) -> Group | None:
    """Return the default strategy, or the one that it was when most of the rows were measured."""
    return default_of(groups, "artsy") or default_of(groups, "artsy_gaussian")


def best_of(groups: Sequence[Group], strategy: str) -> Group | None:
    """Return the configuration of a strategy with the best last accuracy."""
    return next((group for group in groups if group.strategy == strategy), None)


def add_new_and_old(section: Section, stem: str, groups: Sequence[Group]) -> None:
    """Add Fig. 3 of the Artsy paper: new and old tasks at every step, against EASE."""
    artsy, ease = ours(groups), best_of(groups, "ease")
    if artsy is None or ease is None:
        return
    literal = best_of(groups, "artsy_paper")
    shown = [group for group in (artsy, literal, ease) if group is not None]
    shown = list({group.label: group for group in shown}.values())
    new = [curve_of(groups, group, new_by_step(group)) for group in shown]
    old = [curve_of(groups, group, old_by_step(group)) for group in shown]
    panels = [Panel("newest task", "task", new), Panel("mean of older tasks", "task", old, 2)]
    section.show(
        f"{stem}-new-old",
        "Newest task and older ones, as in Fig. 3 of the Artsy paper",
        partial(draw_curves, panels, "accuracy, %"),
    )


def curve_of(groups: Sequence[Group], group: Group, values: NDArray[np.float64]) -> Curve:
    """Give a strategy its colour, and each of its configurations a dash."""
    names = [strategy.name for strategy in CATALOG]
    same = sorted(g.label for g in groups if g.strategy == group.strategy)
    same.sort(key=len)
    dash = DASHES[same.index(group.label) % len(DASHES)]
    colour = COLOURS[names.index(group.strategy) % len(COLOURS)]
    return Curve(group.label, 100 * values, colour, dash)


def seen_by_step(group: Group) -> NDArray[np.float64]:
    """Accuracy on all classes seen, `(S, T)`."""
    return np.asarray([row["seen"] for row in group.rows])


def new_by_step(group: Group) -> NDArray[np.float64]:
    """Accuracy on the newest task, `(S, T)`."""
    return np.asarray([[line[-1] for line in row["matrix"]] for row in group.rows])


def old_by_step(group: Group) -> NDArray[np.float64]:
    """Mean accuracy on the older tasks from the second on, `(S, T - 1)`."""
    return np.asarray([[np.mean(line[:-1]) for line in row["matrix"][1:]] for row in group.rows])
