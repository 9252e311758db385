"""Figures of a run: predictions answered and how fast, how soon tasks were taken over, how long stops took."""

import bisect
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.chaos.checker import Rows
from benchmarks.chaos.cluster import LEASE_S
from benchmarks.chaos.history import Answer
from benchmarks.chaos.jobs import JobLog
from benchmarks.chaos.judged_jobs import StoredJobs
from benchmarks.chaos.nemesis import AFTERMATH_S, InjectedFault
from benchmarks.chaos.programs import Program
from benchmarks.chaos.windows import CLOCK_S, Window, agree
from benchmarks.verdicts import Verdict
from registry.queue import MAX_RETRY_DELAY_S, RETRY_DELAY_S
from registry.statuses import TaskStatus
from registry.tables import CONSOLIDATE, PredictionJobRow
from service.inference.job_runner import CHUNK

STALE_S = 5.0
"""How long after a version went live the one before may still answer, while the database can be asked."""
OUTAGE_GAP_S = 1.0
"""A database that has not answered for so long was away."""
RECONNECT_S = 5.0
"""After an outage."""
TAKEOVER_SLACK_S = 5.0
"""On top of the lease; the promise."""
TAKEN_OVER = ("kill_worker", "kill_workers", "kill_pool", "kill_learn")
DELAYING = (
    *TAKEN_OVER,
    "pause_worker",
    "stop_worker",
    "power_cut",
    "junk_messages",
    "kill_redis",
    "freeze_redis",
    "flush_redis",
    "fail_at",
)
"""Faults that keep a worker from taking over; those of PostgreSQL show as times without an answer."""
PUBLISH_BEFORE_S, PUBLISH_AFTER_S = 0.5, 2.0


def outages(seen: Sequence[float]) -> list[Window]:
    """Return when the database was away, and the time that everybody needs to find it again. They do not overlap."""
    windows: list[Window] = []
    for last, first in itertools.pairwise(seen):
        if first - last > OUTAGE_GAP_S:
            since = max(last, windows[-1].until) if windows else last
            windows.append(Window(since, first + RECONNECT_S))
    return windows


def is_excused(answer: Answer, apis: dict[str, Program]) -> bool:
    """Return whether an unanswered prediction met only apis that were down, starting, or being stopped."""
    asked = [answer.api] if answer.client == "direct" else list(apis)
    return not any(apis[name].was_up(answer.started_at, answer.ended_at) for name in asked)


def rate(answers: Sequence[Answer], apis: dict[str, Program]) -> dict[str, Any]:
    """Return how predictions of one window fared."""
    failed = [answer for answer in answers if not answer.is_ok]
    unexcused = [answer for answer in failed if not is_excused(answer, apis)]
    n_counted = len(answers) - len(failed) + len(unexcused)
    return {
        "asked": len(answers),
        "answered": len(answers) - len(failed),
        "failed_at_a_dead_api": len(failed) - len(unexcused),
        "failed": len(unexcused),
        "success": round(1 - len(unexcused) / n_counted, 6) if n_counted else None,
        **latency([answer.seconds for answer in answers if answer.is_ok]),
    }


def latency(seconds: Sequence[float]) -> dict[str, float | None]:
    """Return percentiles in milliseconds."""
    return {
        f"{name}_ms": None if not seconds else round(1000 * quantile(seconds, q), 1)
        for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def quantile(values: Sequence[float], q: float) -> float:
    """Return the smallest value that a share `q` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def during(answers: Sequence[Answer], since: float, until: float) -> list[Answer]:
    """Return what was asked in a span of time."""
    return [answer for answer in answers if since <= answer.started_at < until]


def by_fault(
    answers: Sequence[Answer], struck: Sequence[InjectedFault], apis: dict[str, Program]
) -> dict[str, dict[str, Any]]:
    """Return how predictions fared while, and shortly after, each kind of fault struck."""
    during_fault: dict[str, list[Answer]] = defaultdict(list)
    count: dict[str, int] = defaultdict(int)
    for one in struck:
        count[one.fault.label] += 1
        during_fault[one.fault.label] += during(answers, one.at, one.until + AFTERMATH_S)
    return {
        label: {"faults": count[label], **rate(during_fault[label], apis)}
        for label in sorted(count)
    }


def around_publishes(answers: Sequence[Answer], rows: Rows, window: Window) -> list[Answer]:
    """Return what was asked in a window just before and after some version went live."""
    published = [version.created_at.timestamp() for version in rows.versions]
    return [
        answer
        for answer in during(answers, window.since, window.until)
        if any(-PUBLISH_BEFORE_S < answer.started_at - t < PUBLISH_AFTER_S for t in published)
    ]


def check_versions_answered(
    answers: Sequence[Answer], rows: Rows, away: Sequence[Window], stale_s: float = STALE_S
) -> list[Verdict]:
    """Check that answers name a version that was live then, and that one version gives one answer to one image."""
    names = {learner.name: learner.id for learner in rows.learners}
    published = {
        (version.learner_id, version.number): version.created_at.timestamp()
        for version in rows.versions
    }
    ok = [answer for answer in answers if answer.is_ok]
    live = Verdict(f"an answer names a version that was live within {stale_s:g} s", len(ok))
    same = Verdict("a version gives one answer to one image, at every api", len(ok))
    first: dict[tuple[str, int | None, int], Answer] = {}
    for answer in ok:
        learner_id, number = names[answer.learner], answer.version or 0
        since, until = published.get((learner_id, number)), published.get((learner_id, number + 1))
        if since is None or since > answer.ended_at + CLOCK_S:
            live.violations.append(f"{answer.learner} {number} at {answer.ended_at:.3f}: not there")
        elif until is not None and _staleness(answer, until, away) > stale_s + CLOCK_S:
            late = answer.started_at - until
            live.violations.append(f"{answer.api}: {answer.learner} {number}, {late:.1f} s stale")
        other = first.setdefault((answer.learner, answer.version, answer.image), answer)
        if other.label != answer.label or not agree(other.score, answer.score):
            same.violations.append(f"{answer.learner} {number} image {answer.image}: two answers")
    return [live, same]


def _staleness(answer: Answer, replaced_at: float, away: Sequence[Window]) -> float:
    """Return for how long an answer could have known better."""
    late = answer.started_at - replaced_at
    return late - sum(window.overlap(replaced_at, answer.started_at) for window in away)


def takeovers(
    struck: Sequence[InjectedFault], rows: Rows, away: Sequence[Window]
) -> dict[str, dict[str, Any]]:
    """Return how soon the next attempt at a task began after its worker or learn process was killed.

    Only tasks that did not have to wait for a slot: one that waits its turn says nothing about taking over, nor does a
    consolidation, which waits for every task. Waits that no other fault fell into are `undisturbed`: the promise is
    about these.
    """
    consolidations = {task.id for task in rows.tasks if task.mode == CONSOLIDATE}
    by_kind: dict[str, list[Takeover]] = defaultdict(list)
    for one in struck:
        for task_id in one.details.get("tasks", []) if one.fault.verb in TAKEN_OVER else []:
            starts = [] if task_id in consolidations else rows.starts.get(task_id, [])
            later = [t for t in starts if t > one.at]
            if not later or _has_competitors(rows, task_id, one.at, later[0]):
                continue
            others = [
                other for other in struck if other is not one and other.fault.verb in DELAYING
            ]
            is_disturbed = any(one.at - 1 < other.until and other.at < later[0] for other in others)
            is_disturbed |= any(window.overlap(one.at, later[0]) > 0 for window in away)
            n_before = bisect.bisect_left(starts, one.at)
            takeover = Takeover(task_id, later[0] - one.at, _bound(one.fault.verb, n_before))
            by_kind[f"{one.fault.verb}, {'disturbed' if is_disturbed else 'undisturbed'}"].append(
                takeover
            )
    return {name: _describe(by_kind[name]) for name in sorted(by_kind)}


@dataclass(frozen=True)
class Takeover:
    """A wait for the next attempt."""

    task_id: str
    seconds: float
    bound_s: float


def _describe(waits: Sequence[Takeover]) -> dict[str, Any]:
    seconds = [wait.seconds for wait in waits]
    return {
        "n": len(waits),
        "p50_s": round(quantile(seconds, 0.5), 2),
        "max_s": round(max(seconds), 2),
        "bounds_s": sorted({wait.bound_s for wait in waits}),
        "late": [
            f"{wait.task_id}: {wait.seconds:.1f} s" for wait in waits if wait.seconds > wait.bound_s
        ],
    }


def _bound(verb: str, attempts: int) -> float:
    """Return how long taking over may last: a lease; or the pause after a failed attempt, whose worker lives."""
    if verb != "kill_learn":
        return LEASE_S + TAKEOVER_SLACK_S
    pause_s: float = min(2 ** max(0, attempts - 1) * RETRY_DELAY_S, MAX_RETRY_DELAY_S)
    return pause_s + TAKEOVER_SLACK_S


def _has_competitors(rows: Rows, task_id: str, since: float, until: float) -> bool:
    """Return whether so many other tasks were unfinished meanwhile that no slot may have been free."""
    others = 0
    for task in rows.tasks:
        end = task.finished_at.timestamp() if task.finished_at else math.inf
        if task.id != task_id and task.created_at.timestamp() < until and end > since:
            others += 1
    return others > 1


def stops(programs: Sequence[Program], struck: Sequence[InjectedFault]) -> dict[str, Any]:
    """Return how long programs took to end after SIGTERM."""
    asked = {
        (one.details.get("target"), round(one.at))
        for one in struck
        if one.fault.verb.startswith("stop_")
    }
    seconds_of: dict[str, list[float]] = defaultdict(list)
    for program in programs:
        for lifetime in program.lifetimes:
            if lifetime.leaving_at is None or lifetime.ended_at is None:
                continue
            if {
                (program.name, round(lifetime.leaving_at)),
                (program.name, round(lifetime.leaving_at) - 1),
            } & asked:
                seconds_of[program.name.rstrip("12")].append(
                    lifetime.ended_at - lifetime.leaving_at
                )
    return {
        name: {"n": len(seconds), "max_s": round(max(seconds), 2)}
        for name, seconds in seconds_of.items()
    }


def recovery(program: Program) -> dict[str, Any]:
    """Return how often a program was started again, and how long it took to be ready."""
    gaps = [
        later.ready_at - earlier.ended_at
        for earlier, later in itertools.pairwise(program.lifetimes)
        if later.ready_at is not None and earlier.ended_at is not None
    ]
    return {
        "starts": len(program.lifetimes),
        "p50_s": round(quantile(gaps, 0.5), 2) if gaps else None,
        "max_s": round(max(gaps), 2) if gaps else None,
    }


def prediction_jobs(log: JobLog, kept: StoredJobs) -> dict[str, Any]:
    """Return how prediction jobs fared: images answered, chunks claimed once more, how soon jobs had ended.

    A chunk is claimed again when its service was killed or frozen, or had to give it back unfinished.
    """
    outcomes = Counter(one.outcome for one in log.operations)
    again = {job.id: job.token - math.ceil(job.n_images / CHUNK) for job in kept.jobs}
    return {
        "acknowledged": outcomes["ok"],
        "unknown": outcomes["unknown"],
        "refused": outcomes["fail"],
        "tries": sum(one.tries for one in log.operations),
        "by_source": dict(Counter(one.what["source"] for one in log.operations)),
        "succeeded": sum(job.status == TaskStatus.SUCCEEDED for job in kept.jobs),
        "errors": dict(Counter(job.error["code"] for job in kept.jobs if job.error)),
        "images_answered": sum(job.n_done for job in kept.jobs),
        "claimed_again": sum(max(0, n) for n in again.values()),
        "jobs_claimed_again": sum(n > 0 for n in again.values()),
        "ended_after": _seconds(job for job in kept.jobs if again[job.id] <= 0),
        "ended_after_if_claimed_again": _seconds(job for job in kept.jobs if again[job.id] > 0),
    }


def _seconds(jobs: Iterable[PredictionJobRow]) -> dict[str, float | None]:
    took = [
        (job.finished_at - job.created_at).total_seconds()
        for job in jobs
        if job.finished_at is not None
    ]
    return {
        f"{name}_s": None if not took else round(quantile(took, q), 2)
        for name, q in (("p50", 0.5), ("max", 1.0))
    }
