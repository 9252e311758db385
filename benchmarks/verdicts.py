"""Promises, and what speaks against them: how benchmarks that can fail say what they found."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_NAMED = 10
"""Violations of one kind that a report spells out."""


@dataclass
class Verdict:
    """One promise, and what speaks against it."""

    name: str
    checked: int
    """How many things it was checked on."""
    violations: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.violations


def summary(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    """Return verdicts as they stand in a report."""
    return [
        {
            "promise": verdict.name,
            "checked": verdict.checked,
            "broken": len(verdict.violations),
            "violations": verdict.violations[:MAX_NAMED],
        }
        for verdict in verdicts
    ]
