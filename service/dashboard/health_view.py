"""What was found wrong as the first page shows it: in words, each with where to go."""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from service.use_cases.findings import GeneralHealth, HealthFinding, Severity

SHOWN = 8
"""What needs a person, worst first; a page with more is not read."""
WORDS: dict[Severity, str] = {"broken": "broken", "warning": "see to it", "decision": "decide"}
OF_LEARNERS = {
    "forgotten": ("/classes", "See its classes"),
    "tasks-failed": ("", "See its tasks"),
    "tasks-held": ("", "Decide"),
    "pictures-different": ("/drift", "See what is different"),
    "version-not-loaded": ("", "See its versions"),
}
"""By code: the page of a learner, and what a link to it says."""
ON_TASKS = frozenset({"worker", "part", "queue-slow", "workers-lost", "workers-other-release"})
"""Codes of what the page Tasks says more about."""


@dataclass(frozen=True)
class FindingRow:
    """Something that needs a person."""

    severity: Severity
    word: str
    """What the severity is called."""
    sentence: str
    next_step: str
    address: str | None
    """Where to go; None if there is no page for it."""
    link: str


@dataclass(frozen=True)
class HealthView:
    """All that was found, as far as it is shown."""

    is_well: bool
    is_broken: bool
    sentence: str
    checked_at: datetime
    rows: list[FindingRow]
    n_left_out: int


def health_view(health: GeneralHealth) -> HealthView:
    """Return what was found as a page shows it."""
    return HealthView(
        is_well=health.is_well,
        is_broken=any(finding.severity == "broken" for finding in health.findings),
        sentence=health.sentence,
        checked_at=health.checked_at,
        rows=[_row(finding) for finding in health.findings[:SHOWN]],
        n_left_out=max(0, len(health.findings) - SHOWN),
    )


def _row(finding: HealthFinding) -> FindingRow:
    address, link = None, ""
    if finding.learner is not None and finding.code in OF_LEARNERS:
        path, link = OF_LEARNERS[finding.code]
        address = f"/admin/learners/{quote(finding.learner)}{path}"
    elif finding.code in ON_TASKS:
        address, link = "/admin/tasks", "See the workers and parts"
    return FindingRow(
        finding.severity,
        WORDS[finding.severity],
        finding.sentence,
        finding.next_step,
        address,
        link,
    )
