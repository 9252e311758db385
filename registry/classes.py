"""What operators have made of a learner's classes: other names for them, and which are never answered.

A class keeps the label it was learned with, in versions, samples, tasks and stored predictions; another name is put on
whatever is shown, and taken off whatever comes in. So renaming needs no learning, and can be taken back.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.errors import ClassNameTakenError, LabelConfusableError
from registry.statuses import RETRYABLE
from registry.tables import ClassRow, LearnerRow, TaskRow, VersionRow

_Row = tuple[str, str | None, bool, float | None]
_COLUMNS = (ClassRow.label, ClassRow.name, ClassRow.is_hidden, ClassRow.min_score)
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols that show nothing: fillers, a joiner of marks, the empty Braille cell."""


@dataclass(frozen=True)
class Shown:
    """What a learner's classes are called, and which are hidden. By default each is called by its label."""

    names: Mapping[str, str] = field(default_factory=dict)
    """By label; only classes with another name."""
    hidden: frozenset[str] = frozenset()
    """Labels of classes that are never answered."""
    min_scores: Mapping[str, float] = field(default_factory=dict)
    """By label; scores below which an answer of the class counts as not known, where one was set."""

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """Label of each other name."""
        return {name: label for label, name in self.names.items()}

    def name(self, label: str) -> str:
        """Return what the class of a label is called."""
        return self.names.get(label, label)

    def label(self, name: str) -> str:
        """Return the label of the class that is called so, or was learned so."""
        return self.labels.get(name, name)


PLAIN = Shown()
"""Of a learner whose classes nobody touched."""


def shown(session: Session, learner_id: str) -> Shown:
    """Return how a learner's classes are shown."""
    query = select(*_COLUMNS).where(ClassRow.learner_id == learner_id)
    return _shown((row[0], row[1], row[2], row[3]) for row in session.execute(query))


def all_shown(session: Session) -> dict[str, Shown]:
    """Return how classes are shown, by the id of their learner; those whose classes nobody touched are left out."""
    rows: dict[str, list[_Row]] = defaultdict(list)
    for learner_id, label, name, is_hidden, min_score in session.execute(
        select(ClassRow.learner_id, *_COLUMNS)
    ):
        rows[learner_id].append((label, name, is_hidden, min_score))
    return {learner_id: _shown(classes) for learner_id, classes in rows.items()}


def resolve(session: Session, learner_id: str, name: str) -> str:
    """Return the label of the class that is called so, or was learned so; `name` itself if none is."""
    query = select(ClassRow.label).where(ClassRow.learner_id == learner_id, ClassRow.name == name)
    return session.scalars(query).one_or_none() or name


def rename(session: Session, learner: LearnerRow, label: str, name: str | None) -> None:
    """Call a class by another name from now on; None, or its label, is the label again.

    Args:
        session: Database session.
        learner: The learner, locked: names and labels of new tasks must not cross.
        label: Of one of its classes.
        name: The new name, cleaned as labels are.

    Raises:
        ClassNameTakenError: If another class of the learner has this label or name.
        LabelConfusableError: If that differs from it only in case, width or form.
    """
    if name is not None and name != label:
        _require_free(session, learner.id, label, name)
    row = _row(session, learner.id, label)
    row.name = None if name == label else name
    session.flush()


def hide(session: Session, learner: LearnerRow, label: str, *, is_hidden: bool) -> None:
    """Let predictions never answer a class, or answer it again. What was learned stays as it is."""
    _row(session, learner.id, label).is_hidden = is_hidden
    session.flush()


def answer_from(session: Session, learner: LearnerRow, label: str, min_score: float | None) -> None:
    """Let answers of a class count as known only from a score on; None from any. What was learned stays as it is."""
    _row(session, learner.id, label).min_score = min_score
    session.flush()


def look(label: str) -> str:
    r"""Return what all labels have in common that a reader would take for the same one; empty if nothing can be seen.

    Case, width and form of letters do not count, nor do joiners, variation selectors and other invisible characters.

    Example:
        >>> look("He\u200dron") == look("HERON"), look("\u2764\ufe0f") == look("\u2764"), look("\u3164")
        (True, True, '')
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return "".join(character for character in folded if not _is_invisible(character)).strip()


def _is_invisible(character: str) -> bool:
    if (
        "\U000e0020" <= character <= "\U000e007f"
    ):  # tags are all that tells Scotland's flag from England's
        return False
    is_selector = (
        "\ufe00" <= character <= "\ufe0f"
        or "\u180b" <= character <= "\u180f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )
    return is_selector or character in _BLANK or unicodedata.category(character) == "Cf"


def _require_free(session: Session, learner_id: str, label: str, name: str) -> None:
    others = {
        other: look(other) for other in _labels_and_names(session, learner_id, label) - {label}
    }
    if name in others:
        raise ClassNameTakenError
    for other, other_look in others.items():
        if other_look == look(name):
            raise LabelConfusableError(name, other)


def _labels_and_names(session: Session, learner_id: str, label: str) -> set[str]:
    """Return what classes other than `label` are called or could be, after whatever rollback or publication."""
    versions = select(func.unnest(VersionRow.classes)).where(
        VersionRow.learner_id == learner_id, VersionRow.erased_at.is_(None)
    )
    unpublished = select(func.unnest(TaskRow.classes)).where(
        TaskRow.learner_id == learner_id,
        TaskRow.version.is_(None),
        TaskRow.status.not_in(RETRYABLE),
    )
    taken = set(session.scalars(versions.distinct())) | set(session.scalars(unpublished.distinct()))
    for row in session.scalars(select(ClassRow).where(ClassRow.learner_id == learner_id)):
        if row.label != label:
            taken |= {row.label} if row.name is None else {row.label, row.name}
    return taken


def _row(session: Session, learner_id: str, label: str) -> ClassRow:
    row = session.get(ClassRow, (learner_id, label), populate_existing=True)
    if row is None:
        row = ClassRow(learner_id=learner_id, label=label, is_hidden=False)
        session.add(row)
    return row


def _shown(rows: Iterable[_Row]) -> Shown:
    rows = list(rows)
    return Shown(
        {label: name for label, name, _, _ in rows if name is not None},
        frozenset(label for label, _, is_hidden, _ in rows if is_hidden),
        {label: min_score for label, _, _, min_score in rows if min_score is not None},
    )
