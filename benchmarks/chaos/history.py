"""What clients did and saw, in order: the evidence that the checker judges."""

import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

Phase = Literal["invoke", "ok", "fail", "unknown"]
"""`fail` is an answer that says no. No answer is `unknown`: the request may have been carried out or not."""


@dataclass(frozen=True)
class Entry:
    """One step of one operation."""

    t: float
    """Seconds since 1970, by the clock that PostgreSQL on this machine uses too."""
    op: str
    id: str
    phase: Phase
    details: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """A prediction that was asked for, and what came of it."""

    client: str
    """`balanced` tries the other api when one does not answer; `direct` does not."""
    api: str
    """Which answered, or was asked last."""
    learner: str
    image: int
    started_at: float
    ended_at: float
    outcome: str
    """`ok`, the code of a problem, or the name of the error."""
    status: int | None
    version: int | None
    label: str | None
    score: float | None

    @property
    def is_ok(self) -> bool:
        """Whether it was answered."""
        return self.outcome == "ok"

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_at - self.started_at


class History:
    """Collects entries of all clients, in memory and in a file. Safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        self.started = time.time()
        self.entries: list[Entry] = []
        self.answers: list[Answer] = []
        self._lock = threading.Lock()
        self._file: TextIO = file.open("w")

    def add(self, op: str, op_id: str, phase: Phase, **details: Any) -> None:
        """Record a step now."""
        entry = Entry(time.time(), op, op_id, phase, details)
        with self._lock:
            self.entries.append(entry)
            self._write(asdict(entry))

    def add_answer(self, answer: Answer) -> None:
        """Record a prediction."""
        with self._lock:
            self.answers.append(answer)
            self._write({"op": "predict", **asdict(answer)})

    def of(self, op: str) -> list[Entry]:
        """Return the entries of one kind of operation so far."""
        with self._lock:
            return [entry for entry in self.entries if entry.op == op]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        if not self._file.closed:
            self._file.write(json.dumps(line) + "\n")
