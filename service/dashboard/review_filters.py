"""What the address of the review says about the images that it shows."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, get_args

from fastapi import Depends, Query

from registry import classes
from registry.postgres.database import Session
from registry.reviews import Wanted
from service.labels import MAX_LABEL
from service.schemas.base import MAX_INT

Show = Literal["useful", "unknown", "all"]
Text = Annotated[str, Query(max_length=8 * MAX_LABEL)]


@dataclass(frozen=True)
class Filters:
    """What the address of a page says about the images it shows; what cannot be read is no filter."""

    show: str = ""
    label: str = ""
    min_score: str = ""
    max_score: str = ""
    min_novelty: str = ""
    max_novelty: str = ""
    since: str = ""
    until: str = ""
    version: str = ""

    @property
    def query(self) -> dict[str, str]:
        """The filters that are set, for an address."""
        return {name: value for name, value in vars(self).items() if value}

    @property
    def is_narrow(self) -> bool:
        """Whether any is set besides `show`."""
        return bool(self.query.keys() - {"show"})

    @property
    def shown(self) -> Show:
        """Which kind of images is shown."""
        return self.show if self.show in get_args(Show) else "useful"  # type: ignore[return-value]

    def wanted(self, session: Session, learner_id: str) -> Wanted:
        """Return what they ask for."""
        until = _day(self.until)
        return Wanted(
            label=classes.resolve(session, learner_id, self.label) if self.label else None,
            known=False if self.shown == "unknown" else None,
            min_score=_share(self.min_score),
            max_score=_share(self.max_score),
            min_novelty=_share(self.min_novelty),
            max_novelty=_share(self.max_novelty),
            since=_day(self.since),
            until=None if until is None else until + timedelta(days=1),
            version=int(self.version) if _is_number(self.version) else None,
            sure=self.shown == "all",
        )


def _filters(
    show: Text = "",
    label: Text = "",
    min_score: Text = "",
    max_score: Text = "",
    min_novelty: Text = "",
    max_novelty: Text = "",
    since: Text = "",
    until: Text = "",
    version: Text = "",
) -> Filters:
    return Filters(
        show, label.strip(), min_score, max_score, min_novelty, max_novelty, since, until, version
    )


FiltersDep = Annotated[Filters, Depends(_filters)]


def _share(text: str) -> float | None:
    """Return a share that is written in percent; None if it is not."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value / 100 if 0 <= value <= 100 else None


def _day(text: str) -> datetime | None:
    """Return the beginning of a day; None if it is none."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= MAX_INT
