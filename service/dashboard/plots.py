"""The learner page's figures as Plotly JSON, without colours: the page paints them for light and dark."""

from typing import Any

from registry.accuracy import AccuracyHistory
from registry.measures import Measure
from service.dashboard.rendering import basis
from service.dashboard.synapse_view import Routing

MOST_NAMES = 12
"""Up to this many tasks the matrix has room for its numbers, and the lines for a legend."""
MOST_COUNTS = 5
"""Up to this many tasks the matrix has room for numbers of images too."""
WORST = 5
"""Tasks that have a line of their own where there are too many for all."""
DASHES = ("solid", "dash", "longdash", "dashdot", "longdashdot")
"""So that lines are told apart without their colours."""
MOST_TICKS = 20
MARGINS = {"l": 52, "r": 12, "t": 12, "b": 44}


def accuracy_lines(history: AccuracyHistory) -> dict[str, Any]:
    """Draw each task's accuracy over the versions with its interval, and that over all images seen so far as a band.

    Of more tasks than have room only those that the last version knows worst have a line.
    """
    measures = history.measures
    has_room = len(history.tasks) <= MOST_NAMES
    columns = range(len(history.tasks)) if has_room else worst(history)
    traces = [
        _line(f"task {history.tasks[column]}", history, [row[column] for row in measures.matrix])
        for column in columns
    ]
    if not has_room:
        for trace, dash in zip(traces, DASHES, strict=False):
            del trace["error_y"]
            trace |= {"mode": "lines", "line": {"width": 2, "dash": dash}}
    overall = _line("all so far", history, measures.seen)
    overall |= {"meta": "all", "line": {"width": 3, "dash": "dot"}, "mode": "lines"}
    del overall["error_y"]
    band = [_bound(history, [seen.low if seen else None for seen in measures.seen])]
    band += [_bound(history, [seen.high if seen else None for seen in measures.seen])]
    band[1]["fill"] = "tonexty"
    layout = {
        "margin": MARGINS,
        "xaxis": _ticks("version", len(history.versions)),
        "yaxis": {
            "title": {"text": "accuracy", "standoff": 8},
            "tickformat": ".0%",
            "range": [0, 1.01],
            "fixedrange": True,
        },
        "legend": {"orientation": "h", "y": -0.2, "x": 0, "traceorder": "normal"},
        "showlegend": True,
        "hovermode": "x unified",
    }
    return {"data": [*traces, overall, *band], "layout": layout}


def worst(history: AccuracyHistory) -> list[int]:
    """Return the columns of the tasks that the last version answers worst, the worst first."""
    last = history.matrix[-1] if history.matrix else []
    known = [(value, column) for column, value in enumerate(last) if value is not None]
    return [column for _, column in sorted(known)[:WORST]]


def accuracy_matrix(history: AccuracyHistory) -> dict[str, Any]:
    """Draw the accuracy matrix as a heatmap, the first version on top, with its numbers if there is room.

    The page draws the colour scale, from 0 to 100 %: Plotly's own needs inline styles.
    """
    has_room, with_n = len(history.tasks) <= MOST_NAMES, len(history.tasks) <= MOST_COUNTS
    heatmap = {
        "type": "heatmap",
        "x": history.tasks,
        "y": history.versions,
        "z": history.matrix,
        "zmin": 0,
        "zmax": 1,
        "xgap": 2 if has_room else 0.5,
        "ygap": 2 if has_room else 0.5,
        "hoverongaps": False,
        "text": [[_mark(cell, with_n=with_n) for cell in row] for row in history.measures.matrix]
        if has_room
        else [],
        "customdata": [[_basis(cell) for cell in row] for row in history.measures.matrix]
        if has_room
        else [[f"of {n} images" for n in row] for row in history.n],
        "texttemplate": "%{z:.0%}%{text}" if has_room else "",
        "textfont": {"size": 11} if with_n else {},
        "hovertemplate": "task %{x} with version %{y}: %{z:.1%}<br>%{customdata}<extra></extra>",
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


def _line(name: str, history: AccuracyHistory, values: list[Measure | None]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": history.versions,
        "y": [value.value if value else None for value in values],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [value.high - value.value if value else None for value in values],
            "arrayminus": [value.value - value.low if value else None for value in values],
            "thickness": 1,
            "width": 3,
        },
        "customdata": [_basis(value) for value in values],
        "line": {"width": 2},
        "marker": {"size": 6},
        "hovertemplate": "%{y:.1%}, %{customdata}",
    }


def _bound(history: AccuracyHistory, values: list[float | None]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "meta": "band",
        "x": history.versions,
        "y": values,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _mark(measure: Measure | None, *, with_n: bool) -> str:
    """Return what stands behind an accuracy: a question mark of too few images, and their number below."""
    if measure is None:
        return ""
    return ("?" if measure.is_too_few else "") + (f"<br>of {measure.n}" if with_n else "")


def _basis(measure: Measure | None) -> str:
    return basis(measure) if measure else ""


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
