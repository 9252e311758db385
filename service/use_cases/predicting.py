"""A prediction: decoded and scored in time, and kept."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from registry.predictions import NewPrediction
from service.dependencies import AppContext
from service.http.security import Principal
from service.inference.engine import Scores
from service.inference.snapshots import Snapshot
from service.intake.images import DecodedImage
from service.intake.prediction_requests import (
    DecodedFiles,
    EncodedFile,
    Preparation,
    decode_all,
)
from service.use_cases.serving import turn_of


async def answer_images(
    context: AppContext,
    principal: Principal,
    snapshot: Snapshot,
    files: Sequence[EncodedFile],
    keeps: Callable[[DecodedImage], bool] | None,
) -> tuple[DecodedFiles, list[Scores], float]:
    """Decode and score images in time, and say how many seconds decoding took.

    Raises:
        Problem: `too-many-pixels`, `rate-limited`, `overloaded`, or that of the only image.
    """
    turn = turn_of(context, principal)
    context.engine.require_capacity(snapshot, len(files), turn.owner)
    with context.engine.arriving():
        started = perf_counter()
        preparation = Preparation(snapshot.form, snapshot.backbone)
        decoded = await decode_all(context.decoder, preparation, files, turn, keeps)
        decode_s = perf_counter() - started
        futures = (
            context.engine.submit(snapshot, decoded.images, turn.owner) if decoded.images else []
        )
    return decoded, await context.engine.answers(snapshot, futures, turn.deadline), decode_s


def to_store(
    prediction_id: str, snapshot: Snapshot, results: list[dict[str, Any]]
) -> NewPrediction:
    """Return the row of a prediction that was just answered."""
    answered = [entry for entry in results if "label" in entry]
    return NewPrediction(
        id=prediction_id,
        learner_id=snapshot.learner_id,
        version=snapshot.version,
        results=results,
        labels=sorted({entry["label"] for entry in answered}),
        has_unknown=any(not entry["known"] for entry in answered),
        created_at=datetime.now(UTC),
    )
