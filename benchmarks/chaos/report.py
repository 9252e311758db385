"""The report of a run: JSON for the record, Markdown for people."""

from collections.abc import Iterable, Sequence
from typing import Any

COLUMNS = (
    "faults",
    "asked",
    "answered",
    "failed_at_a_dead_api",
    "failed",
    "p50_ms",
    "p99_ms",
    "max_ms",
)


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report as tables."""
    head = [
        f"# Fault tests: profile {report['profile']}, seed {report['seed']}: "
        + ("all promises kept" if report["ok"] else "BROKEN"),
        "",
        f"{report['seconds']:.0f} s, {report['faults']['n']} faults, {report['faults']['kills']} of them kills with "
        f"SIGKILL; {report['uploads']['acknowledged']} uploads acknowledged, {report['uploads']['unknown']} not; "
        f"{report['tasks']['succeeded']} tasks succeeded, {report['tasks']['failed']} failed with an explanation; "
        f"{report['jobs']['acknowledged']} prediction jobs acknowledged, {report['jobs']['images_answered']} images "
        f"answered, {report['jobs']['claimed_again']} times claimed again.",
        "",
    ]
    promises = _table(
        ("promise", "checked on", "broken"),
        [(v["promise"], v["checked"], v["broken"]) for v in report["promises"]],
    )
    named = [f"- {v['promise']}: {text}" for v in report["promises"] for text in v["violations"]]
    predictions = _table(
        ("predictions", *COLUMNS),
        [
            (name, *(row.get(column) for column in COLUMNS))
            for name, row in (*report["predictions"].items(), *report["by_fault"].items())
        ],
    )
    figures = _table(("figure", "value"), _figures(report))
    return "\n".join([*head, *promises, "", *named, "", *predictions, "", *figures, ""])


def _figures(report: dict[str, Any]) -> Iterable[tuple[str, object]]:
    for group in ("takeover", "stops", "starts", "files", "uploads", "operations", "jobs", "tasks"):
        for name, value in report[group].items():
            yield f"{group} {name}", value
    yield "places not struck", report["faults"]["places_not_struck"]
    yield "faults left out", report["faults"]["left_out"]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [
        f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines
    ]
