"""Whether the images that a learner is asked about look different than before: its stored predictions, day by day."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

from sqlalchemy import Date, Float, Integer, cast, func, select, tuple_
from sqlalchemy.orm import Session

from registry.tables import PredictionRow

Kind = Literal["unknown", "novelty", "classes"]

LENGTHS = (1, 3, 7)
"""Whole days that are compared with the days before them, each length by itself."""
REFERENCE_DAYS = 21
"""Days before those, which they are compared with."""
SHOWN_DAYS = max(LENGTHS) + REFERENCE_DAYS
LEAST = 20
"""Requests that either side needs."""
FALSE_ALARMS = 0.05
"""Learners that are told of a change within `LOOKS` days although nothing has changed; fewer, by all that is joined."""
LOOKS = 30
"""Days over which that holds: there is one look a day, since only whole days are compared."""
KINDS: tuple[Kind, ...] = ("unknown", "novelty", "classes")
LEVEL = FALSE_ALARMS / (LOOKS * len(LENGTHS) * len(KINDS))
"""What a single test may be wrong by (Bonferroni)."""
LEAST_CHANGE = 0.1
"""A smaller change is not told, however sure it is: of shares, or of how often the one side looks more novel."""
BINS = 50
"""Novelties are counted in bins of this many to the whole."""
EXPECTED = 8.0
"""Classes of which fewer are expected on either side are joined."""


@dataclass
class Counted:
    """What was answered on some days. Of each request the first image counts: others of it are often alike."""

    n: int = 0
    n_unknown: int = 0
    score: float = 0.0
    """Sum of the scores of the best class."""
    novelty: Counter[int] = field(default_factory=Counter)
    """Requests by bin of novelty."""
    classes: Counter[str] = field(default_factory=Counter)
    versions: tuple[int, ...] = ()
    """The oldest and newest that answered."""

    @property
    def unknown(self) -> float | None:
        """Share that looks like no known class."""
        return self.n_unknown / self.n if self.n else None

    @property
    def mean_score(self) -> float | None:
        """Mean score of the best class."""
        return self.score / self.n if self.n else None

    def quantile(self, share: float) -> float | None:
        """Return a quantile of the novelty, to the width of a bin."""
        passed = 0
        for bin_ in sorted(self.novelty):
            passed += self.novelty[bin_]
            if passed >= share * self.n:
                return (bin_ + 0.5) / BINS
        return None

    def add(self, other: "Counted") -> None:
        """Count what was answered on other days too."""
        self.n += other.n
        self.n_unknown += other.n_unknown
        self.score += other.score
        self.novelty.update(other.novelty)
        self.classes.update(other.classes)
        both = (*self.versions, *other.versions)
        self.versions = (min(both), max(both)) if both else ()


@dataclass(frozen=True)
class Change:
    """Something that is different in the last days, by more than chance explains."""

    kind: Kind
    since: date
    days: int
    label: str | None
    """The class whose share changed most; None for the other kinds."""
    before: float
    now: float
    """Share of unknown images, median novelty, or share of the class."""
    n_before: int
    n_now: int
    chance: float
    """How likely chance alone does as much."""
    is_new_version: bool
    """Whether versions answered in these days that did not before."""


@dataclass(frozen=True)
class Drift:
    """The days of a learner, oldest first, and what has changed; the surest first."""

    today: date
    """By the database, in UTC. It is not over, so it is not compared."""
    days: dict[date, Counted]
    changes: list[Change]

    @property
    def reference(self) -> Counted:
        """The days that the longest comparison compares with."""
        return between(self.days, self.today, max(LENGTHS), SHOWN_DAYS)


def of_learner(session: Session, learner_id: str) -> Drift:
    """Return what is known of a learner's last days. One query over the index of its predictions."""
    today, days = read_days(session, learner_id)
    return Drift(today, days, find(days, today))


def today_of(session: Session) -> date:
    """Return the day by the database, in UTC."""
    return session.scalars(select(cast(func.timezone("UTC", func.now()), Date))).one()


def read_days(session: Session, learner_id: str) -> tuple[date, dict[date, Counted]]:
    """Count the stored predictions of a learner by day."""
    now = func.timezone("UTC", func.now())
    today = today_of(session)
    first = PredictionRow.results[0]
    novelty, score = first["novelty"].astext, first["score"].astext
    asked = (
        select(
            cast(func.timezone("UTC", PredictionRow.created_at), Date).label("day"),
            func.least(cast(func.floor(cast(novelty, Float) * BINS), Integer), BINS - 1).label(
                "bin"
            ),
            first["label"].astext.label("label"),
            (first["known"].astext == "false").label("is_unknown"),
            cast(score, Float).label("score"),
            PredictionRow.version.label("version"),
        )
        .where(
            PredictionRow.learner_id == learner_id,
            PredictionRow.created_at
            >= func.timezone("UTC", func.date_trunc("day", now) - timedelta(days=SHOWN_DAYS)),
            novelty.is_not(None),
        )
        .cte("asked")
    )
    columns = asked.c
    sets = func.grouping_sets(
        tuple_(columns.day, columns.bin, columns.is_unknown), tuple_(columns.day, columns.label)
    )
    query = select(
        columns.day,
        columns.bin,
        columns.is_unknown,
        columns.label,
        func.count(),
        func.sum(columns.score),
        func.min(columns.version),
        func.max(columns.version),
    ).group_by(sets)
    days: dict[date, Counted] = defaultdict(Counted)
    for day, bin_, is_unknown, label, n, total, oldest, newest in session.execute(query):
        counted = days[day]
        if bin_ is None:
            counted.classes[label] += n
            continue
        part = Counted(n, n if is_unknown else 0, total, Counter({bin_: n}))
        part.versions = (oldest, newest)
        counted.add(part)
    return today, dict(sorted(days.items()))


def between(days: Mapping[date, Counted], today: date, after: int, until: int) -> Counted:
    """Return the sum of the days from `until` to `after` days ago, without the latter's next."""
    total = Counted()
    for ago in range(after + 1, until + 1):
        if (day := days.get(today - timedelta(days=ago))) is not None:
            total.add(day)
    return total


def find(days: Mapping[date, Counted], today: date) -> list[Change]:
    """Return what is different in the last whole days than in the days before, by more than chance explains."""
    found: dict[Kind, Change] = {}
    for length in LENGTHS:
        now = between(days, today, 0, length)
        before = between(days, today, length, length + REFERENCE_DAYS)
        if min(now.n, before.n) < LEAST:
            continue
        for kind in KINDS:
            chance, effect, label, was, is_ = _TESTS[kind](before, now)
            if chance >= LEVEL or effect < LEAST_CHANGE:
                continue
            change = Change(
                kind=kind,
                since=today - timedelta(days=length),
                days=length,
                label=label,
                before=was,
                now=is_,
                n_before=before.n,
                n_now=now.n,
                chance=chance,
                is_new_version=bool(now.versions and now.versions[1] > before.versions[1]),
            )
            if kind not in found or chance < found[kind].chance:
                found[kind] = change
    return sorted(found.values(), key=lambda change: change.chance)


Tested = tuple[float, float, str | None, float, float]
"""Chance, size of the change, class, and the numbers before and now."""


def _unknown(before: Counted, now: Counted) -> Tested:
    was, is_ = before.n_unknown / before.n, now.n_unknown / now.n
    chance = fisher(before.n_unknown, before.n, now.n_unknown, now.n)
    return chance, abs(is_ - was), None, was, is_


def _novelty(before: Counted, now: Counted) -> Tested:
    chance, superior = rank_sum(before.novelty, now.novelty)
    was, is_ = before.quantile(0.5) or 0.0, now.quantile(0.5) or 0.0
    return chance, abs(superior - 0.5), None, was, is_


def _classes(before: Counted, now: Counted) -> Tested:
    # Which classes stand alone is decided by both sides together, so that it says nothing of their difference.
    least = min(before.n, now.n) / (before.n + now.n)
    both = before.classes + now.classes
    alone = {label for label, n in both.items() if n * least >= EXPECTED}
    rest = sum(n for label, n in both.items() if label not in alone)
    rows = [(before.classes[label], now.classes[label]) for label in alone]
    if rest * least >= EXPECTED:
        rows.append(
            (
                before.n - sum(row[0] for row in rows),
                now.n - sum(row[1] for row in rows),
            )
        )
    shares = {
        label: (before.classes[label] / before.n, now.classes[label] / now.n) for label in both
    }
    label = max(shares, key=lambda one: abs(shares[one][1] - shares[one][0]))
    was, is_ = shares[label]
    return chi_square(rows), abs(is_ - was), label, was, is_


_TESTS: dict[Kind, Callable[[Counted, Counted], Tested]] = {
    "unknown": _unknown,
    "novelty": _novelty,
    "classes": _classes,
}


def fisher(one: int, n_one: int, other: int, n_other: int) -> float:
    """Return Fisher's exact chance, both ways, that two shares differ as much if they are the same.

    Example:
        >>> round(fisher(1, 10, 9, 10), 5)
        0.00109
    """
    total, both = n_one + n_other, one + other
    most, least = min(both, n_one), max(0, both - n_other)
    whole = _log_choose(total, both)
    logs = [
        _log_choose(n_one, k) + _log_choose(n_other, both - k) - whole
        for k in range(least, most + 1)
    ]
    bound = logs[one - least] + 1e-9
    return min(1.0, math.fsum(math.exp(log) for log in logs if log <= bound))


def rank_sum(before: Mapping[int, int], now: Mapping[int, int]) -> tuple[float, float]:
    """Return the chance by Mann's and Whitney's test with ties, and how often one of `now` is above one of `before`."""
    n, m = sum(before.values()), sum(now.values())
    below, above, ties = 0, 0.0, 0
    for value in sorted({*before, *now}):
        a, b = before.get(value, 0), now.get(value, 0)
        above += b * (below + a / 2)
        below += a
        ties += (a + b) ** 3 - (a + b)
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0, 0.5
    z = max(0.0, abs(above - n * m / 2) - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2)), above / (n * m)


def chi_square(rows: Sequence[tuple[int, int]]) -> float:
    """Return the chance that two columns of counts differ as much if their shares are the same (Pearson)."""
    freedom = len(rows) - 1
    if freedom < 1:
        return 1.0
    sides = [sum(row[side] for row in rows) for side in (0, 1)]
    total = sum(sides)
    statistic = 0.0
    for row in rows:
        for side in (0, 1):
            expected = sum(row) * sides[side] / total
            statistic += (row[side] - expected) ** 2 / expected
    return chi_square_above(statistic, freedom)


def chi_square_above(statistic: float, freedom: int) -> float:
    """Return how likely chi-square of so many degrees of freedom is above a number; exact.

    Example:
        >>> round(chi_square_above(3.841, 1), 3), round(chi_square_above(18.307, 10), 3)
        (0.05, 0.05)
    """
    if statistic <= 0:
        return 1.0
    half = statistic / 2
    chance = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    for step in range(3 if freedom % 2 else 4, freedom + 1, 2):
        power = step / 2 - 1
        chance += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(1.0, chance)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
