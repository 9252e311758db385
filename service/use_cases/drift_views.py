"""What is told of the images that a learner is asked about: numbers for the API, sentences for people."""

from datetime import date, timedelta

from registry import classes, drift, learners
from registry.classes import Shown
from registry.drift import Change, Counted
from registry.postgres.database import Session
from service.schemas.drift import DriftChange, DriftDay, DriftRead

MOST_CLASSES = 10
QUANTILES = (0.25, 0.5, 0.75)
DIGITS = 4


def read_drift(session: Session, name: str) -> DriftRead:
    """Return what is known of a learner's last days.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    learner = learners.get_learner(session, name)
    found = drift.of_learner(session, learner.id)
    shown = classes.shown(session, learner.id)
    dates = [found.today - timedelta(days=ago) for ago in range(drift.SHOWN_DAYS, -1, -1)]
    reference = found.reference
    return DriftRead(
        learner=learner.name,
        today=found.today,
        days=[_day(day, found.days.get(day, Counted()), shown) for day in dates],
        reference=_day(dates[0], reference, shown) if reference.n else None,
        changes=[_change(change, shown) for change in found.changes],
    )


def change_sentence(change: Change, shown: Shown) -> str:
    """Return what is different, in a sentence.

    Example: `pictures look different since Tuesday 1 December: 31 % are unknown instead of 4 %, of 120 requests ...`.
    """
    since = f"{change.since:%A} {change.since.day} {change.since:%B}"
    if change.kind == "unknown":
        said = f"{change.now:.0%} are unknown instead of {change.before:.0%}"
    elif change.kind == "novelty":
        said = f"their novelty is {change.now:.2f} in the middle instead of {change.before:.2f}"
    else:
        said = (
            f"{change.now:.0%} are {shown.name(change.label or '')} instead of {change.before:.0%}"
        )
    version = " A version that is new since then may be why." if change.is_new_version else ""
    return (
        f"Pictures look different since {since}: {said} "
        f"({change.n_now} requests now, {change.n_before} before).{version}"
    )


def _day(day: date, counted: Counted, shown: Shown) -> DriftDay:
    novelty = [counted.quantile(share) for share in QUANTILES]
    return DriftDay(
        day=day,
        n=counted.n,
        unknown=_rounded(counted.unknown),
        score=_rounded(counted.mean_score),
        novelty=[round(value, DIGITS) for value in novelty if value is not None],
        classes={
            shown.name(label): round(n / counted.n, DIGITS)
            for label, n in counted.classes.most_common(MOST_CLASSES)
        },
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _change(change: Change, shown: Shown) -> DriftChange:
    return DriftChange(
        kind=change.kind,
        since=change.since,
        days=change.days,
        label=None if change.label is None else shown.name(change.label),
        before=round(change.before, DIGITS),
        now=round(change.now, DIGITS),
        n_before=change.n_before,
        n_now=change.n_now,
        chance=change.chance,
        new_version=change.is_new_version,
        sentence=change_sentence(change, shown),
    )
