"""What there is to review of a learner, why, and what a person settles of it, with its note in the audit log."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from registry import audit, learners, review_acts, reviews
from registry.audit import Actor
from registry.classes import Shown
from registry.postgres.database import Session
from registry.reviews import Key, Wanted
from registry.usefulness import Reason, Why
from service.schemas.reviews import ReviewActRead, ReviewImage, ReviewItem, ScoredClass
from service.use_cases.review_groups import Group, put_together

MOST = 1000
"""Images that are put together at once, the most useful ones; with the others that follow when these are settled."""
MOST_COUNTED = 10_000
SENTENCES: dict[Why, str] = {
    "unknown": "looks like nothing it knows",
    "below": "{label}, but with less than its score",
    "versions": "version {version} said {rival}",
    "synapse": "at first sight {rival}, then {label}",
    "between": "between {label} and {rival}",
    "unsure": "unsure about {label}",
    "sure": "sure of {label}",
}


@dataclass(frozen=True)
class Found:
    """What waits, in groups."""

    groups: list[Group]
    n_images: int
    is_cut: bool
    """Whether more wait than are put together at once."""
    n_without_look: int
    """Images of earlier releases, of which it is not known what they look like."""


def find(session: Session, learner_id: str, wanted: Wanted) -> Found:
    """Return what of a learner's images waits for a word, the most useful group first."""
    found = reviews.list_waiting(session, learner_id, wanted, limit=MOST + 1)
    images = found[:MOST]
    return Found(
        put_together(images),
        len(images),
        len(found) > MOST,
        sum(image.small is None for image in images),
    )


def say_why(reason: Reason, shown: Shown) -> str:
    """Return in a few words why an image is shown.

    Example:
        >>> from registry.classes import PLAIN
        >>> say_why(Reason("between", 0.9, "heron", "stork"), PLAIN)
        'between heron and stork'
    """
    return SENTENCES[reason.code].format(
        label=shown.name(reason.label),
        rival=None if reason.rival is None else shown.name(reason.rival),
        version=reason.version,
    )


def read_group(group: Group, shown: Shown) -> ReviewItem:
    """Return what a group reads like."""
    head = group.head
    return ReviewItem(
        prediction=head.prediction_id,
        index=head.index,
        why=head.reason.code,
        detail=say_why(head.reason, shown),
        usefulness=head.usefulness,
        label=shown.name(head.label),
        score=head.score,
        novelty=head.novelty,
        known=head.is_known,
        top=[ScoredClass(label=shown.name(one["label"]), score=one["score"]) for one in head.top],
        version=head.version,
        filename=head.filename,
        duplicates=group.n_duplicates,
        cluster=group.is_cluster,
        images=[ReviewImage(prediction=one.prediction_id, index=one.index) for one in group.images],
        created_at=head.answered_at,
    )


def name_images(
    session: Session, actor: Actor, learner: str, keys: Collection[Key], label: str, *, key_id: str
) -> ReviewActRead:
    """Say what images show; those that wait no more are left out.

    Raises:
        LearnerNotFoundError: If there is no such learner.
        LabelConfusableError: As `registry.review_acts.name`.
    """

    def name(learner_id: str, act: str) -> list[Key]:
        return review_acts.name(session, learner_id, keys, label, key_id=key_id, act=act)

    return _act(session, actor, "review.name", learner, len(keys), name)


def confirm_images(
    session: Session, actor: Actor, learner: str, keys: Collection[Key], *, key_id: str
) -> ReviewActRead:
    """Say that images show what was answered; those that wait no more are left out.

    Raises:
        LearnerNotFoundError: If there is no such learner.
    """

    def confirm(learner_id: str, act: str) -> list[Key]:
        return review_acts.confirm(session, learner_id, keys, key_id=key_id, act=act)

    return _act(session, actor, "review.confirm", learner, len(keys), confirm)


def discard_images(
    session: Session, actor: Actor, learner: str, keys: Collection[Key]
) -> ReviewActRead:
    """Never ask about images again; those that wait no more are left out.

    Raises:
        LearnerNotFoundError: If there is no such learner.
    """

    def discard(learner_id: str, act: str) -> list[Key]:
        return review_acts.discard(session, learner_id, keys, act=act)

    return _act(session, actor, "review.discard", learner, len(keys), discard)


def undo_act(session: Session, actor: Actor, learner: str, act: str) -> ReviewActRead:
    """Let the images that one act settled wait again, but for those that a task has taken.

    Raises:
        LearnerNotFoundError: If there is no such learner.
    """

    def undo(learner_id: str, _: str) -> list[Key]:
        return review_acts.undo(session, learner_id, act)

    return _act(session, actor, "review.undo", learner, 0, undo, act)


def count_waiting(session: Session, learner_id: str) -> int:
    """Return how many images wait that are worth a look; no more than `MOST_COUNTED` are counted."""
    return reviews.count_waiting(session, learner_id, most=MOST_COUNTED)


def learned_labels(session: Session, learner_id: str) -> set[str]:
    """Return the classes that the live version knows, as they were learned."""
    learner = learners.get_learner_by_id(session, learner_id)
    return {info.label for info in learners.class_table(session, learner)}


def _act(
    session: Session,
    actor: Actor,
    action: str,
    learner: str,
    n_asked: int,
    settle: Callable[[str, str], list[Key]],
    act: str | None = None,
) -> ReviewActRead:
    act = act or review_acts.new_act()
    learner_id = learners.get_learner(session, learner).id
    settled = settle(learner_id, act)
    if settled:
        audit.record(
            session, actor, action, learner=learner, subject=act, details={"images": len(settled)}
        )
    return ReviewActRead(
        id=act,
        images=len(settled),
        left_out=max(0, n_asked - len(settled)),
        waiting=count_waiting(session, learner_id),
    )
