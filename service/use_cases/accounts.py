"""Why an image was answered as it was: asked again of the version that answered, with its synapses turned."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from models.strategies.account import MOST_TURNED, Account
from registry import learners, predictions
from registry.classes import Shown
from registry.errors import (
    BlobMissingError,
    PredictionImageNotFoundError,
    PredictionNotFoundError,
)
from service.dependencies import AppContext
from service.http.security import Principal
from service.inference.answers import HIDDEN, among, require_shown, scored
from service.inference.snapshots import Snapshot
from service.intake.prediction_requests import EncodedFile, Preparation, decode_all
from service.schemas.accounts import AccountRead, HeadAccount, StoredAnswer, SynapseAccount
from service.schemas.predictions import ScoredLabel
from service.use_cases.account_words import sentences_of
from service.use_cases.prediction_views import wait_stored
from service.use_cases.serving import choose_snapshot, turn_of

TOP = 5
N_PASSES = 1 + MOST_TURNED
"""What an account costs, as so many images: about, as most synapses are asked nothing."""
DIGITS = 6


@dataclass(frozen=True)
class StoredImage:
    """A kept image of a stored prediction, and what was answered to it."""

    prediction_id: str
    index: int
    learner_id: str
    learner: str
    version: int
    result: dict[str, Any]
    """As it was stored, with classes as they were learned."""
    png: bytes


@dataclass(frozen=True)
class Examined:
    """An image as a version looks at it."""

    snapshot: Snapshot
    image: Tensor
    """uint8 `(3, S, S)`."""


async def account_of_stored(
    context: AppContext, principal: Principal, prediction_id: str, index: int
) -> AccountRead:
    """Say why an image of a stored prediction was answered so, by the version that answered it.

    Raises:
        PredictionNotFoundError, PredictionImageNotFoundError: If it is not kept.
        VersionErasedError: If the version held what was unlearned since.
        Problem: `version-damaged`, `overloaded`.
    """
    stored, examined = await examine_stored(context, principal, prediction_id, index)
    return await account_of(context, principal, examined, stored)


async def account_of_posted(
    context: AppContext,
    principal: Principal,
    name: str,
    file: EncodedFile,
    version: int | None,
) -> AccountRead:
    """Say why an image is answered as it is, by the live version unless another is asked for.

    Raises:
        Problem: That of the image; else as `choose_snapshot`.
    """
    snapshot = await choose_snapshot(
        context, name, version=version, min_version=None, owner=principal.key_id
    )
    examined = await examine(context, principal, snapshot, file.data)
    return await account_of(context, principal, examined, None)


async def examine_stored(
    context: AppContext, principal: Principal, prediction_id: str, index: int
) -> tuple[StoredImage, Examined]:
    """Read a kept image, and load the version that answered it."""
    stored = await run_in_threadpool(read_stored, context, prediction_id, index)
    snapshot = await choose_snapshot(
        context, stored.learner, version=stored.version, min_version=None, owner=principal.key_id
    )
    return stored, await examine(context, principal, snapshot, stored.png)


def read_stored(context: AppContext, prediction_id: str, index: int) -> StoredImage:
    """Return a kept image of a stored prediction, with its answer. Blocks.

    Raises:
        PredictionNotFoundError, PredictionImageNotFoundError: If there is none.
    """
    wait_stored(context, prediction_id)
    with context.session_factory() as session:
        row = predictions.get_prediction(session, prediction_id)
        sha256 = predictions.get_image(session, prediction_id, index).blob_sha256
        learner = learners.get_learner_by_id(session, row.learner_id)
        found = [result for result in row.results if result["index"] == index]
        stored = partial(StoredImage, prediction_id, index, learner.id, learner.name, row.version)
    if not context.shows(learner.id):
        raise PredictionNotFoundError(prediction_id)
    if not found or "label" not in found[0]:
        raise PredictionImageNotFoundError
    try:
        return stored(found[0], context.blobs.get(sha256))
    except BlobMissingError as error:
        raise PredictionImageNotFoundError from error


async def examine(
    context: AppContext, principal: Principal, snapshot: Snapshot, data: bytes
) -> Examined:
    """Decode an image as a prediction does.

    Raises:
        Problem: That of the image, or `all-classes-hidden`.
    """
    require_shown(snapshot, context.store.shown(snapshot.learner_id).hidden)
    turn = turn_of(context, principal)
    preparation = Preparation(snapshot.form, snapshot.backbone)
    files = [EncodedFile(None, data)]
    decoded = await decode_all(context.decoder, preparation, files, turn)
    return Examined(snapshot, decoded.images[0])


async def account_of(
    context: AppContext, principal: Principal, examined: Examined, stored: StoredImage | None
) -> AccountRead:
    """Ask the version about the image, in turns as predictions are."""
    snapshot = examined.snapshot
    turn = turn_of(context, principal)
    work = partial(snapshot.strategy.account, examined.image)
    future = context.engine.examine(snapshot, work, N_PASSES, turn.owner)
    account = await context.engine.answer(snapshot, future, turn.deadline, N_PASSES)
    shown = context.store.shown(snapshot.learner_id)
    live = context.store.live_address(snapshot.learner)
    read = _read(snapshot, account, shown, stored, live.version if live else snapshot.version)
    return read.model_copy(update={"sentences": sentences_of(read)})


def _read(
    snapshot: Snapshot,
    account: Account,
    shown: Shown,
    stored: StoredImage | None,
    live_version: int,
) -> AccountRead:
    classes = snapshot.strategy.classes_
    is_shown = np.array([label not in shown.hidden for label in classes])
    prediction = account.prediction

    def seen(probabilities: Tensor) -> NDArray[np.float32]:
        found = probabilities.detach().cpu().numpy()
        return found if is_shown.all() else among(found[None], is_shown)[0]

    def best(probabilities: NDArray[np.float32]) -> ScoredLabel:
        return _named(scored(snapshot, probabilities, int(probabilities.argmax())), shown)

    probabilities = seen(prediction.probabilities[0])
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    top = [scored(snapshot, probabilities, k) for k in order if probabilities[k] != HIDDEN]
    answered = classes.index(top[0]["label"])
    unrouted = prediction.unrouted
    novelty = float(prediction.novelty[0])
    score, min_score = top[0]["score"], shown.min_scores.get(top[0]["label"], 0.0)
    otherwise = {column: seen(each) for column, each in account.turned.items()}
    return AccountRead(
        learner=snapshot.learner,
        version=snapshot.version,
        live_version=live_version,
        prediction=None if stored is None else stored.prediction_id,
        index=0 if stored is None else stored.index,
        label=shown.name(top[0]["label"]),
        score=score,
        known=novelty <= snapshot.novelty_threshold and score >= min_score,
        novelty=round(novelty, DIGITS),
        novelty_threshold=snapshot.novelty_threshold,
        min_score=min_score,
        top=[_named(each, shown) for each in top],
        passes=int(prediction.passes[0]),
        functional=best(probabilities if unrouted is None else seen(unrouted[0])),
        synapses=_synapses(snapshot, account, otherwise, best, answered),
        heads=[
            HeadAccount(
                name=head.name,
                share=round(head.share, DIGITS),
                label=best(mine).label,
                score=round(float(mine.max()), DIGITS),
                of_answer=round(float(mine[answered]), DIGITS),
            )
            for head in sorted(account.heads, key=lambda head: -head.share)
            for mine in [seen(head.probabilities)]
        ],
        stored=None
        if stored is None
        else StoredAnswer(label=shown.name(stored.result["label"]), score=stored.result["score"]),
    )


def _synapses(
    snapshot: Snapshot,
    account: Account,
    otherwise: Mapping[int, NDArray[np.float32]],
    best: Any,
    answered: int,
) -> list[SynapseAccount]:
    prediction = account.prediction
    thresholds, currents = prediction.thresholds.tolist(), prediction.currents[0].tolist()
    return [
        SynapseAccount(
            task=task,
            current=round(currents[t], DIGITS),
            threshold=round(thresholds[t], DIGITS),
            state="functional" if prediction.functional[0, t] else "silent",
            can_fire=thresholds[t] < snapshot.strategy.current_below,
            otherwise=best(otherwise[t]) if t in otherwise else None,
            score_otherwise=round(float(otherwise[t][answered]), DIGITS)
            if t in otherwise
            else None,
        )
        for t, task in enumerate(snapshot.strategy.synapse_tasks_)
        if isfinite(thresholds[t])
    ]


def _named(scored_class: dict[str, Any], shown: Shown) -> ScoredLabel:
    return ScoredLabel(**scored_class | {"label": shown.name(scored_class["label"])})
