"""The images behind a confusion: held-out ones of a class, asked again of the version that was measured on them.

Where features of them are kept and still the same, these are asked, and only images that a synapse wants are looked at.
Otherwise the images are, as far as there is time. What comes out is kept for a while, bounded, since a matrix leads to
one cell of a class after another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from models.errors import CheckpointError
from models.held_out import HeldOutFeatures
from models.strategies.base import Strategy
from models.strategies.values import Prediction
from registry import confusions, held_out, learners, versions
from registry.confusions import ClassImage
from registry.errors import BlobDamagedError, BlobMissingError, SampleNotFoundError
from service.dependencies import AppContext
from service.http.security import Principal
from service.inference.engine import InferenceEngine
from service.inference.snapshots import Snapshot
from service.intake.deadlines import Deadline
from service.use_cases.kept_images import AT_ONCE_S, matched
from service.use_cases.serving import choose_snapshot, turn_of

MOST_HELD_OUT = 500
"""Held-out images of a class that are asked by kept features."""
MOST_LOOKED_AT = 64
"""Held-out images of a class that are asked where they have to be looked at: about a full batch."""
MOST_TAUGHT = 128
"""Images of a class that it learns from, which are looked at to tell which is which."""


@dataclass(frozen=True)
class AskedImage:
    """An image, and what the version answers to it."""

    image: ClassImage
    answered: str
    """As it was learned."""
    score: float
    novelty: float | None
    """None of one that was left out in turn."""


@dataclass(frozen=True)
class AskedClass:
    """What a version answers to the held-out images of a class."""

    images: Sequence[AskedImage]
    is_whole: bool
    """Whether all were asked."""
    left_out: Sequence[AskedImage] = ()
    """Images that it learns from, as they are answered without them."""


@dataclass(frozen=True)
class _Wanted:
    """What is asked of a version."""

    learner_id: str
    images: Sequence[ClassImage]
    taught: Sequence[ClassImage]
    """Those that it learns from."""
    features: dict[int, str]
    """Blob of kept features by the index of the task."""
    is_whole: bool


async def ask_class(
    context: AppContext, principal: Principal, name: str, number: int, label: str
) -> AskedClass:
    """Ask a version about the held-out images of a class.

    Args:
        context: Of the request.
        principal: Whose turn it takes.
        name: The learner.
        number: Of the version.
        label: The class, as it was learned.

    Raises:
        LearnerNotFoundError, VersionNotFoundError: If there is none.
        VersionErasedError: If it cannot be asked any more.
        SampleNotFoundError: If an image is gone from the store.
        Problem: `version-damaged`, `overloaded`.
    """
    wanted = await run_in_threadpool(_read, context, name, number, label)
    key = (
        "confusion",
        wanted.learner_id,
        number,
        label,
        tuple(one.sample_id for one in (*wanted.images, *wanted.taught)),
    )
    found = context.recent.find(key)
    if isinstance(found, AskedClass):
        return found
    if not wanted.images and not wanted.taught:
        return AskedClass([], is_whole=True)
    snapshot = await choose_snapshot(
        context, name, version=number, min_version=None, owner=principal.key_id
    )
    turn = turn_of(context, principal)
    answers: dict[str, AskedImage] = {}
    if snapshot.strategy.reads_features:
        features = await run_in_threadpool(_features, context, snapshot, wanted)
        known = [one for one in wanted.images if one.sample_id in features]
        for part in _parts(known, 256):
            rows = torch.stack([features[one.sample_id] for one in part])
            work = partial(ask_features, snapshot.strategy, rows)
            future = context.engine.examine(snapshot, work, 1, turn.owner)
            answered, prediction = await context.engine.answer(
                snapshot, future, turn.deadline, len(part)
            )
            if prediction is not None:
                answers |= _answers(snapshot, [part[row] for row in answered], prediction)
    rest = [one for one in wanted.images if one.sample_id not in answers]
    looked = rest[:MOST_LOOKED_AT]
    answers |= await _look(context, snapshot, looked, principal)
    images = [answers[one.sample_id] for one in wanted.images if one.sample_id in answers]
    left_out = await _left_out(context, snapshot, wanted.taught, label, principal)
    asked = AskedClass(images, wanted.is_whole and len(looked) == len(rest), left_out)
    context.recent.keep(key, asked)
    return asked


def _read(context: AppContext, name: str, number: int, label: str) -> _Wanted:
    with context.session_factory() as session:
        learner = learners.get_learner(session, name)
        row = versions.get_version(session, learner.id, number)
        versions.address_of(row)
        images, taught = (
            confusions.images_of_class(
                session, learner.id, row.tasks, label, split=split, limit=limit
            )
            for split, limit in (("eval", MOST_HELD_OUT + 1), ("train", MOST_TAUGHT))
        )
        kept = held_out.kept(session, learner.id, {image.task_index for image in images})
        is_whole = len(images) <= MOST_HELD_OUT
        return _Wanted(learner.id, images[:MOST_HELD_OUT], taught, kept, is_whole)


def _features(context: AppContext, snapshot: Snapshot, wanted: _Wanted) -> dict[str, Tensor]:
    """Return the kept features of images, by the id of their sample, where these are still the same. Blocks."""
    fingerprint = snapshot.strategy.fingerprint_of_features()
    found: dict[str, Tensor] = {}
    for task_index, sha256 in wanted.features.items():
        mine = [image for image in wanted.images if image.task_index == task_index]
        try:
            kept = HeldOutFeatures.unpack(context.blobs.get(sha256))
        except (BlobMissingError, BlobDamagedError, CheckpointError):
            continue
        places = set(kept.images) if kept.fingerprint == fingerprint else set()
        there = [image for image in mine if image.blob_sha256 in places]
        rows = kept.of(fingerprint, [image.blob_sha256 for image in there])
        if rows is not None:
            found |= dict(zip((image.sample_id for image in there), rows, strict=True))
    return found


class _ImagesWantedError(Exception):
    """Features alone do not answer: a synapse wants the images of these rows."""

    def __init__(self, rows: Sequence[int]) -> None:
        super().__init__()
        self.rows = frozenset(rows)


def ask_features(strategy: Strategy[Any], features: Tensor) -> tuple[list[int], Prediction | None]:
    """Ask about features, and leave out those whose images a synapse wants: these are read elsewhere.

    Args:
        strategy: That reads features.
        features: `(N, W)`.

    Returns:
        Which rows are answered, and what is answered to them; None if to none.
    """

    def images_of(chosen: Tensor) -> Tensor:
        raise _ImagesWantedError(chosen.tolist())

    left = list(range(len(features)))
    while left:
        try:
            return left, strategy.predict_features(features[left], images_of)
        except _ImagesWantedError as wanted:
            left = [row for place, row in enumerate(left) if place not in wanted.rows]
    return [], None


async def _look(
    context: AppContext, snapshot: Snapshot, images: Sequence[ClassImage], principal: Principal
) -> dict[str, AskedImage]:
    """Ask about images themselves, a few at a time."""
    answers: dict[str, AskedImage] = {}
    size = context.engine.images_within(snapshot, AT_ONCE_S)
    for part in _parts(images, size):
        turn = turn_of(context, principal)
        tensors = await run_in_threadpool(_tensors, context, snapshot, part)
        answers |= await _predict(context.engine, snapshot, part, tensors, turn.deadline)
    return answers


async def _left_out(
    context: AppContext,
    snapshot: Snapshot,
    taught: Sequence[ClassImage],
    label: str,
    principal: Principal,
) -> list[AskedImage]:
    """Return what is answered to images that it learns from by heads that never saw them.

    What is kept of an image does not name it: its features do.
    """
    strategy = snapshot.strategy
    if not taught or not strategy.cross_validates or label not in strategy.classes_:
        return []
    known = context.left_out.find(snapshot.address.key)
    kept = known or await run_in_threadpool(strategy.left_out)
    if kept is None:
        return []
    context.left_out.keep(snapshot.address.key, kept)
    mine = (kept.targets == strategy.classes_.index(label)).nonzero().squeeze(1)
    found: list[AskedImage] = []
    for task_index in sorted({image.task_index for image in taught}):
        rows = mine[kept.tasks[mine] == task_index]
        images = [image for image in taught if image.task_index == task_index]
        if not len(rows):
            continue
        looks = []
        for part in _parts(images, context.engine.images_within(snapshot, AT_ONCE_S)):
            turn = turn_of(context, principal)
            tensors = await run_in_threadpool(_tensors, context, snapshot, part)
            work = partial(strategy.features_of, torch.stack(list(tensors)))
            future = context.engine.examine(snapshot, work, len(part), turn.owner)
            looks.append(await context.engine.answer(snapshot, future, turn.deadline, len(part)))
        pairs = matched(torch.cat(looks), kept.features[rows])
        found += [
            AskedImage(
                images[place],
                strategy.classes_[int(kept.answers[rows[row]])],
                float(kept.scores[rows[row]]),
                None,
            )
            for place, row in pairs
        ]
    return found


async def _predict(
    engine: InferenceEngine,
    snapshot: Snapshot,
    part: Sequence[ClassImage],
    tensors: Sequence[Tensor],
    deadline: Deadline,
) -> dict[str, AskedImage]:
    work = partial(snapshot.strategy.predict, torch.stack(list(tensors)))
    future = engine.examine(snapshot, work, len(part), "confusions")
    return _answers(snapshot, part, await engine.answer(snapshot, future, deadline, len(part)))


def _answers(
    snapshot: Snapshot, part: Sequence[ClassImage], prediction: Prediction
) -> dict[str, AskedImage]:
    scores, columns = prediction.probabilities.max(dim=1)
    rows = zip(part, columns.tolist(), scores.tolist(), prediction.novelty.tolist(), strict=True)
    return {
        image.sample_id: AskedImage(image, snapshot.strategy.classes_[column], score, novelty)
        for image, column, score, novelty in rows
    }


def _tensors(context: AppContext, snapshot: Snapshot, images: Sequence[ClassImage]) -> list[Tensor]:
    return [_tensor(context, snapshot, image) for image in images]


def _tensor(context: AppContext, snapshot: Snapshot, image: ClassImage) -> Tensor:
    try:
        png = context.blobs.get(image.blob_sha256)
    except (BlobMissingError, BlobDamagedError) as error:
        raise SampleNotFoundError(image.sample_id) from error
    return snapshot.backbone.preprocess(context.decoder.decode(png, snapshot.form).pixels)


def _parts(images: Sequence[ClassImage], size: int) -> Iterator[Sequence[ClassImage]]:
    for start in range(0, len(images), size):
        yield images[start : start + size]
