"""Whether anything is wrong: what needs a person now, worst first, each in words and with what to do next.

The page Learners, `GET /v1/health` and `filopodia status` all show it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

from registry import attention, classes, drift
from registry.attention import Forgotten, Trouble
from registry.postgres.database import Session
from service.dependencies import AppContext
from service.http.security import Principal
from service.use_cases.condition import condition_of
from service.use_cases.drift_views import change_sentence

Severity = Literal["broken", "warning", "decision"]
RELEASE = version("filopodia")
DAY_S = 86_400.0
FULL_SOON_S = 14 * DAY_S
"""A disk that is full before that is told."""
ROOM = 2
"""So often the space below which uploads are refused has to be free, or it is told."""
SLOW = 3.0
"""So often what is usual a task waits before it is told."""
SLOW_S = 60.0
"""And at least that long."""


@dataclass(frozen=True)
class HealthFinding:
    """Something that needs a person."""

    code: str
    severity: Severity
    learner: str | None
    """None where it is of the whole installation."""
    sentence: str
    """What is wrong."""
    next_step: str
    """What to do about it."""


@dataclass(frozen=True)
class GeneralHealth:
    """All that was found, worst first."""

    checked_at: datetime
    findings: list[HealthFinding]

    @property
    def is_well(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def sentence(self) -> str:
        """The whole in one sentence."""
        if self.is_well:
            return "All is well."
        n = len(self.findings)
        return "One thing needs you." if n == 1 else f"{n} things need you."


def check(context: AppContext, viewer: Principal) -> GeneralHealth:
    """Look at everything that may be wrong, as far as the viewer may see it."""
    found = [*_parts(context, viewer), *_versions(context, viewer)]
    with context.session_factory() as session:
        found += _learned(session, context)
        found += _asked(session, context)
        found += _tasks(session)
        if viewer.sees_everything:
            found += _installation(session, context)
    if viewer.sees_everything:
        found += _disk(context)
        found += _answers(context)
    order = ("broken", "warning", "decision")
    found.sort(key=lambda finding: order.index(finding.severity))
    return GeneralHealth(datetime.now(UTC), found)


def _parts(context: AppContext, viewer: Principal) -> Iterator[HealthFinding]:
    condition = condition_of(context.health, viewer)
    for sentence in condition.alarms:
        is_worker = sentence == condition.worker_sentence
        step = "Look at the log of the service: it says why."
        if is_worker and context.health.worker_process is None:
            step = "Start a worker, or see why those there were have stopped."
        yield HealthFinding("worker" if is_worker else "part", "broken", None, sentence, step)


def _versions(context: AppContext, viewer: Principal) -> Iterator[HealthFinding]:
    for learner, number in sorted(context.watcher.failing().items()):
        if viewer.sees(learner):
            yield HealthFinding(
                "version-not-loaded",
                "broken",
                learner,
                f"Version {number} of {learner} cannot be loaded. The version before it goes on answering.",
                "Check the stored files, and serve an older version if this one is damaged.",
            )


def _learned(session: Session, context: AppContext) -> Iterator[HealthFinding]:
    for learner, live in attention.served(session):
        worse = context.forgetting.of(session, learner, live)
        if not worse:
            continue
        shown = classes.shown(session, learner.id)
        found = [one for one in worse if not (one.is_class and one.name in shown.hidden)]
        if not found:
            continue
        worst = next((each for each in found if each.is_class), found[0])
        name = shown.name(worst.name) if worst.is_class else worst.name
        yield HealthFinding(
            "forgotten",
            "warning",
            learner.name,
            f"{learner.name} answers {_what(worst, name)} worse than when it was learned: {_numbers(worst)}."
            + _others(found, worst),
            "Teach more images of it, see what it is taken for, or serve the version from before.",
        )


def _asked(session: Session, context: AppContext) -> Iterator[HealthFinding]:
    today = drift.today_of(session)
    for learner, _ in attention.served(session):
        key = (
            "drift",
            learner.id,
            today,
        )  # whole days are compared, so it is the same until tomorrow
        changes = context.recent.find(key)
        if not isinstance(changes, tuple):
            changes = tuple(drift.of_learner(session, learner.id).changes)
            context.recent.keep(key, changes)
        if changes:
            shown = classes.shown(session, learner.id)
            yield HealthFinding(
                "pictures-different",
                "warning",
                learner.name,
                f"{learner.name}: {change_sentence(changes[0], shown)}",
                "Look at the new images in Review, and teach those that should be known.",
            )


def _what(worst: Forgotten, name: str) -> str:
    return f"the class {name}" if worst.is_class else f"task {name}"


def _numbers(worst: Forgotten) -> str:
    now, learned = worst.now, worst.learned
    return f"{now.value:.0%} of {now.n} images now, {learned.value:.0%} of {learned.n} then"


def _others(found: list[Forgotten], worst: Forgotten) -> str:
    n = {
        True: sum(each.is_class and each is not worst for each in found),
        False: sum(not each.is_class and each is not worst for each in found),
    }
    said = [
        f"{count} other {one if count == 1 else several}"
        for count, one, several in ((n[True], "class", "classes"), (n[False], "task", "tasks"))
        if count
    ]
    return f" So it is with {' and '.join(said)}." if said else ""


def _tasks(session: Session) -> Iterator[HealthFinding]:
    for trouble in attention.failed(session):
        yield HealthFinding(
            "tasks-failed",
            "warning",
            trouble.learner,
            f"{_count(trouble)} of {trouble.learner} failed within the last week: nothing was learned from it.",
            "Read why on the page of the learner, and press Retry there. A failure older than a week is not told.",
        )
    for trouble in attention.held(session):
        verb = "waits" if trouble.n == 1 else "wait"
        yield HealthFinding(
            "tasks-held",
            "decision",
            trouble.learner,
            f"{_count(trouble)} of {trouble.learner} {verb} for your decision: nothing of it is answered until then.",
            "Publish or discard it on the page of the learner.",
        )


def _count(trouble: Trouble) -> str:
    return "One task" if trouble.n == 1 else f"{trouble.n} tasks"


def _installation(session: Session, context: AppContext) -> Iterator[HealthFinding]:
    queue = attention.queue(session)
    if queue.usual_s is not None and queue.longest_s > max(SLOW * queue.usual_s, SLOW_S):
        yield HealthFinding(
            "queue-slow",
            "warning",
            None,
            f"A task has waited for {span(queue.longest_s)}; nine of ten were taken up within {span(queue.usual_s)}.",
            "Start one more worker, or see what the ones that are there do.",
        )
    if lost := attention.lost_workers(session):
        yield HealthFinding(
            "workers-lost",
            "warning",
            None,
            f"{_names(lost)} went silent without saying goodbye. What it had goes to another worker.",
            "Start it again. It is forgotten after a day.",
        )
    if others := attention.other_releases(session, RELEASE):
        yield HealthFinding(
            "workers-other-release",
            "warning",
            None,
            f"{_names(others)} runs another release than the service, which is {RELEASE}.",
            "Bring it to the release of the service.",
        )
    yield from _backup(session, context.settings.backup_days)


def _backup(session: Session, days: int) -> Iterator[HealthFinding]:
    last_s, age_s = attention.last_backup_s(session), attention.age_s(session)
    if not days or age_s is None:
        return
    oldest_s = age_s if last_s is None else last_s
    if oldest_s <= days * DAY_S:
        return
    said = (
        "No backup was ever made." if last_s is None else f"The last backup is {span(last_s)} old."
    )
    yield HealthFinding(
        "backup-old",
        "warning",
        None,
        said,
        "Make one on the machine of the service: filopodia backup FILE.",
    )


def _disk(context: AppContext) -> Iterator[HealthFinding]:
    state = context.disk.look()
    if state is None:
        return
    floor = context.settings.min_free_bytes
    free = f"{state.free_bytes / 2**30:.1f} GiB of {state.total_bytes / 2**30:.1f} are free"
    step = "Free space, use a larger disk, or keep predictions for fewer days."
    if state.free_bytes < floor:
        yield HealthFinding(
            "disk-full", "broken", None, f"The disk is full: {free}, and nothing is taken in.", step
        )
    elif state.free_bytes < ROOM * floor:
        yield HealthFinding(
            "disk-filling", "warning", None, f"The disk is almost full: {free}.", step
        )
    elif state.full_in_s is not None and state.full_in_s < FULL_SOON_S:
        said = f"The disk will be full in {span(state.full_in_s)} if it goes on like this: {free}."
        yield HealthFinding("disk-filling", "warning", None, said, step)


def _answers(context: AppContext) -> Iterator[HealthFinding]:
    n = context.writer.n_dropped
    if n:
        yield HealthFinding(
            "answers-not-kept",
            "warning",
            None,
            f"{n} {'answer was' if n == 1 else 'answers were'} given but not kept since the service was started.",
            "See whether the database is slow or was away: the log of the service says when.",
        )


def _names(names: list[str]) -> str:
    first = ", ".join(names[:3])
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{'Worker' if len(names) == 1 else 'Workers'} {first}{rest}"


def span(seconds: float) -> str:
    """Return a length of time in words, in its largest unit.

    Example:
        >>> span(40), span(3600), span(20 * 86400)
        ('40 seconds', '60 minutes', '20 days')
    """
    for unit, size in (("day", DAY_S), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"
