"""What each learner's live version answers worse than when it was learned, worked out once a version."""

from threading import Lock

from registry import attention
from registry.attention import Forgotten
from registry.postgres.database import Session
from registry.tables import LearnerRow

MOST = 1000
"""Learners of which it is remembered; those asked of longest ago go first."""


class Forgetting:
    """Remembers what was found of versions, which never change: of many tasks and classes it takes a while to find."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, list[Forgotten]]] = {}
        self._lock = Lock()

    def of(self, session: Session, learner: LearnerRow, live: int) -> list[Forgotten]:
        """Return what a learner's live version answers worse than when it was learned, worst first."""
        with self._lock:
            version, found = self._found.pop(learner.id, (0, []))
        if version != live:
            found = attention.forgotten(session, learner, live)
        with self._lock:
            self._found[learner.id] = live, found
            while len(self._found) > MOST:
                del self._found[next(iter(self._found))]
        return found
