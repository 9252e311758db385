"""When consolidations may start by themselves, as an operator writes it in `FILOPODIA_CONSOLIDATE`."""

import re
from dataclasses import dataclass
from typing import Literal

When = Literal["at_once", "idle", "hours", "by_hand", "never"]

_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
PATTERN = rf"^(at_once|idle|by_hand|never|{_CLOCK}-{_CLOCK})$"
IN_WORDS = "at_once, idle, by_hand, never, or hours in UTC such as 22:00-06:00"
IDLE_S = 10.0


@dataclass(frozen=True)
class Schedule:
    """When a consolidation is queued by itself, and from when on it may start."""

    when: When = "idle"
    idle_s: float = IDLE_S
    """Seconds after the learner's last published task before one may start; none with `at_once`."""
    hours: tuple[int, int] | None = None
    """With `hours`: minutes after midnight, UTC, from which and until which one may run."""

    @classmethod
    def parse(cls, text: str, idle_s: float = IDLE_S) -> "Schedule":
        """Return the schedule that is written so.

        Raises:
            ValueError: If it is none.

        Example:
            >>> Schedule.parse("22:00-06:30").hours
            (1320, 390)
        """
        if not re.fullmatch(PATTERN, text):
            raise ValueError(IN_WORDS)
        if ":" in text:
            start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in text.split("-"))
            return cls("hours", idle_s, (start, end))
        names: dict[str, When] = {
            "at_once": "at_once",
            "idle": "idle",
            "by_hand": "by_hand",
            "never": "never",
        }
        return cls(names[text], 0.0 if text == "at_once" else idle_s)

    @property
    def queues(self) -> bool:
        """Whether consolidations are queued by themselves."""
        return self.when not in ("by_hand", "never")
