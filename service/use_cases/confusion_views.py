"""What a version takes images for, as clients and pages read it."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from registry import classes, confusions, learners, versions
from registry.classes import Shown
from registry.confusions import Confusions, SaidImage
from registry.postgres.database import Session
from service.dependencies import AppContext
from service.http.security import Principal
from service.schemas.confusions import (
    ConfusedImage,
    ConfusedImages,
    ConfusedPairRead,
    ConfusedPairs,
    SaidImageRead,
)
from service.schemas.measures import MeasureRead
from service.use_cases.confusion_images import AskedImage, ask_class

MOST_SAID = 200
"""Images of predictions that are listed for one pair."""
DIGITS = 6


@dataclass(frozen=True)
class Found:
    """What a version takes images for, and what its classes are called."""

    confusions: Confusions
    shown: Shown
    learner_id: str


def find_confusions(session: Session, name: str, number: int) -> Found:
    """Return what a version takes images for.

    Raises:
        LearnerNotFoundError, VersionNotFoundError: If there is none.
    """
    learner = learners.get_learner(session, name)
    row = versions.get_version(session, learner.id, number)
    found = confusions.of_version(session, learner.id, row)
    return Found(found, classes.shown(session, learner.id), learner.id)


def read_pairs(
    session: Session, name: str, number: int, *, label: str | None, limit: int
) -> ConfusedPairs:
    """Return the pairs that a version confuses, the most images first."""
    found = find_confusions(session, name, number)
    wanted = None if label is None else classes.resolve(session, found.learner_id, label)
    pairs = found.confusions.pairs(wanted)
    return ConfusedPairs(
        learner=name,
        version=number,
        n=found.confusions.n,
        n_pairs=len(pairs),
        pairs=[
            ConfusedPairRead(
                true=found.shown.name(pair.true),
                answered=found.shown.name(pair.answered),
                n=pair.n,
                share=MeasureRead.of(pair.share),
                n_said=pair.n_said,
            )
            for pair in pairs[:limit]
        ],
    )


async def read_images(
    context: AppContext,
    principal: Principal,
    name: str,
    number: int,
    *,
    true: str,
    answered: str,
) -> ConfusedImages:
    """Return the images behind one cell; labels or names of classes are understood.

    Raises:
        LearnerNotFoundError, VersionNotFoundError: If there is none.
        VersionErasedError: If it cannot be asked any more.
        Problem: `version-damaged`, `overloaded`.
    """
    found, label, other, said = await run_in_threadpool(
        _read, context, name, number, true, answered
    )
    asked = await ask_class(context, principal, name, number, label)
    return ConfusedImages(
        learner=name,
        version=number,
        true=found.shown.name(label),
        answered=found.shown.name(other),
        counted=found.confusions.measured.get((label, other), 0),
        n_left_out=found.confusions.cross_validated.get(label, 0),
        images=[_image(one) for one in asked.images if one.answered == other],
        left_out=[_image(one) for one in asked.left_out if one.answered == other],
        is_whole=asked.is_whole,
        said=[
            SaidImageRead(prediction=one.prediction_id, index=one.index, score=one.score)
            for one in said
        ],
    )


def _image(asked: AskedImage) -> ConfusedImage:
    return ConfusedImage(
        sample=asked.image.sample_id,
        task=asked.image.task_index,
        filename=asked.image.filename,
        score=round(asked.score, DIGITS),
        novelty=None if asked.novelty is None else round(asked.novelty, DIGITS),
    )


def _read(
    context: AppContext, name: str, number: int, true: str, answered: str
) -> tuple[Found, str, str, Sequence[SaidImage]]:
    with context.session_factory() as session:
        found = find_confusions(session, name, number)
        label, other = (classes.resolve(session, found.learner_id, one) for one in (true, answered))
        said = confusions.said_images(
            session, found.learner_id, number, label, other, limit=MOST_SAID
        )
    return found, label, other, said
