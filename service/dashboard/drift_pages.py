"""The page that shows whether the images that a learner is asked about look different than before."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Response

from registry.drift import LENGTHS
from service.dashboard.pages import PageRoute, page
from service.dependencies import ContextDep
from service.http.roles import PrincipalDep
from service.schemas.base import LearnerName
from service.schemas.drift import DriftDay, DriftRead
from service.use_cases.drift_views import read_drift

WIDTH, HEIGHT = 290.0, 90.0
"""Of a chart, in its own units; it is drawn as wide as its panel."""

LATE_DAYS = max(LENGTHS) + 1
"""Days that are shown as late: those that are compared, and today."""

router = APIRouter(prefix="/learners/{name}/drift", route_class=PageRoute)


@dataclass(frozen=True)
class Bar:
    """One day of a chart."""

    x: float
    y: float
    height: float
    is_late: bool
    """Whether it is of the days that are compared."""


@dataclass(frozen=True)
class Chart:
    """A small chart of one number, day by day, with what it was before as a line."""

    title: str
    bars: list[Bar]
    usual_y: float | None
    usual: float | None
    text: str
    """The same in words."""


@router.get("")
def show_drift(name: LearnerName, context: ContextDep, viewer: PrincipalDep) -> Response:
    """Show the last days of a learner, and what is different of late."""
    with context.session_factory() as session:
        drift = read_drift(session, name)
    return page("drift.html", viewer, section="learners", drift=drift, charts=charts(drift))


def charts(drift: DriftRead) -> list[Chart]:
    """Return the charts of a learner's days."""
    return [
        _chart("Looks like no known class", drift, lambda day: day.unknown),
        _chart("Novelty, in the middle", drift, lambda day: day.novelty[1] if day.n else None),
        _chart("Score of the best class", drift, lambda day: day.score),
    ]


def _chart(title: str, drift: DriftRead, read: Callable[[DriftDay], float | None]) -> Chart:
    step = WIDTH / len(drift.days)
    bars = []
    for i, day in enumerate(drift.days):
        value = read(day)
        if value is not None:
            height = max(1.0, value * HEIGHT)
            is_late = i >= len(drift.days) - LATE_DAYS
            bars.append(
                Bar(round(i * step, 1), round(HEIGHT - height, 1), round(height, 1), is_late)
            )
    usual = read(drift.reference) if drift.reference else None
    known = [value for day in drift.days[-LATE_DAYS:] if (value := read(day)) is not None]
    last = (
        f"{min(known):.0%} to {max(known):.0%} on the last days" if known else "no request lately"
    )
    before = f", {usual:.0%} in the days before" if usual is not None else ""
    usual_y = None if usual is None else round(HEIGHT - usual * HEIGHT, 1)
    return Chart(title, bars, usual_y, usual, f"{title}: {last}{before}.")
