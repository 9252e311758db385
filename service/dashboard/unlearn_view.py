"""What the page that unlearns shows: what may go, and what would go with it. Read-only; nothing here knows HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.strategies.catalog import find_strategy
from models.strategies.spelling import strategy_name
from registry import ancestry, classes, learners
from registry.postgres.database import Session
from registry.unlearning import preview_unlearning
from service.wording import listed

MOST_OFFERED = 200
"""Classes, and tasks, to choose from on the page; of more, a class is chosen on its own page."""
ABILITIES = {
    "none": "This learner has trained everything into the same weights, so no part can be taken out. Create a learner "
    "anew and teach it what may stay, then delete this one in a terminal: filopodia delete",
    "exact": "Nothing of it is left: afterwards it answers as a learner that never saw it.",
    "needs_images": "Nothing of it is left, as long as its training images are still stored: they are needed to take "
    "it out.",
    "partial": "What it brought is taken out. Where other tasks were shaped after it was learned, a trace can stay: "
    "the version that is made says which.",
}
"""What a strategy can take out, by `Strategy.unlearning`."""


@dataclass(frozen=True)
class Choice:
    """A task or class that can be chosen."""

    value: str
    title: str
    is_chosen: bool


@dataclass(frozen=True)
class Going:
    """What would go for good."""

    classes: list[str]
    """Names of classes that are known no more."""
    versions: list[int]
    n_images: int
    is_live_erased: bool
    """Whether the version that answers now is among them: the new one takes over from it."""
    staying: list[str]
    """Names of classes that stay."""


@dataclass(frozen=True)
class UnlearnPage:
    """Everything on the page."""

    learner: str
    head: int
    can: bool
    """Whether the strategy can take a part out."""
    ability: str
    tasks: list[Choice]
    classes: list[Choice]
    n_classes: int
    """That the head knows, also those that are not offered."""
    chosen: str
    """What is chosen, in words; empty for nothing."""


def unlearn_page(
    session: Session, learner_name: str, tasks: Sequence[int], labels: Sequence[str]
) -> UnlearnPage:
    """Return what can be chosen, and what is.

    Raises:
        LearnerNotFoundError: If there is no learner of this name.
    """
    learner = learners.get_learner(session, learner_name)
    shown = classes.shown(session, learner.id)
    strategy = find_strategy(strategy_name(learner.strategy, learner.config))
    head = learner.head_version
    brought = ancestry.brought(session, learner.id, head) if head else {}
    known = list(dict.fromkeys(label for ones in brought.values() for label in ones))
    offered = list(dict.fromkeys([*(one for one in labels if one in known), *known]))[:MOST_OFFERED]
    newest = sorted(brought, reverse=True)[:MOST_OFFERED]
    parts = [f"task {index}" for index in tasks] + [shown.name(label) for label in labels]
    return UnlearnPage(
        learner=learner.name,
        head=head,
        can=strategy.unlearning != "none",
        ability=ABILITIES[strategy.unlearning],
        tasks=[
            Choice(str(index), listed([shown.name(one) for one in brought[index]]), index in tasks)
            for index in newest
        ],
        classes=[Choice(label, shown.name(label), label in labels) for label in offered],
        n_classes=len(known),
        chosen=listed(parts, most=6),
    )


def going(
    session: Session, learner_name: str, tasks: Sequence[int], labels: Sequence[str]
) -> Going:
    """Return what would go with what is chosen.

    Raises:
        NothingLearnedError, UnknownContentError, NothingWouldRemainError: As `registry.unlearning.labels_that_go`.
    """
    learner = learners.get_learner(session, learner_name)
    shown = classes.shown(session, learner.id)
    goes = preview_unlearning(session, learner, tasks=tasks, classes=labels)
    brought = ancestry.brought(session, learner.id, learner.head_version)
    known = dict.fromkeys(label for ones in brought.values() for label in ones)
    return Going(
        classes=[shown.name(label) for label in goes.classes],
        versions=goes.versions,
        n_images=goes.n_images,
        is_live_erased=learners.live_version(session, learner.id) in goes.versions,
        staying=[shown.name(label) for label in known if label not in goes.classes],
    )
