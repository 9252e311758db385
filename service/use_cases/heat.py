"""Which places of an image speak for its answer: asked a few covered images at a time, so that predictions go first."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from models.occlusion import covered, places, speaks_for
from registry.classes import Shown
from service.dependencies import AppContext
from service.http.security import Principal
from service.inference.answers import among
from service.inference.snapshots import Snapshot
from service.schemas.accounts import HeatRead
from service.use_cases.account_words import percent
from service.use_cases.accounts import StoredImage, examine_stored
from service.use_cases.serving import turn_of

AT_ONCE_S = 0.05
"""Seconds of the engine's time that are taken at once."""
SIDE = 256
"""Of the drawing, in pixels."""
MOST_COVER = 0.65
"""How much of the image the strongest colour covers."""
FOR, AGAINST = (255, 120, 0), (50, 90, 230)
FLAT = 0.1
"""Log odds below which no place stands out."""
DIGITS = 4


@dataclass(frozen=True)
class Heat:
    """A map, as numbers and as a picture."""

    read: HeatRead
    png: bytes


async def heat_of_stored(
    context: AppContext,
    principal: Principal,
    prediction_id: str,
    index: int,
    draw_images: Callable[[int], None],
) -> Heat:
    """Map a kept image of a stored prediction, by the version that answered it.

    Args:
        context: Of the request.
        principal: Whose turn it takes.
        prediction_id: The prediction.
        index: Of the result.
        draw_images: Takes images from what the key may predict in a minute, or raises.

    Raises:
        PredictionNotFoundError, PredictionImageNotFoundError: If it is not kept.
        VersionErasedError: If the version held what was unlearned since.
        Problem: `rate-limited`, `version-damaged`, `overloaded`.
    """
    stored, examined = await examine_stored(context, principal, prediction_id, index)
    snapshot = examined.snapshot
    shown = context.store.shown(snapshot.learner_id)
    key = ("heat", prediction_id, index, tuple(sorted(shown.hidden)), tuple(shown.names.items()))
    found = context.recent.find(key)
    if isinstance(found, Heat):
        return found
    draw_images(1 + len(places()))
    images = await run_in_threadpool(covered, examined.image)
    parts = []
    for part in images.split(context.engine.images_within(snapshot, AT_ONCE_S)):
        turn = turn_of(context, principal)
        work = partial(snapshot.strategy.predict, part)
        future = context.engine.examine(snapshot, work, len(part), turn.owner)
        prediction = await context.engine.answer(snapshot, future, turn.deadline, len(part))
        parts.append(prediction.probabilities.cpu())
    heat = await run_in_threadpool(_made, snapshot, stored, shown, examined.image, torch.cat(parts))
    context.recent.keep(key, heat)
    return heat


def _made(
    snapshot: Snapshot, stored: StoredImage, shown: Shown, image: Tensor, probabilities: Tensor
) -> Heat:
    is_shown = np.array([label not in shown.hidden for label in snapshot.strategy.classes_])
    if not is_shown.all():
        probabilities = torch.from_numpy(among(probabilities.numpy(), is_shown))
    answered = int(probabilities[0].argmax())
    cells = speaks_for(probabilities, answered)
    label = shown.name(snapshot.strategy.classes_[answered])
    score, least = float(probabilities[0, answered]), float(probabilities[1:, answered].min())
    read = HeatRead(
        learner=snapshot.learner,
        version=snapshot.version,
        prediction=stored.prediction_id,
        index=stored.index,
        label=label,
        score=round(score, DIGITS),
        least_score=round(least, DIGITS),
        cells=[[round(value, DIGITS) for value in row] for row in cells.tolist()],
        sentence=_sentence(cells, label, score, least),
    )
    return Heat(read, _drawn(image, cells))


def _sentence(cells: Tensor, label: str, score: float, least: float) -> str:
    if float(cells.max()) < FLAT:
        return f"No single place decides: whichever is covered, the answer stays {label} about as surely."
    row, column = divmod(int(cells.argmax()), cells.shape[1])
    where = _where(row, column, len(cells))
    return (
        f"Most speaks for {label} {where}: covering what matters most takes its score from {percent(score)} to "
        f"{percent(least)}."
    )


def _where(row: int, column: int, n: int) -> str:
    """Say where a cell is.

    Example:
        >>> _where(0, 0, 8), _where(4, 4, 8), _where(4, 7, 8)
        ('at the top left', 'in the middle', 'in the middle on the right')
    """
    down, across = 3 * row // n, 3 * column // n
    if down == across == 1:
        return "in the middle"
    vertical = ("at the top", "in the middle", "at the bottom")[down]
    if down == 1:
        return f"{vertical} on the {('left', '', 'right')[across]}"
    return f"{vertical} {('left', 'middle', 'right')[across]}"


def _drawn(image: Tensor, cells: Tensor) -> bytes:
    """Return the image as the learner sees it, with its map over it, as PNG."""
    seen = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    strength = cells / max(FLAT, float(cells.abs().max()))
    spread = Image.fromarray(strength.numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    values = np.asarray(spread)[:, :, None].clip(-1, 1)
    colours = np.where(values > 0, np.array(FOR), np.array(AGAINST))
    cover = MOST_COVER * np.abs(values)
    drawn = (1 - cover) * np.asarray(seen, dtype=np.float32) + cover * colours
    png = BytesIO()
    Image.fromarray(drawn.round().astype(np.uint8)).save(png, format="PNG")
    return png.getvalue()
