"""Which image each kept row is of: told by order, or by what images look like where something was trained since.

A row does not name its image. As long as nothing was trained, rows are in the order in which images were sent. Later
the images are looked at under the version's own features, in turns, and predictions go first.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.shown import KeptRows
from registry.errors import BlobDamagedError, BlobMissingError
from registry.tables import SampleRow
from service.dependencies import AppContext
from service.inference.snapshots import Snapshot
from service.problems import Problem

SAME_FROM = 0.9
"""Cosine from which kept features are those of an image: rounding, and the drift of a consolidation, leave more."""
AT_ONCE_S = 0.05
"""Seconds of the engine's time that are taken at once: predictions go first."""
MOST_LOOKED_AT = 10_000
"""Images of a version that are looked at: half a minute on two cores with the bundled backbone."""
PATIENCE_S = 120.0
"""How long a few images may wait for their turn."""


def name_rows(
    context: AppContext,
    snapshot: Snapshot,
    kept: Sequence[KeptRows],
    rows: Tensor,
    tasks: Mapping[int, Sequence[SampleRow]],
) -> list[SampleRow | None]:
    """Return of which image each row of features is; None where that is not known. Blocks.

    Args:
        context: The app's.
        snapshot: The version that keeps them.
        kept: Of which images the rows are, in order.
        rows: The features, `(M, W)`.
        tasks: Training images by task, in the order they were sent.

    Raises:
        Problem: `overloaded`, if predictions leave no room to look at images.
    """
    classes = snapshot.strategy.classes_
    names: list[SampleRow | None] = []
    left = MOST_LOOKED_AT
    for part in kept:
        mine = [row for row in tasks.get(part.task, ()) if row.label == classes[part.target]]
        if part.is_in_order and len(mine) == part.n_rows:
            names += mine
            continue
        looked = mine[:left]
        left -= len(looked)
        there, features = _look(context, snapshot, looked)
        own = rows[len(names) : len(names) + part.n_rows]
        found: list[SampleRow | None] = [None] * part.n_rows
        for place, row in matched(features, own) if there else ():
            found[row] = there[place]
        names += found
    return names


def _look(
    context: AppContext, snapshot: Snapshot, images: Sequence[SampleRow]
) -> tuple[list[SampleRow], Tensor]:
    """Return the images that are still stored, and their features, `(N, W)`."""
    there: list[SampleRow] = []
    looks: list[Tensor] = [torch.empty(0)]
    waiting = iter(images)
    size = context.engine.images_within(snapshot, AT_ONCE_S)
    while part := list(islice(waiting, size)):
        read = dict(_read(context, snapshot, part))
        if not read:
            continue
        work = partial(snapshot.strategy.features_of, torch.stack(list(read.values())))
        future = context.engine.examine(snapshot, work, len(read), "kept images")
        try:
            looks.append(future.result(PATIENCE_S))
        except TimeoutError as error:
            raise Problem("overloaded") from error
        there += [image for image in part if image.id in read]
    return there, torch.cat(looks[1:] or looks)


def _read(
    context: AppContext, snapshot: Snapshot, images: Sequence[SampleRow]
) -> Iterator[tuple[str, Tensor]]:
    for image in images:
        try:
            png = context.blobs.get(image.blob_sha256)
        except (BlobMissingError, BlobDamagedError):
            continue
        pixels = context.decoder.decode(png, snapshot.form).pixels
        yield image.id, snapshot.backbone.preprocess(pixels)


def matched(images: Tensor, rows: Tensor) -> list[tuple[int, int]]:
    """Return which kept row is that of which image, each at most once, by the order of the images.

    Args:
        images: Features of images, `(N, W)`.
        rows: What is kept of some of them, `(M, W)`.

    Example:
        >>> matched(torch.eye(3), torch.tensor([[0.0, 0.0, 2.0], [0.99, 0.01, 0.0]]))
        [(0, 1), (2, 0)]
    """
    cosines = normalize(images.float(), dim=1) @ normalize(rows.float(), dim=1).T
    pairs: list[tuple[int, int]] = []
    taken_images: set[int] = set()
    taken_rows: set[int] = set()
    for flat in cosines.flatten().argsort(descending=True).tolist():
        place, row = divmod(flat, cosines.shape[1])
        if cosines[place, row] < SAME_FROM or len(pairs) == min(cosines.shape):
            break
        if place not in taken_images and row not in taken_rows:
            pairs.append((place, row))
            taken_images.add(place)
            taken_rows.add(row)
    return sorted(pairs)
