"""Images under review put together: near-duplicates folded, and those that look like nothing known clustered.

What is put together is settled with one word. The same images are always put together in the same way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from registry.errors import InvalidCursorError
from registry.paging import decode_cursor, encode_cursor
from registry.reviews import Waiting
from service.intake.small import SIZE
from service.use_cases.review_clusters import cluster

ALIKE = 0.95
"""Correlation of two small pictures from which they are near-duplicates; decision 43 measures it."""
ALIKE_WITHIN = 18.0
"""Mean difference of their values, of 255, up to which they are."""
ALIKE_FEATURES = 0.85
"""Cosine of their features, where both are known, from which they are."""
LEAST_CONTRAST = 8.0
"""Deviation, of 255, below which a small picture is too plain for its pattern to count."""
_DIGITS = 2
"""Decimals of usefulness that order groups: what differs less is put by how many images one word settles."""

Place = tuple[float, int, str, int]


@dataclass(frozen=True)
class Group:
    """Images that one word settles, the one that stands for all first."""

    images: tuple[Waiting, ...]
    n_duplicates: int
    """Of the one that stands for all."""
    is_cluster: bool
    """Whether others look like it, but are no copies of it."""

    @property
    def head(self) -> Waiting:
        """The one that stands for all."""
        return self.images[0]

    @property
    def place(self) -> Place:
        """Where it stands: the greatest comes first."""
        best = max(one.usefulness for one in self.images)
        return round(best, _DIGITS), len(self.images), *self.head.key

    @property
    def cursor(self) -> str:
        """Name its place."""
        return encode_cursor(*map(str, self.place))


def place_of(cursor: str) -> Place:
    """Return the place that a cursor names.

    Raises:
        InvalidCursorError: If it is not one of ours.
    """
    usefulness, size, prediction_id, index = decode_cursor(cursor, 4)
    try:
        return float(usefulness), int(size), prediction_id, int(index)
    except ValueError as error:
        raise InvalidCursorError from error


def put_together(images: Sequence[Waiting]) -> list[Group]:
    """Return images in groups, the most useful group first.

    Args:
        images: The most useful first. 1,000 take some 100 ms.
    """
    folded = list(_fold(images))
    unknown = [group for group in folded if _is_clustered(group[0])]
    others = [group for group in folded if not _is_clustered(group[0])]
    groups = [Group(tuple(group), len(group) - 1, is_cluster=False) for group in others]
    for alike in _cluster(unknown):
        members = tuple(image for group in alike for image in group)
        groups.append(Group(members, len(alike[0]) - 1, is_cluster=len(alike) > 1))
    return sorted(groups, key=lambda group: group.place, reverse=True)


def _is_clustered(image: Waiting) -> bool:
    return not image.is_known and image.features is not None


def _fold(images: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Yield each image that is no near-duplicate of a more useful one, with its own."""
    with_small = [image for image in images if image.small is not None]
    yield from ([image] for image in images if image.small is None)
    if not with_small:
        return
    alike = alike_pictures(np.stack([_small(image) for image in with_small]))
    is_free = np.ones(len(with_small), dtype=bool)
    for i in range(len(with_small)):
        if not is_free[i]:
            continue
        copies = [
            row
            for row in map(int, np.flatnonzero(alike[i] & is_free))
            if row != i and _may_be_copies(with_small[i], with_small[row])
        ]
        is_free[[i, *copies]] = False
        yield [with_small[i], *(with_small[row] for row in copies)]


def _may_be_copies(one: Waiting, other: Waiting) -> bool:
    """Return whether two images whose small pictures are alike are so too by their features, as far as these are known.

    Small pictures of different things before one background can be alike.
    """
    if one.features is None or other.features is None or one.features_of != other.features_of:
        return True
    return float(_features(one) @ _features(other)) >= ALIKE_FEATURES


def _features(image: Waiting) -> NDArray[np.float32]:
    return np.frombuffer(image.features or b"", dtype=np.float16).astype(np.float32)


def _small(image: Waiting) -> NDArray[np.float32]:
    return np.frombuffer(image.small or b"", dtype=np.uint8).astype(np.float32)


def alike_pictures(pictures: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which small pictures `(N, 216)` are near-duplicates, `(N, N)`."""
    n_values = 3 * SIZE[0] * SIZE[1]
    centred = pictures - pictures.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    patterns = centred / np.maximum(deviation, LEAST_CONTRAST)
    correlation = patterns @ patterns.T / n_values
    squares = (pictures**2).mean(axis=1)
    difference = pictures @ (-2 / n_values * pictures.T)
    difference += squares[:, None]
    difference += squares[None, :]
    # Of two plain pictures neither has a pattern: they are alike if they are nearly the same.
    is_plain = deviation[:, 0] < LEAST_CONTRAST
    same: NDArray[np.bool_] = (difference <= ALIKE_WITHIN**2) & (correlation >= ALIKE)
    plain = np.flatnonzero(is_plain)
    among_plain = np.ix_(plain, plain)
    same[among_plain] |= difference[among_plain] <= (ALIKE_WITHIN / 3) ** 2
    np.fill_diagonal(same, val=True)
    return same


def _cluster(groups: Sequence[list[Waiting]]) -> Iterator[list[list[Waiting]]]:
    """Yield clusters of groups, each with the most typical one first. Features of different makers are not compared."""
    makers: dict[str | None, list[list[Waiting]]] = {}
    for group in groups:
        makers.setdefault(group[0].features_of, []).append(group)
    for alike in makers.values():
        for rows in cluster(np.stack([_features(group[0]) for group in alike])):
            yield [alike[row] for row in rows]
