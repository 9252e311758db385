"""Clusters of features, whatever scale their domain has.

Average linkage builds a tree. From its root down, a branch is one cluster if it is no wider than a few times the
distance that its members have to their nearest neighbours. So photos of one camera, which all look much alike, and
photos of anything, which hardly do, are both cut where their own scale says.
"""

import numpy as np
from numpy.typing import NDArray

WIDTH = 3.0
"""How many times the mean distance to the nearest neighbour a cluster may be wide; decision 43 measures it."""
MOST_WIDE = 0.6
"""Mean distance, 1 less the cosine, beyond which nothing is one cluster; measured there too."""


def cluster(vectors: NDArray[np.float32]) -> list[list[int]]:
    """Return the rows of each cluster of vectors of length 1, `(N, W)`; the most typical row of each comes first.

    The same vectors in the same order give the same clusters. 1,000 take about 50 ms, 2,000 about 200.

    Example:
        >>> angles = np.array([0.0, 0.1, 1.5, 1.6, 0.05])
        >>> cluster(np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
        [[4, 0, 1], [2, 3]]
    """
    if len(vectors) < 2:
        return [[row] for row in range(len(vectors))]
    distances = np.maximum(0.0, 1.0 - vectors @ vectors.T)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    clusters = [sorted(rows) for rows in _cut(_tree(distances), nearest)]
    return sorted((_typical_first(rows, vectors) for rows in clusters), key=min)


def _tree(distances: NDArray[np.float32]) -> list[tuple[int, int, float]]:
    """Return the merges of average linkage: two nodes and their distance. The k-th makes the node N + k.

    By chains of nearest neighbours (Murtagh, 1983): what is nearest to one another is merged, in `O(N^2)`.
    """
    left = distances.copy()
    n_rows = len(left)
    node, size = list(range(n_rows)), np.ones(n_rows)
    is_free = np.ones(n_rows, dtype=bool)
    merges: list[tuple[int, int, float]] = []
    chain: list[int] = []
    while len(merges) < n_rows - 1:
        if not chain:
            chain.append(int(np.argmax(is_free)))
        last = chain[-1]
        near = int(np.argmin(left[last]))
        if len(chain) > 1 and left[last, chain[-2]] <= left[last, near]:
            near = chain[-2]
        if len(chain) < 2 or near != chain[-2]:
            chain.append(near)
            continue
        del chain[-2:]
        merges.append((node[last], node[near], float(left[last, near])))
        total = size[last] + size[near]
        merged = (size[last] * left[last] + size[near] * left[near]) / total
        left[near] = left[:, near] = merged
        left[last] = left[:, last] = np.inf
        left[near, near] = np.inf
        is_free[last] = False
        node[near], size[near] = n_rows + len(merges) - 1, total
    return merges


def _cut(merges: list[tuple[int, int, float]], nearest: NDArray[np.float32]) -> list[list[int]]:
    """Return the rows below the highest nodes that are no wider than their members are near to their neighbours."""
    n_rows = len(nearest)
    below: list[list[int]] = [[row] for row in range(n_rows)]
    for a, b, _ in merges:
        below.append([*below[a], *below[b]])
    clusters, waiting = [], [n_rows + len(merges) - 1]
    while waiting:
        number = waiting.pop()
        rows = below[number]
        if number < n_rows:
            clusters.append(rows)
            continue
        a, b, width = merges[number - n_rows]
        if width <= min(MOST_WIDE, WIDTH * float(nearest[rows].mean())):
            clusters.append(rows)
        else:
            waiting += [a, b]
    return clusters


def _typical_first(rows: list[int], vectors: NDArray[np.float32]) -> list[int]:
    """Return rows with the one first that is nearest to all of them."""
    head = rows[int(np.argmax(vectors[rows] @ vectors[rows].sum(axis=0)))]
    return [head, *(row for row in rows if row != head)]
