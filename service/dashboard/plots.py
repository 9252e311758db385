"""The learner page's figures as Plotly JSON, without colours: the page paints them for light and dark."""

from typing import Any

from registry.accuracy import AccuracyHistory
from service.dashboard.synapse_view import Routing

MOST_NAMES = 12
"""Up to this many tasks the matrix has room for its numbers, and the lines for a legend."""
MOST_TICKS = 20
MARGINS = {"l": 52, "r": 12, "t": 12, "b": 44}


def accuracy_lines(history: AccuracyHistory) -> dict[str, Any]:
    """Draw each task's accuracy over the versions, and that over all images seen so far."""
    traces = [
        _line(f"task {task}", history, [row[column] for row in history.matrix])
        for column, task in enumerate(history.tasks)
    ]
    has_room = len(history.tasks) <= MOST_NAMES
    overall = _line("all so far", history, seen_accuracy(history))
    overall |= {"meta": "all", "line": {"width": 3, "dash": "dot"}, "mode": "lines"}
    layout = {
        "margin": MARGINS,
        "xaxis": _ticks("version", len(history.versions)),
        "yaxis": {"tickformat": ".0%", "range": [_floor(history), 1.01], "fixedrange": True},
        "legend": {"orientation": "h", "y": -0.2, "x": 0},
        "showlegend": has_room,
        "hovermode": "x unified" if has_room else "closest",
    }
    return {"data": [*traces, overall], "layout": layout}


def accuracy_matrix(history: AccuracyHistory) -> dict[str, Any]:
    """Draw the accuracy matrix as a heatmap, the first version on top, with its numbers if there is room.

    The page draws the colour scale, from `zmin` to 1: Plotly's own needs inline styles.
    """
    has_room = len(history.tasks) <= MOST_NAMES
    heatmap = {
        "type": "heatmap",
        "x": history.tasks,
        "y": history.versions,
        "z": history.matrix,
        "zmin": _floor(history),
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "texttemplate": "%{z:.0%}" if has_room else "",
        "hovertemplate": "task %{x} with version %{y}: %{z:.1%}<extra></extra>",
        "showscale": False,
    }
    rows = _ticks("version", len(history.versions)) | {"autorange": "reversed", "showgrid": False}
    layout = {
        "margin": MARGINS,
        "xaxis": _ticks("task", len(history.tasks)) | {"showgrid": False},
        "yaxis": rows,
    }
    return {"data": [heatmap], "layout": layout}


def routing_matrix(routing: Routing) -> dict[str, Any]:
    """Draw which synapse is functional for images of which task as a heatmap, from none to all of them."""
    has_room = max(len(routing.tasks), len(routing.synapses)) <= MOST_NAMES
    heatmap = {
        "type": "heatmap",
        "x": [str(synapse) for synapse in routing.synapses],
        "y": [str(task) for task in routing.tasks],
        "z": routing.shares,
        "zmin": 0,
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "texttemplate": "%{z:.0%}" if has_room else "",
        "hovertemplate": "images of task %{y}, synapse of task %{x}: %{z:.1%}<extra></extra>",
        "showscale": False,
    }
    rows = _names("task of the image") | {"autorange": "reversed"}
    layout = {"margin": MARGINS, "xaxis": _names("synapse of task"), "yaxis": rows}
    return {"data": [heatmap], "layout": layout}


def seen_accuracy(history: AccuracyHistory) -> list[float | None]:
    """Return each version's accuracy on the held-out images of all tasks seen by then."""
    return [_weighted(row, counts) for row, counts in zip(history.matrix, history.n, strict=True)]


def _weighted(row: list[float | None], counts: list[int]) -> float | None:
    pairs = [(value, n) for value, n in zip(row, counts, strict=True) if value is not None]
    n_seen = sum(n for _, n in pairs)
    return sum(value * n for value, n in pairs) / n_seen if n_seen else None


def _line(name: str, history: AccuracyHistory, values: list[float | None]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": history.versions,
        "y": values,
        "line": {"width": 2},
        "marker": {"size": 6},
        "hovertemplate": "%{y:.1%}",
    }


def _ticks(title: str, n: int) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": title, "standoff": 8}, "fixedrange": True}
    return axis | ({"dtick": 1} if n <= MOST_TICKS else {})


def _names(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 8},
        "type": "category",
        "fixedrange": True,
        "showgrid": False,
    }


def _floor(history: AccuracyHistory) -> float:
    """Return the lower end of the accuracy axis: a tenth below the lowest value, at most 0.8."""
    lowest = min(value for row in history.matrix for value in row if value is not None)
    return max(0.0, min(0.8, int(lowest * 10) / 10 - 0.1))
