"""Judges what an operator did to one learner: unlearning, feedback, rollbacks and bundles."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.chaos.checker import Rows, check_tasks
from benchmarks.chaos.insisting import Operation, PredictedLabel
from benchmarks.chaos.operations import OperatorLog
from benchmarks.chaos.windows import CLOCK_S, Window, agree
from benchmarks.verdicts import Verdict
from registry.statuses import TaskStatus
from registry.tables import FeedbackRow

EXCUSED = {
    "move": ("version-erased", "version-not-found"),
    "unlearn": ("unknown-content", "nothing-would-remain", "nothing-learned", "stale-head"),
    "feedback": ("prediction-not-found", "image-not-kept", "feedback-taken", "label-confusable"),
    "import": (),
}
"""Codes of refusals that say how things are: erased meanwhile; a prediction whose api died before it was written."""

PUBLISH_S = 12.0
"""A version's time is that of its transaction's begin; its end may have been frozen for so long."""
LATE_S = 20.0
"""A try that was given up may be carried out so much later, after its repetition."""


@dataclass(frozen=True)
class StoredFeedback:
    """Feedback as the database holds it: label by prediction and index."""

    labels: dict[tuple[str, int], str] = field(default_factory=dict)


def read_feedback(session: Session) -> StoredFeedback:
    """Read all of it."""
    rows = session.scalars(select(FeedbackRow))
    return StoredFeedback({(row.prediction_id, row.index): row.label for row in rows})


def check(
    done: OperatorLog,
    rows: Rows,
    kept: StoredFeedback,
    away: Sequence[Window],
    *,
    learner: str,
    stale_s: float,
) -> list[Verdict]:
    """Check everything.

    Args:
        done: What the operator did and saw.
        rows: All of the database.
        kept: Feedback in the database.
        away: When the database was away.
        learner: Name of the operated learner.
        stale_s: How long an api may answer by a version that has been replaced.
    """
    ids = {row.name: row.id for row in rows.learners}
    own = rows.named(learner)
    return [
        _refusals(done),
        _unlearned(done, own),
        _feedback(done, own, kept),
        *_rollbacks(done, own, ids[learner], away, stale_s),
        *_imports(done, rows, ids),
        # Not that of the alias: here it is moved on purpose.
        *renamed(check_tasks(own)[:3]),
    ]


def _refusals(done: OperatorLog) -> Verdict:
    verdict = Verdict("an operation is refused only for what has happened", len(done.operations))
    verdict.violations += [
        f"{one.key}: {one.refusal}"
        for one in done.operations
        if one.outcome == "fail" and one.refusal not in EXCUSED[one.kind]
    ]
    return verdict


def _unlearned(done: OperatorLog, own: Rows) -> Verdict:
    asked = [one for one in done.of("unlearn") if one.outcome == "ok"]
    verdict = Verdict("an unlearning that was acknowledged is done, or explained", len(asked))
    by_id = {task.id: task for task in own.tasks}
    numbers = {version.task_id: version.number for version in own.versions}
    for one in asked:
        task = by_id.get(one.answer["id"])
        (label,) = one.what["classes"]
        if task is None:
            verdict.violations.append(f"{label}: its task is gone")
        elif task.status == TaskStatus.FAILED:
            if not (task.error and task.error["code"] and task.error["detail"]):
                verdict.violations.append(f"{label}: failed without an explanation")
        elif task.status != TaskStatus.SUCCEEDED:
            verdict.violations.append(f"{label}: {task.status}")
        else:
            verdict.violations += _traces(own, label, numbers.get(task.id))
    return verdict


def _traces(own: Rows, label: str, number: int | None) -> list[str]:
    """Say where a class that was unlearned with a version is still known."""
    if number is None:
        return [f"{label}: no version"]
    traces = [
        f"{label}: version {version.number} still answers it"
        for version in own.versions
        if label in version.classes and version.manifest_sha256 is not None
    ]
    samples = [s for task in own.tasks for s in own.samples.get(task.id, []) if s.label == label]
    return traces + ([f"{label}: {len(samples)} images are kept"] if samples else [])


def _feedback(done: OperatorLog, own: Rows, kept: StoredFeedback) -> Verdict:
    acknowledged = [one for one in done.of("feedback") if one.outcome == "ok"]
    verdict = Verdict("feedback that was acknowledged is kept", len(acknowledged))
    verdict.violations += lost_feedback(acknowledged, own, kept)
    return verdict


def lost_feedback(granted: Iterable[Operation], rows: Rows, kept: StoredFeedback) -> list[str]:
    """Return the feedback that was acknowledged and is not there, nor was its class unlearned."""
    gone = rows.unlearned()
    lost = []
    for one in granted:
        if one.kind != "feedback" or one.what["label"] in gone:
            continue
        label = kept.labels.get((one.what["prediction"], one.what["index"]))
        if label != one.what["label"]:
            lost.append(f"{one.what}: {label or 'lost'}")
    return lost


@dataclass(frozen=True)
class Write:
    """Something that may have moved the alias at some moment of a span of time."""

    version: int
    started: float
    ended: float
    """Infinite if it may still come."""


def writes(done: OperatorLog, own: Rows) -> list[Write]:
    """Return what moved the alias: publications, and moves that were not refused."""
    published = [
        Write(version.number, at - CLOCK_S, at + PUBLISH_S)
        for version in own.versions
        for at in (version.created_at.timestamp(),)
    ]
    moved = [
        Write(one.what["version"], one.started, _surely_over(one))
        for one in done.of("move")
        if one.outcome != "fail"
    ]
    return [*published, *moved]


def _surely_over(one: Operation) -> float:
    """Return when a change could come no more; never, if nobody answered."""
    if one.ended is None:
        return math.inf
    return one.ended + (LATE_S if one.tries > 1 else 0.0)


def possible(writes_to_it: Iterable[Write], since: float, until: float) -> set[int]:
    """Return the versions that the alias may have pointed to at some moment of a span of time.

    A write counts from when it was begun until a later one, begun after it had ended, has surely come.
    """
    listed = list(writes_to_it)
    versions = set()
    for write in listed:
        over = min((w.ended for w in listed if w.started >= write.ended), default=math.inf)
        if write.started <= until and over >= since:
            versions.add(write.version)
    return versions


def _rollbacks(
    done: OperatorLog, own: Rows, learner_id: str, away: Sequence[Window], stale_s: float
) -> list[Verdict]:
    alias_writes = writes(done, own)
    read = Verdict("the alias reads as what it was moved to last", len(done.aliases) + 1)
    read.violations += [
        f"{seen.version} at {seen.ended:.2f}: {sorted(allowed)}"
        for seen in done.aliases
        if seen.version not in (allowed := possible(alias_writes, seen.started, seen.ended))
    ]
    live = own.live.get(learner_id, 0)
    if own.versions and live not in (allowed := possible(alias_writes, math.inf, math.inf)):
        read.violations.append(f"{live} at the end: {sorted(allowed)}")
    answered = Verdict("an answer after a rollback is of the version moved to", len(done.answers))
    for seen in done.answers:
        since = seen.started - stale_s - CLOCK_S
        since -= sum(window.overlap(since, seen.started) for window in away)
        if seen.version not in (allowed := possible(alias_writes, since, seen.ended)):
            answered.violations.append(f"{seen.version} at {seen.ended:.2f}: {sorted(allowed)}")
    return [read, answered]


def _imports(done: OperatorLog, rows: Rows, ids: dict[str, str]) -> list[Verdict]:
    brought = [one for one in done.of("import") if one.outcome == "ok"]
    there = Verdict("an import that was acknowledged is there, as version 1", len(brought))
    for one in brought:
        numbers = [v.number for v in rows.versions_of(ids.get(one.what["name"], ""))]
        if numbers != [1]:
            there.violations.append(f"{one.what['name']}: versions {numbers}")
    equal = Verdict("an imported learner answers as the exported version", len(done.compared))
    for name, before, after in done.compared:
        if not all(_agree(b, a) for b, a in zip(before, after, strict=True)):
            equal.violations.append(f"{name}: {before} and {after}")
    return [there, equal]


def _agree(one: PredictedLabel, other: PredictedLabel) -> bool:
    is_same = (one.image, one.label) == (other.image, other.label)
    return is_same and agree(one.score, other.score)


def renamed(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return verdicts with names that tell them from those of the other learners."""
    return [replace(one, name=f"{one.name}, while some is unlearned") for one in verdicts]


def count(done: OperatorLog) -> dict[str, dict[str, int]]:
    """Return how many operations of each kind were granted, refused and never answered, for the report."""
    counts: dict[str, dict[str, int]] = {}
    for one in done.operations:
        of_kind = counts.setdefault(one.kind, {"granted": 0, "refused": 0, "unknown": 0})
        of_kind[NAMES[one.outcome]] += 1
    return counts


NAMES = {"ok": "granted", "fail": "refused", "unknown": "unknown", "invoke": "unknown"}
