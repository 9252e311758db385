"""How benchmarks teach a learner: what a service does at once, and what it does in the quiet."""

import time
from typing import Any

from models.strategies.base import Strategy
from models.strategies.values import Task

NEVER = 0


class Teacher:
    """Teaches a strategy one task after the other, and lets it consolidate what waits every so many tasks."""

    def __init__(self, strategy: Strategy[Any], *, every: int = 1) -> None:
        """Begin.

        Args:
            strategy: Any; one that does not consolidate just learns.
            every: After how many tasks it consolidates: 1 after each, `NEVER` not at all.
        """
        self._strategy = strategy
        self._every = every
        self._waiting: list[Task] = []

    def teach(self, task: Task, *, is_last: bool = False) -> float:
        """Let it learn a task, and consolidate if it is time to. Returns how many seconds that took."""
        started = time.perf_counter()
        self._strategy.learn(task)
        self._waiting.append(task)
        if self._every != NEVER and (is_last or len(self._waiting) >= self._every):
            self._consolidate()
        return time.perf_counter() - started

    def _consolidate(self) -> None:
        """Let it consolidate what waits, if anything does."""
        waiting = [task for task in self._waiting if task.index in self._strategy.unconsolidated_]
        if waiting:
            self._strategy.consolidate(waiting, seed=waiting[0].seed)
        self._waiting = []
