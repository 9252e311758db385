"""The report's pictures: every function draws one, `save` writes it as an SVG that is the same each time.

Shapes: S seeds, P points along a curve, N points of a scatter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

COLOURS = (
    "#d62728",
    "#1f77b4",
    "#2ca02c",
    "#9467bd",
    "#ff7f0e",
    "#8c564b",
    "#e377c2",
    "#17becf",
    "#bcbd22",
    "#7f7f7f",
    "#000000",
    "#b8860b",
    "#006400",
)
DASHES = ("-", "--", ":", "-.")
STYLE: Any = {
    "svg.hashsalt": "filopodia",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


CREATOR = f"matplotlib {matplotlib.__version__}"


@dataclass(frozen=True)
class Curve:
    """One line: the mean over seeds, with a band of one standard deviation where there are several."""

    label: str
    values: NDArray[np.float64]
    """`(S, P)`."""
    colour: str
    dash: str = "-"


@dataclass(frozen=True)
class Panel:
    """One set of axes with its curves."""

    title: str
    x_label: str
    curves: Sequence[Curve]
    first: int = 1
    """Where on the x axis the curves start; they go on in steps of one."""


@dataclass(frozen=True)
class Points:
    """One group of a scatter."""

    label: str
    places: NDArray[np.float64]
    """`(N, 2)`."""


@dataclass(frozen=True)
class Chart:
    """One set of axes with lines through points."""

    title: str
    x_label: str
    groups: Sequence[Points]
    ticks: Sequence[str] = ()
    """What the places 0, 1, ... of the x axis are called, where they are no numbers."""


def draw_curves(panels: Sequence[Panel], y_label: str) -> Figure:
    """Draw panels side by side that share their axes and, at the right, one legend."""
    with rc_context(STYLE):
        width = 4.6 if len(panels) == 1 else 2.7 if len(panels) < 4 else 1.7
        figure = Figure(figsize=(width * len(panels) + 2, 3.2), layout="constrained")
        row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, panel in zip(row, panels, strict=True):
            for curve in panel.curves:
                draw_curve(axes, curve, panel.first)
            axes.set(title=panel.title, xlabel=panel.x_label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].set_ylabel(y_label)
        handles, labels = row[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
    return figure


def draw_curve(axes: Axes, curve: Curve, first: int) -> None:
    """Draw one curve, from `first` on."""
    mean = curve.values.mean(axis=0)
    x = np.arange(first, first + len(mean))
    marker = "o" if len(x) == 1 else ""
    axes.plot(x, mean, curve.dash, marker=marker, color=curve.colour, label=curve.label)
    if len(curve.values) > 1:
        spread = curve.values.std(axis=0, ddof=1)
        axes.fill_between(
            x, mean - spread, mean + spread, color=curve.colour, alpha=0.15, linewidth=0
        )


def draw_bars(names: Sequence[str], bars: Sequence[Curve], y_label: str) -> Figure:
    """Draw for each of P names one bar a curve, whiskers of one standard deviation over the seeds."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, 3.2), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / len(bars)
        for i, bar in enumerate(bars):
            x = np.arange(len(names)) + (i - (len(bars) - 1) / 2) * width
            several = len(bar.values) > 1
            spread = bar.values.std(axis=0, ddof=1) if several else None
            mean = bar.values.mean(axis=0)
            axes.bar(x, mean, width, yerr=spread, color=bar.colour, label=bar.label, capsize=2)
        axes.set_xticks(np.arange(len(names)), list(names))
        axes.set_ylabel(y_label)
        figure.legend(loc="outside right center")
    return figure


def draw_clouds(clouds: Mapping[str, Sequence[Points]]) -> Figure:
    """Draw one scatter a title, without scales: only what lies near what counts."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4 * len(clouds) + 1, 4), layout="constrained")
        row = figure.subplots(1, len(clouds), squeeze=False)[0]
        for axes, (title, groups) in zip(row, clouds.items(), strict=True):
            for points, colour in zip(groups, COLOURS * len(groups), strict=False):
                x, y = points.places.T
                axes.scatter(x, y, s=9, color=colour, linewidths=0, label=points.label)
            axes.set(title=title, xticks=[], yticks=[])
        handles, labels = row[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
    return figure


def draw_charts(charts: Sequence[Chart], y_label: str) -> Figure:
    """Draw charts side by side, each with a scale and a legend of its own: points joined from left to right."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.4 * len(charts), 5), layout="constrained")
        row = figure.subplots(1, len(charts), squeeze=False)[0]
        for axes, chart in zip(row, charts, strict=True):
            for points, colour in zip(chart.groups, COLOURS * len(chart.groups), strict=False):
                order = np.argsort(points.places[:, 0], kind="stable")
                x, y = points.places[order].T
                axes.plot(x, y, marker="o", markersize=4, color=colour, label=points.label)
            axes.set(title=chart.title, xlabel=chart.x_label)
            if chart.ticks:
                axes.set_xticks(np.arange(len(chart.ticks)), list(chart.ticks))
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8)
        row[0].set_ylabel(y_label)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write an SVG on white that holds neither a date nor anything random."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(svg(figure))


def svg(figure: Figure) -> bytes:
    """Return what `save` writes."""
    content = BytesIO()
    with rc_context(STYLE):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": CREATOR})
    return content.getvalue()


def is_current(figure: Figure, path: Path) -> bool:
    """Tell whether a file shows this figure; what another version of matplotlib drew is taken at its word."""
    if not path.is_file():
        return False
    content = path.read_bytes()
    return CREATOR.encode() not in content or content == svg(figure)
